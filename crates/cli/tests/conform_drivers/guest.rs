//! A guest whose only process uses one virtio device.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the guest does.
const INIT: &str = include_str!("init.sh");

/// The file system in memory of a guest with the kernel `kernels/KERNEL` of `peers`, made in `folder`.
pub fn initrd(peers: &Path, kernel: &str, folder: &Path) -> PathBuf {
    let busybox = peers.join("guest/x86_64/busybox");
    let root = folder.join("root");
    for name in ["bin", "dev", "modules"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    fs::copy(&busybox, root.join("bin/busybox")).unwrap();
    for module in fs::read_dir(peers.join("kernels").join(kernel).join("modules")).unwrap() {
        let module = module.unwrap();
        fs::copy(module.path(), root.join("modules").join(module.file_name())).unwrap();
    }
    fs::write(root.join("init"), INIT).unwrap();
    let made = Command::new(&busybox)
        .args(["chmod", "755"])
        .arg(root.join("init"))
        .status();
    assert!(made.unwrap().success());
    let file = folder.join("initrd");
    let mut archive = Command::new(&busybox)
        .args(["cpio", "-o", "-H", "newc"])
        .current_dir(&root)
        .stdin(Stdio::piped())
        .stdout(File::create(&file).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let names = Command::new(&busybox)
        .arg("find")
        .current_dir(&root)
        .output()
        .unwrap()
        .stdout;
    archive.stdin.take().unwrap().write_all(&names).unwrap();
    assert!(archive.wait().unwrap().success());
    file
}
