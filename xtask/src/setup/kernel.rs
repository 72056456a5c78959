//! The modules of a guest's kernel, brought into a form that a small initramfs can use without any tool.
//!
//! `modules/NAME.ko` is uncompressed, with `-` in names turned into `_` as the kernel itself does. `modules/modules.dep`
//! has a line for each, `virtio_net.ko: failover.ko net_failover.ko`: the modules to load before it, in this order.
//! `modules/modules.builtin` names those that need no loading, one a line, without `.ko`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::output;

/// What guests may want. A kernel that has one neither as a module nor built in goes without it.
const WANTED: &[&str] = &[
    "9p",
    "9pnet_virtio",
    "af_packet",
    "crc32c_generic",
    "evdev",
    "ext4",
    "fuse",
    "sd_mod",
    "sg",
    "vduse",
    "virtio_balloon",
    "virtio_blk",
    "virtio_console",
    "virtio_crypto",
    "virtio_gpu",
    "virtio_input",
    "virtio_iommu",
    "virtio_mem",
    "virtio_mmio",
    "virtio_net",
    "virtio_pci",
    "virtio_pmem",
    "virtio_rng",
    "virtio_scsi",
    "virtio_snd",
    "virtiofs",
    "vmw_vsock_virtio_transport",
];

/// What every guest uses.
const REQUIRED: &[&str] = &["ext4", "virtio_blk", "virtio_console", "virtio_net"];

/// Writes `kernel/modules/` and `kernel/release` from `tree`, the folder `…/modules/RELEASE` below `root`.
pub fn modules(root: &Path, tree: &Path, busybox: &Path, kernel: &Path) -> Result<()> {
    let release = name_of(tree)?;
    decompress(tree, busybox)?;
    if !tree.join("modules.dep").exists() {
        dependencies(root, tree, busybox)?;
    }
    let target = kernel.join("modules");
    fs::create_dir_all(&target)?;
    let modules = fs::read_to_string(tree.join("modules.dep")).context("cannot read modules.dep")?;
    let modules: Vec<Vec<&str>> = modules.lines().map(parse_line).collect();
    let mut list = String::new();
    let mut listed: Vec<String> = Vec::new();
    for wanted in WANTED {
        let Some(line) = modules
            .iter()
            .find(|line| line.first().is_some_and(|file| flat(file) == *wanted))
        else {
            continue;
        };
        // Each dependency gets its own line too, as somebody may want to load it alone.
        for file in line {
            let name = flat(file);
            if listed.contains(&name) {
                continue;
            }
            fs::copy(tree.join(file), target.join(format!("{name}.ko")))?;
            let needs = modules
                .iter()
                .find(|line| line.first() == Some(file))
                .context("a module without a line")?;
            // depmod lists what to load last first.
            let needs: String = needs[1..]
                .iter()
                .rev()
                .map(|file| format!(" {}.ko", flat(file)))
                .collect();
            writeln!(list, "{name}.ko:{needs}")?;
            listed.push(name);
        }
    }
    let builtin = fs::read_to_string(tree.join("modules.builtin")).context("cannot read modules.builtin")?;
    let builtin: Vec<String> = builtin.lines().map(flat).collect();
    for required in REQUIRED {
        if !listed.iter().chain(&builtin).any(|name| name == required) {
            bail!("Linux {release} has no {required}");
        }
    }
    fs::write(target.join("modules.dep"), list)?;
    fs::write(target.join("modules.builtin"), builtin.join("\n") + "\n")?;
    fs::write(kernel.join("release"), release + "\n")?;
    Ok(())
}

/// The file of one module of `tree`, uncompressed.
pub fn module(tree: &Path, name: &str, busybox: &Path) -> Result<PathBuf> {
    let mut files = files(tree)?;
    files.retain(|file| {
        let file = file.file_name().map(|name| name.to_string_lossy());
        file.is_some_and(|file| flat(file.trim_end_matches(".xz")) == name)
    });
    let [file] = files.as_slice() else {
        bail!("{} modules {name} in {}", files.len(), tree.display());
    };
    if file.extension().is_some_and(|extension| extension == "xz") {
        output(Command::new(busybox).arg("unxz").arg(file))?;
        return Ok(file.with_extension(""));
    }
    Ok(file.clone())
}

