//! systemd's side played: sockets that are passed, and what it is told. And, where it is, systemd's own player.

use std::fs;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::{DEADLINE, Disk, Server, ringwright, wait_until, with_descriptor};

#[test]
fn a_passed_socket_is_served_and_the_manager_is_told() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("disk.img"), [3; 4096]).unwrap();
    let manager = UnixDatagram::bind(folder.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let told = || {
        let mut message = [0; 256];
        let length = manager.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    let listener = UnixListener::bind(folder.path().join("s")).unwrap();
    let mut command = with_descriptor(folder.path(), listener, "serve block disk.img --id root");
    command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "root");
    command.env("NOTIFY_SOCKET", folder.path().join("notify"));
    let mut server = Server::run(&mut command, 0);
    assert_eq!(told(), "READY=1\nSTATUS=Serving: root");
    let mut disk = Disk::connect(&folder.path().join("s"));
    assert_eq!(disk.read(7), Some([3; 512]));
    server.signal(Signal::TERM);
    assert!(told().starts_with("STOPPING=1\n"));
    assert!(server.child.wait().unwrap().success());
}

#[test]
fn sockets_for_others_and_too_many_are_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let run = |count: &str, arguments: &str| {
        let listener = UnixListener::bind(folder.path().join("s")).unwrap();
        let mut command = with_descriptor(folder.path(), listener, arguments);
        let output = command.env("LISTEN_FDS", count).output().unwrap();
        fs::remove_file(folder.path().join("s")).unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(run("many", "serve entropy").contains("LISTEN_FDS"));
    assert!(run("2", "serve entropy").contains("no device is served at: 4"));
    // Another process is meant.
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringwright"));
    command
        .args(["serve", "entropy"])
        .env("LISTEN_FDS", "1")
        .env("LISTEN_PID", "1");
    let output = command.output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("--socket"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringwright"));
    command
        .args(["serve", "entropy", "--socket", "s"])
        .env("NOTIFY_SOCKET", folder.path().join("nobody"));
    let output = command.current_dir(folder.path()).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("NOTIFY_SOCKET"));
    assert!(ringwright(folder.path(), "serve entropy").stderr.len() > 10);
}

#[test]
fn systemd_activates_it() {
    let activator = "systemd-socket-activate";
    if Command::new(activator)
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_err()
    {
        return eprintln!("not tested, this machine has no {activator}");
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("disk.img"), [3; 4096]).unwrap();
    let socket = folder.path().join("s");
    let mut command = Command::new(activator);
    command
        .arg("-l")
        .arg(&socket)
        .args(["--fdname", "disk", env!("CARGO_BIN_EXE_ringwright")]);
    command
        .args(["serve", "block", "disk.img", "--id", "disk"])
        .current_dir(folder.path())
        .stdin(Stdio::null());
    // It starts the program at the first connection, in its place.
    let _server = Server::run(&mut command, 0);
    wait_until(|| socket.exists());
    let mut disk = Disk::connect(&socket);
    assert_eq!(disk.read(7), Some([3; 512]));
}
