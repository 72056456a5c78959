//! The guest's initial file system: busybox, fio and other programs for disks, the kernel's modules, and the first program.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::cells::Engine;
use crate::command::output;

/// The first program; a shell script for busybox.
const INIT: &str = include_str!("guest.sh");

/// Makes the archive in `folder`, and says where it is. `/dev/console` is not in it: it is in the one that every kernel has.
pub fn build(engine: Engine, folder: &Path, peers: &Path) -> Result<PathBuf> {
    let root = folder.join("initramfs");
    let busybox = peers.join("guest").join(engine.processor()).join("busybox");
    fs::create_dir_all(root.join("bin"))?;
    fs::write(root.join("init"), INIT)?;
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755))?;
    fs::copy(busybox, root.join("bin/busybox"))?;
    symlink("busybox", root.join("bin/sh"))?;
    let kernel = peers.join("kernels").join(engine.kernel());
    copy_folder(&kernel.join("modules"), &root.join("modules"))?;
    let tools = peers.join("disk-tools").join(engine.processor());
    copy_folder(&tools, &root.join("tools"))?;
    let release = fs::read_to_string(kernel.join("release"))?;
    let zonefs = tools.join("modules").join(release.trim()).join("zonefs.ko");
    if zonefs.exists() {
        fs::copy(zonefs, root.join("modules/zonefs.ko"))?;
        let list = root.join("modules/modules.dep");
        let known = fs::read_to_string(&list)?;
        fs::write(&list, format!("{known}zonefs.ko:\n"))?;
    }
    let archive = folder.join("initramfs.cpio");
    pack(&root, &archive, peers)?;
    fs::remove_dir_all(&root)?;
    Ok(archive)
}

/// Makes an archive of a folder.
pub fn pack(root: &Path, archive: &Path, peers: &Path) -> Result<()> {
    // The busybox for guests of this processor runs here, too.
    let here = peers.join("guest/x86_64/busybox");
    let script = format!(
        "find . | '{}' cpio -o -H newc >'{}'",
        here.display(),
        archive.display()
    );
    output(Command::new("sh").args(["-c", &script]).current_dir(root))
        .context("cannot make an initramfs")
        .map(drop)
}

/// Copies a folder with all that is in it.
pub fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let entries = fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
    for entry in entries {
        let path = entry?.path();
        let target = to.join(path.file_name().context("a file without a name")?);
        match path.is_dir() {
            true => copy_folder(&path, &target)?,
            false => fs::copy(&path, &target).map(drop)?,
        }
    }
    Ok(())
}
