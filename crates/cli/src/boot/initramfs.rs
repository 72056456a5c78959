//! The guest's initial file system: busybox, the kernel modules our devices need, mke2fs, and the first program.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, bail};
use cpio::newc::{Builder, ModeFileType, trailer};

use super::peers::Parts;

/// The first program; a shell script for busybox.
const INIT: &str = include_str!("guest/init.sh");

/// Modules the guest loads, with what they depend on, in two lists; those a kernel has built in, or has not at all, are
/// left out.
const MODULES: [(&str, &[&str]); 2] = [
    (
        "drivers",
        &[
            // Before what is behind it.
            "virtio_iommu",
            "virtio_pci",
            "virtio_mmio",
            "virtio_blk",
            "virtio_net",
            "virtio_console",
            "virtio_rng",
        ],
    ),
    // ext4's dependencies do not tell what it computes its checksums with.
    ("filesystems", &["crc32c_generic", "ext4"]),
];

/// Writes the archive to `file`.
pub fn build(parts: &Parts, file: &Path) -> anyhow::Result<()> {
    let out = fs::File::create(file).with_context(|| format!("cannot create {}", file.display()))?;
    let mut archive = Archive {
        out: io::BufWriter::new(out),
        inode: 0,
        folders: BTreeSet::new(),
    };
    archive.add("init", 0o755, INIT.as_bytes())?;
    archive.copy("bin/busybox", 0o755, &parts.busybox)?;
    archive.symlink("bin/sh", "busybox")?;
    archive.device("dev/console", 0o600, 5, 1)?;
    archive.device("dev/null", 0o666, 1, 3)?;
    archive.device("dev/kmsg", 0o600, 1, 11)?;
    archive.copy_folder("e2fsprogs", &parts.e2fsprogs)?;
    let path = parts.modules.join("modules.dep");
    let dependencies =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    for (list, wanted) in MODULES {
        let order = order(&dependencies, wanted);
        for module in &order {
            archive.copy(&format!("modules/{module}"), 0o644, &parts.modules.join(module))?;
        }
        archive.add(
            &format!("modules/{list}"),
            0o644,
            (order.join("\n") + "\n").as_bytes(),
        )?;
    }
    archive
        .finish()
        .with_context(|| format!("cannot write {}", file.display()))
}

/// From the lines `name.ko: first.ko second.ko` of modules.dep: what each of `wanted` needs before it, then itself.
fn order(dependencies: &str, wanted: &[&str]) -> Vec<String> {
    let mut order: Vec<String> = Vec::new();
    for name in wanted {
        let line = dependencies.lines().find_map(|line| {
            let (module, needs) = line.split_once(':')?;
            (module.strip_suffix(".ko") == Some(*name)).then_some((module, needs))
        });
        let Some((module, needs)) = line else { continue };
        for file in needs.split_whitespace().chain([module]) {
            if !order.iter().any(|known| known == file) {
                order.push(file.to_owned());
            }
        }
    }
    order
}

struct Archive<W: Write> {
    out: W,
    inode: u32,
    folders: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    fn add(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.entry(name, ModeFileType::Regular, mode, (0, 0), content)
    }

    fn symlink(&mut self, name: &str, target: &str) -> io::Result<()> {
        self.entry(name, ModeFileType::Symlink, 0o777, (0, 0), target.as_bytes())
    }

    fn device(&mut self, name: &str, mode: u32, major: u32, minor: u32) -> io::Result<()> {
        self.entry(name, ModeFileType::Char, mode, (major, minor), &[])
    }

    fn copy(&mut self, name: &str, mode: u32, from: &Path) -> anyhow::Result<()> {
        let content = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        Ok(self.add(name, mode, &content)?)
    }

    fn copy_folder(&mut self, name: &str, from: &Path) -> anyhow::Result<()> {
        let entries = fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
        for entry in entries {
            let path = entry?.path();
            let Some(file) = path.file_name().and_then(|file| file.to_str()) else {
                bail!("the name of {} is not text", path.display());
            };
            let name = format!("{name}/{file}");
            match path.is_dir() {
                true => self.copy_folder(&name, &path)?,
                false => self.copy(&name, 0o755, &path)?,
            }
        }
        Ok(())
    }

    /// One entry, and before it the folders above it that are not there yet.
    fn entry(
        &mut self,
        name: &str,
        kind: ModeFileType,
        mode: u32,
        device: (u32, u32),
        content: &[u8],
    ) -> io::Result<()> {
        if let Some((folder, _)) = name.rsplit_once('/')
            && self.folders.insert(folder.to_owned())
        {
            self.entry(folder, ModeFileType::Directory, 0o755, (0, 0), &[])?;
        }
        self.inode += 1;
        let builder = Builder::new(name)
            .ino(self.inode)
            .mode(mode)
            .set_mode_file_type(kind)
            .nlink(1)
            .rdev_major(device.0)
            .rdev_minor(device.1);
        let length =
            u32::try_from(content.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let mut file = builder.write(&mut self.out, length);
        file.write_all(content)?;
        file.finish()?;
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        trailer(&mut self.out)?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_come_after_what_they_need_and_once() {
        let dependencies =
            "virtio_blk.ko:\nvirtio_net.ko: failover.ko net_failover.ko\nnet_failover.ko: failover.ko\n";
        let order = order(
            dependencies,
            &["virtio_pci", "net_failover", "virtio_net", "virtio_blk"],
        );
        assert_eq!(
            order,
            ["failover.ko", "net_failover.ko", "virtio_net.ko", "virtio_blk.ko"]
        );
    }

    #[test]
    fn the_archive_has_each_folder_before_its_files() {
        let mut archive = Archive {
            out: Vec::new(),
            inode: 0,
            folders: BTreeSet::new(),
        };
        archive.add("a/b/c", 0o644, b"content").unwrap();
        archive.add("a/d", 0o644, b"").unwrap();
        trailer(&mut archive.out).unwrap();
        let mut rest = archive.out.as_slice();
        let mut names = Vec::new();
        loop {
            let reader = cpio::newc::Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            names.push((reader.entry().name().to_owned(), reader.entry().mode()));
            rest = reader.finish().unwrap();
        }
        let expected = [
            ("a", 0o040755),
            ("a/b", 0o040755),
            ("a/b/c", 0o100644),
            ("a/d", 0o100644),
        ];
        assert_eq!(names, expected.map(|(name, mode)| (name.to_owned(), mode)));
    }
}