/// The only entry of a folder.
pub fn only_entry(folder: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let entries: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    match entries.as_slice() {
        [only] => Ok(only.clone()),
        _ => bail!(
            "{} has {} entries where one was expected",
            folder.display(),
            entries.len()
        ),
    }
}

/// The last component of a path.
pub fn name_of(path: &Path) -> Result<String> {
    let name = path
        .file_name()
        .with_context(|| format!("{} has no name", path.display()))?;
    Ok(name.to_string_lossy().into_owned())
}

/// `kernel/drivers/char/hw_random/virtio-rng.ko` is `virtio_rng`.
fn flat(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.trim_end_matches(".ko").replace('-', "_")
}

/// A line of depmod's file: the module, then what it needs.
fn parse_line(line: &str) -> Vec<&str> {
    let (module, needs) = line.split_once(':').unwrap_or((line, ""));
    std::iter::once(module).chain(needs.split_whitespace()).collect()
}

/// Decompresses every compressed module in place.
fn decompress(tree: &Path, busybox: &Path) -> Result<()> {
    let mut compressed = files(tree)?;
    compressed.retain(|path| path.extension().is_some_and(|extension| extension == "xz"));
    compressed
        .chunks(256)
        .try_for_each(|files| output(Command::new(busybox).arg("unxz").args(files)).map(drop))
}

/// Every file below a folder.
fn files(tree: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![tree.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    Ok(files)
}

/// Runs depmod, which expects the modules in `BASE/lib/modules/RELEASE`.
fn dependencies(root: &Path, tree: &Path, busybox: &Path) -> Result<()> {
    let expected = root.join("lib/modules").join(name_of(tree)?);
    if expected.canonicalize()? != tree.canonicalize()? {
        bail!("the modules are not in {}", expected.display());
    }
    output(
        Command::new(busybox)
            .arg("depmod")
            .arg("-b")
            .arg(root)
            .arg(name_of(tree)?),
    )
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of modules as Debian's packages have it, with what every guest needs.
    fn tree(root: &Path) -> PathBuf {
        let tree = root.join("lib/modules/6.12.0-test");
        let files = [
            "net/virtio_net.ko",
            "net/net_failover.ko",
            "core/failover.ko",
            "hw/virtio-rng.ko",
        ];
        for file in files {
            let path = tree.join("kernel").join(file);
            fs::create_dir_all(path.parent().expect("a folder")).expect("folder");
            fs::write(path, file).expect("module");
        }
        let dependencies = "kernel/core/failover.ko:\nkernel/net/net_failover.ko: kernel/core/failover.ko\n\
                            kernel/net/virtio_net.ko: kernel/net/net_failover.ko kernel/core/failover.ko\n\
                            kernel/hw/virtio-rng.ko:\n";
        fs::write(tree.join("modules.dep"), dependencies).expect("modules.dep");
        let builtin = "kernel/ext4.ko\nkernel/virtio_blk.ko\nkernel/virtio_console.ko\n";
        fs::write(tree.join("modules.builtin"), builtin).expect("modules.builtin");
        tree
    }

    #[test]
    fn modules_come_flat_with_what_to_load_first() {
        let folder = tempfile::tempdir().expect("folder");
        let tree = tree(folder.path());
        let kernel = folder.path().join("kernel");
        modules(folder.path(), &tree, Path::new("unused"), &kernel).expect("modules");
        let read = |name: &str| fs::read_to_string(kernel.join(name)).expect(name);
        assert_eq!(
            read("modules/modules.dep"),
            "virtio_net.ko: failover.ko net_failover.ko\nnet_failover.ko: failover.ko\nfailover.ko:\nvirtio_rng.ko:\n"
        );
        assert_eq!(
            read("modules/modules.builtin"),
            "ext4\nvirtio_blk\nvirtio_console\n"
        );
        assert_eq!(read("modules/virtio_rng.ko"), "hw/virtio-rng.ko");
        assert_eq!(read("release"), "6.12.0-test\n");
    }

    #[test]
    fn a_kernel_without_a_disk_driver_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let tree = tree(folder.path());
        fs::write(
            tree.join("modules.builtin"),
            "kernel/ext4.ko\nkernel/virtio_console.ko\n",
        )
        .expect("modules.builtin");
        let refusal = modules(
            folder.path(),
            &tree,
            Path::new("unused"),
            &folder.path().join("kernel"),
        );
        assert_eq!(
            refusal.expect_err("refusal").to_string(),
            "Linux 6.12.0-test has no virtio_blk"
        );
    }
}
