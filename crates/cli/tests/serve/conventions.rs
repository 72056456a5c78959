//! Back-end programs as QEMU's document asks for them, and management programs start them.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Disk, Server, ringwright, with_descriptor};

#[test]
fn capabilities_are_printed_whatever_else_is_said() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        (
            "serve block --print-capabilities",
            json!({"type": "block", "features": ["read-only", "blk-file"]}),
        ),
        (
            "serve entropy --print-capabilities --nonsense",
            json!({"type": "rng", "features": []}),
        ),
        (
            "serve network --fd 99 --print-capabilities",
            json!({"type": "net", "features": []}),
        ),
        (
            "serve --print-capabilities console",
            json!({"type": "console", "features": []}),
        ),
    ] {
        let output = ringwright(folder.path(), arguments);
        assert!(output.status.success(), "{arguments}: {output:?}");
        let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(printed, expected, "{arguments}");
    }
}

/// As a program of its own, named in a JSON file for management programs.
#[test]
fn a_link_to_the_program_serves_a_disk_without_a_command() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("disk.img"), [5; 4096]).unwrap();
    let description = fs::read_to_string("../../contrib/vhost-user/50-ringwright-block.json").unwrap();
    let description: Value = serde_json::from_str(&description).unwrap();
    assert_eq!(description["type"], "block");
    let name = description["binary"]
        .as_str()
        .unwrap()
        .rsplit('/')
        .next()
        .unwrap();
    let program = folder.path().join(name);
    symlink(env!("CARGO_BIN_EXE_ringwright"), &program).unwrap();
    let printed = Command::new(&program)
        .arg("--print-capabilities")
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&printed.stdout).contains("blk-file"));

    let mut command = Command::new(&program);
    command
        .args(["--socket-path=s", "--blk-file=disk.img", "--read-only"])
        .current_dir(folder.path());
    let mut server = Server::run(&mut command, 1);
    let mut disk = Disk::connect(&folder.path().join("s"));
    assert_eq!(disk.read(7), Some([5; 512]));
    assert!(disk.driver.geometry().read_only);
    server.signal(Signal::TERM);
    assert!(server.child.wait().unwrap().success());
}

#[test]
fn a_socket_that_was_opened_by_another_program_is_served() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("disk.img"), [5; 4096]).unwrap();
    let listener = UnixListener::bind(folder.path().join("s")).unwrap();
    let mut command = with_descriptor(folder.path(), listener, "serve block --blk-file=disk.img --fd=3");
    let _server = Server::run(&mut command, 0);
    let mut disk = Disk::connect(&folder.path().join("s"));
    assert_eq!(disk.read(7), Some([5; 512]));
}

#[test]
fn what_cannot_be_served_ends_early_and_not_well() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        "serve block --blk-file=missing --socket-path=s",
        "serve block --blk-file=/ --fd=0 --socket-path=s",
    ] {
        let output = ringwright(folder.path(), arguments);
        assert!(
            !output.status.success() && !output.stderr.is_empty(),
            "{arguments}: {output:?}"
        );
    }
}
