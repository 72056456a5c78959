//! Disks whose images change their size while they are served.

use std::fs::{self, File};

use rustix::process::Signal;

use crate::support::{Disk, Server, wait_until};

/// dev:blk:device-operation:02
#[test]
fn a_driver_sees_what_an_image_has_become_when_the_server_is_told_to_look() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("disk.img");
    fs::write(&image, [1; 8192]).unwrap();
    let resize = |size| File::options().write(true).open(&image).unwrap().set_len(size);
    let mut server = Server::start(folder.path(), "serve block disk.img --socket s", 1);
    let mut disk = Disk::connect(&folder.path().join("s"));
    assert_eq!(disk.driver.geometry().capacity, 16);
    assert!(!disk.config_changed());

    resize(1 << 20).unwrap();
    server.signal(Signal::HUP);
    wait_until(|| disk.config_changed());
    assert_eq!(disk.driver.look_for_capacity().unwrap(), Some(2048));
    assert_eq!(disk.read(2047), Some([0; 512]));
    assert_eq!(disk.read(15), Some([1; 512]));

    // What is no size of a disk is not taken over, and the disk goes on as it was.
    resize(1000).unwrap();
    server.signal(Signal::HUP);
    server.says("its size stays as it was");
    resize(1 << 20).unwrap();
    server.signal(Signal::HUP);
    server.says("disk.img: 1048576 bytes");
    assert!(!disk.config_changed());
    assert_eq!(disk.read(2047), Some([0; 512]));

    resize(4096).unwrap();
    server.signal(Signal::HUP);
    wait_until(|| disk.config_changed());
    assert_eq!(disk.driver.look_for_capacity().unwrap(), Some(8));
}
