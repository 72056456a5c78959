//! The control socket: what `ringwright stats` and `ringwright resize` see and do, and what others cannot.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{DEADLINE, Disk, Server, ringwright, wait_until};

const CONFIGURATION: &str = r#"
    [[device]]
    type = "block"
    image = "disk.img"
    socket = "disk"

    [[device]]
    type = "block"
    null = "1M"
    socket = "null"
    id = "nothing"
    queues = 3

    [[device]]
    type = "entropy"
    socket = "entropy"
    vfio-user = true
"#;

#[test]
fn a_disk_says_what_it_was_asked_for_and_is_resized() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("disk.img"), [1; 8192]).unwrap();
    let _server = Server::start(folder.path(), "serve block disk.img --socket s", 1);
    let mode = fs::metadata(folder.path().join("s.control"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let mut disk = Disk::connect(&folder.path().join("s"));
    assert!(disk.read(3).is_some());
    // The image loses its end, and nobody tells the server.
    let cut = |size| {
        fs::File::options()
            .write(true)
            .open(folder.path().join("disk.img"))
            .unwrap()
            .set_len(size)
    };
    cut(4096).unwrap();
    assert!(disk.read(10).is_none());
    cut(8192).unwrap();
    let stats = stats(folder.path(), "s");
    let device = &stats["devices"][0];
    assert_eq!(
        (&device["id"], &device["type"]),
        (&"block".into(), &"block".into())
    );
    assert_eq!(
        (&device["image"], &device["capacity"]),
        (&"disk.img".into(), &8192.into())
    );
    let queue = &device["queues"][0];
    assert_eq!((&queue["buffers"], &queue["in_flight"]), (&2.into(), &0.into()));
    assert_eq!(
        queue["requests"]["reads"],
        serde_json::json!({"requests": 2, "errors": 1, "bytes": 512})
    );
    assert!(queue["kicks"].as_u64().unwrap() >= 1, "{queue}");

    let text = said(folder.path(), "stats s");
    assert!(text.contains("reads: 2, 512 bytes, 1 failed"), "{text}");
    assert_eq!(
        said(folder.path(), "resize s 4M"),
        "block: 4194304 bytes, 8192 before\n"
    );
    wait_until(|| disk.config_changed());
    assert_eq!(disk.driver.look_for_capacity().unwrap(), Some(8192));
    assert!(disk.read(8191).is_some());
    assert_eq!(
        fs::metadata(folder.path().join("disk.img")).unwrap().len(),
        4 << 20
    );

    let refused = complaint(folder.path(), "resize s.control 8K");
    assert!(refused.contains("--shrink"), "{refused}");
    assert_eq!(
        said(folder.path(), "resize s 8K --shrink"),
        "block: 8192 bytes, 4194304 before\n"
    );
    assert_eq!(said(folder.path(), "resize s"), "block: 8192 bytes, as before\n");
    fs::write(folder.path().join("disk.img"), [1; 1024]).unwrap();
    assert_eq!(
        said(folder.path(), "resize s"),
        "block: 1024 bytes, 8192 before\n"
    );
}

#[test]
fn several_devices_have_one_control_socket() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("disk.img"), [1; 8192]).unwrap();
    fs::write(folder.path().join("c.toml"), CONFIGURATION).unwrap();
    let _server = Server::start(folder.path(), "serve --config c.toml --control control", 3);
    let stats = stats(folder.path(), "control");
    let of = |index: usize, key: &str| stats["devices"][index][key].clone();
    assert_eq!(
        (of(0, "id"), of(1, "id"), of(2, "id")),
        ("block".into(), "nothing".into(), "entropy".into())
    );
    let queues = |index| of(index, "queues").as_array().unwrap().len();
    assert_eq!((queues(0), queues(1), queues(2)), (1, 3, 1));
    assert_eq!(of(2, "capacity"), Value::Null);
    let refused = complaint(folder.path(), "resize control 1M");
    assert!(refused.contains("block, nothing"), "{refused}");
    let refused = complaint(folder.path(), "resize control 2M --device nothing");
    assert!(refused.contains("1048576 bytes as before"), "{refused}");
    assert!(said(folder.path(), "resize control 1M --device block").contains("1048576"));
    assert!(!folder.path().join("disk.control").exists());
}

/// Whoever asks for nonsense, or for nothing, keeps nobody from asking for something.
#[test]
fn what_is_not_understood_is_said_and_nobody_waits_for_anybody() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), "serve entropy --socket s", 1);
    let connect = || UnixStream::connect(folder.path().join("s.control")).unwrap();
    let silent: Vec<UnixStream> = (0..40).map(|_| connect()).collect();
    let ask = |stream: &mut BufReader<UnixStream>, question: &str| {
        stream.get_mut().write_all(question.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_line(&mut answer).unwrap();
        answer
    };
    let mut stream = BufReader::new(connect());
    for question in [
        "nonsense\n",
        "{}\n",
        "{\"command\":\"format\"}\n",
        "{\"command\":\"stats\",\"x\":1}\n",
    ] {
        let answer = ask(&mut stream, question);
        assert!(
            answer.contains("\"error\":\"not understood"),
            "{question}: {answer}"
        );
    }
    stream.get_mut().write_all(b"{\"command\":").unwrap();
    assert!(ask(&mut stream, "\"stats\"}\n").starts_with("{\"devices\":[{\"id\":\"entropy\""));
    // A question without an end has no answer but this.
    let mut endless = connect();
    let _ = endless.write_all(&[b'x'; 100_000]);
    endless.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut rest = Vec::new();
    let ended = endless.read_to_end(&mut rest);
    assert!(!ended.is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
    assert!(rest.is_empty());
    assert!(complaint(folder.path(), "resize s 1M").contains("no disk"));
    drop(silent);
    server.signal(Signal::TERM);
    assert!(server.child.wait().unwrap().success());
    assert!(complaint(folder.path(), "stats s").contains("no server answers"));
}

#[test]
fn there_is_no_control_socket_where_none_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let _server = Server::start(folder.path(), "serve entropy --socket s --control off", 1);
    assert!(!folder.path().join("s.control").exists());
}

/// What a command that succeeds prints.
fn said(folder: &Path, arguments: &str) -> String {
    let output = ringwright(folder, arguments);
    assert!(output.status.success(), "{arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a command that fails complains of.
fn complaint(folder: &Path, arguments: &str) -> String {
    let output = ringwright(folder, arguments);
    assert!(!output.status.success(), "{arguments}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

pub fn stats(folder: &Path, socket: &str) -> Value {
    serde_json::from_str(&said(folder, &format!("stats {socket} --json"))).unwrap()
}
