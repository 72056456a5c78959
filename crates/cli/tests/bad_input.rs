//! Mistakes of a user: each gets one clear line on standard error, and no socket is left behind.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A user who owns nothing.
const NOBODY: u32 = 65534;

fn ringwright(folder: &Path, arguments: &str) -> Output {
    run(
        &mut Command::new(env!("CARGO_BIN_EXE_ringwright")),
        folder,
        arguments,
    )
}

fn run(command: &mut Command, folder: &Path, arguments: &str) -> Output {
    command
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .stdin(Stdio::null())
        .env("RUST_LOG", "off");
    command.output().unwrap()
}

/// Runs, and checks that it fails with one line that has all of `words`.
fn fails(folder: &Path, arguments: &str, words: &[&str]) {
    expect_failure(ringwright(folder, arguments), arguments, words);
}

fn expect_failure(output: Output, arguments: &str, words: &[&str]) {
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{arguments}");
    assert_eq!(message.lines().count(), 1, "{arguments}: {message}");
    for word in words {
        assert!(message.contains(word), "{arguments}: {message}");
    }
    assert!(!message.contains("panicked"), "{message}");
    let cause = message.trim_end().rsplit(": ").next().unwrap();
    assert_eq!(message.matches(cause).count(), 1, "a cause said twice: {message}");
}

#[test]
fn images_that_cannot_be_served() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| fs::write(folder.path().join(name), content).unwrap();
    file("cut.img", &[0; 1000]);
    file("empty.img", &[]);
    file("some.qcow2", &[b"QFI\xfb".as_slice(), &[0; 508]].concat());
    fails(
        folder.path(),
        "serve block missing.img --socket s",
        &["missing.img", "no such image"],
    );
    fails(
        folder.path(),
        "serve block cut.img --socket s",
        &["cut.img", "1000 bytes", "truncated"],
    );
    fails(
        folder.path(),
        "serve block empty.img --socket s",
        &["empty.img", "empty"],
    );
    fails(folder.path(), "serve block . --socket s", &["directory"]);
    fails(
        folder.path(),
        "serve block some.qcow2 --socket s",
        &["qcow2", "--format qcow2", "--format raw"],
    );
    fails(
        folder.path(),
        "serve block some.qcow2 --format qcow2 --socket s",
        &["some.qcow2", "cannot be opened as a Qcow2 image"],
    );
    fails(
        folder.path(),
        "serve block some.qcow2 --format vmdk --socket s",
        &["some.qcow2", "read-only"],
    );
    for (uri, words) in [
        ("nbd+unix:///disk?socket=nobody", &["nobody", "No such file"][..]),
        ("nbd+unix:///disk", &["?socket=PATH"]),
        ("nbds://host/disk", &["TLS"]),
        ("nbd://host/disk --format raw", &["--format"]),
    ] {
        fails(folder.path(), &format!("serve block {uri} --socket s"), words);
    }
    assert!(!folder.path().join("s").exists());
}

#[test]
fn a_read_only_image_is_not_served_writable() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    fs::write(file("disk.img"), [0; 512]).unwrap();
    mode(&file("disk.img"), 0o444);
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringwright"));
    // Root may write whatever the permissions say. So where this is root, a copy of the program that everybody reaches
    // runs as somebody else.
    if rustix::process::geteuid().is_root() {
        fs::copy(env!("CARGO_BIN_EXE_ringwright"), file("ringwright")).unwrap();
        mode(folder.path(), 0o755);
        command = Command::new(file("ringwright"));
        command.uid(NOBODY).gid(NOBODY);
    }
    let arguments = "serve block disk.img --socket s";
    let output = run(&mut command, folder.path(), arguments);
    expect_failure(output, arguments, &["disk.img", "not writable", "read-only"]);
}

#[test]
fn sockets_that_cannot_be_made() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let long = "x".repeat(200);
    fails(
        folder.path(),
        "serve entropy --socket file",
        &["file", "exists", "not a socket"],
    );
    fails(
        folder.path(),
        &format!("serve entropy --socket {long}"),
        &["200 bytes", "107"],
    );
    fails(
        folder.path(),
        "serve entropy --socket no/folder/s",
        &["no/folder/s", "No such file"],
    );
    fails(folder.path(), "serve entropy --socket /proc/s", &["/proc/s"]);
    fails(folder.path(), "serve entropy --fd 99", &["99", "not open"]);
    fails(folder.path(), "serve entropy", &["--socket", "--fd"]);
}

#[test]
fn options_that_do_not_exist_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let output = ringwright(folder.path(), "serve entropy --sokcet s");
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        message.contains("--sokcet") && message.contains("--socket"),
        "{message}"
    );
}

#[test]
fn configuration_files_with_mistakes() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("c.toml"),
        "[[device]]\ntype = \"entropy\"\nsocket = \"s\"\ncolour = 1\n",
    )
    .unwrap();
    fails(
        folder.path(),
        "serve --config missing.toml",
        &["missing.toml", "No such file"],
    );
    let output = ringwright(folder.path(), "serve --config c.toml");
    assert!(String::from_utf8(output.stderr).unwrap().contains("colour"));
}

#[test]
fn a_missing_engine_says_how_to_get_it() {
    let folder = tempfile::tempdir().unwrap();
    fails(folder.path(), "boot --peers nowhere", &["nowhere", "xtask setup"]);
    fails(
        folder.path(),
        "boot --engine qemu --peers nowhere",
        &["qemu-system-x86_64", "xtask setup"],
    );
}

/// Without a sandbox; with one it is the next server's to replace.
#[test]
fn ctrl_c_ends_and_takes_the_socket_away() {
    let folder = tempfile::tempdir().unwrap();
    for (sandbox, stays) in [("on", true), ("off", false), ("off", false)] {
        end_by_ctrl_c(folder.path(), sandbox);
        for socket in ["s", "s.control"] {
            assert_eq!(folder.path().join(socket).exists(), stays, "{sandbox}");
        }
    }
}

fn end_by_ctrl_c(folder: &Path, sandbox: &str) {
    let mut child = Ended(
        Command::new(env!("CARGO_BIN_EXE_ringwright"))
            .args(["serve", "entropy", "--socket", "s", "--sandbox", sandbox])
            .current_dir(folder)
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let log = BufReader::new(child.0.stderr.take().unwrap());
    let mut lines = log.lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("waiting")));
    assert!(folder.join("s").exists());
    let interrupt = rustix::process::kill_process(
        rustix::process::Pid::from_child(&child.0),
        rustix::process::Signal::INT,
    );
    interrupt.unwrap();
    assert!(child.0.wait().unwrap().success());
}

/// A child that does not outlive its test.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn ports_that_a_console_cannot_have() {
    let folder = tempfile::tempdir().unwrap();
    let console = "serve console --log log --socket s";
    let port = |options: &str| format!("{console} {options}");
    fails(
        folder.path(),
        &port("--port a=log:one --port a=log:two"),
        &["two ports are named \"a\""],
    );
    fails(
        folder.path(),
        &port("--port a/b=listen:p"),
        &["\"a/b\" is no name of a port", "slashes"],
    );
    fails(
        folder.path(),
        &port(&format!("--port {}=listen:p", "n".repeat(129))),
        &["is no name of a port", "128 bytes"],
    );
    let many: Vec<String> = (1..128)
        .map(|number| format!("--port {number}=log:log"))
        .collect();
    fails(folder.path(), &port(&many.join(" ")), &["too many ports", "127"]);
    fails(
        folder.path(),
        &port("--port agent=log:missing/log"),
        &["cannot append to missing/log"],
    );
    let left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(left.iter().all(|name| name == "log"), "{left:?}");
}
