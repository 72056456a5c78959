//! `ringwright conform` and `ringwright clauses` as a user types them.

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ringwright");

fn ringwright(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(PROGRAM)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Our block device, served by a program of its own.
fn server() -> String {
    format!("RUST_LOG=off exec {PROGRAM} serve block --memory 8388608 --socket {{socket}}")
}

#[test]
fn our_disk_holds_in_every_report() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "conform device ours block --bus pci --json r.json --junit r.xml --html r.html";
    let output = ringwright(folder.path(), &arguments.split(' ').collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("2.7   Split Virtqueues"));
    assert!(text(&output.stdout).contains("Not applicable: Virtio Over MMIO; "));
    assert!(
        !text(&output.stdout).contains('\x1b'),
        "colours where there is no terminal"
    );
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let report: Value = serde_json::from_str(&read("r.json")).unwrap();
    assert_eq!(report["bus"], "pci");
    assert_eq!(report["complete"], true);
    assert!(report["checks"].as_array().unwrap().len() > 30);
    assert!(read("r.xml").contains("failures=\"0\""));
    assert!(read("r.html").contains("dev:split:indirect-descriptors:02"));
}

#[test]
fn a_mutant_is_caught_and_the_exit_code_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mutant = "a bit of the status survives the reset";
    let arguments = [
        "conform",
        "device",
        "ours",
        "entropy",
        "--only",
        "reset.status",
        "--trace",
        "--mutant",
        mutant,
    ];
    let output = ringwright(folder.path(), &arguments);
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{out}");
    assert!(
        out.contains("FAIL") && out.contains("dev:core:device-reset:01"),
        "{out}"
    );
    assert!(out.contains("status <-"), "the trace: {out}");
}

#[test]
fn a_server_is_started_and_ends_with_the_run() {
    let folder = tempfile::tempdir().unwrap();
    // One that goes on must not keep this from being seen.
    let command = server() + " 2>/dev/null";
    let arguments = [
        "conform",
        "device",
        "vhost-user",
        "--type",
        "block",
        "--command",
        &command,
        "--json",
        "-",
        "disk.sock",
    ];
    let output = ringwright(folder.path(), &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["bus"], "vhost-user");
    let passed = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["verdict"] == "pass");
    assert!(passed.count() > 15, "{report:#}");
    assert!(
        UnixStream::connect(folder.path().join("disk.sock")).is_err(),
        "its server goes on"
    );
}

#[test]
fn a_server_that_dies_is_started_again() {
    let folder = tempfile::tempdir().unwrap();
    // Each one is killed while it serves its eighth connection, of which it tells in its log.
    let command = format!(
        "echo >> starts; {{ {PROGRAM} serve block --memory 8388608 --socket {{socket}} 2>&1 & echo $! > pid; wait; }} | \
         {{ left=8; while [ $left -gt 0 ] && read line; do \
         case $line in *'front-end connected'*) left=$((left - 1));; esac; done; kill -9 $(cat pid); exit 3; }}"
    );
    let arguments = [
        "conform",
        "device",
        "vhost-user",
        "--type",
        "block",
        "--command",
        &command,
        "--json",
        "-",
    ];
    let output = ringwright(folder.path(), &arguments);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    assert_eq!(report["complete"], true);
    let said = |check: &&Value| {
        check["evidence"]
            .as_str()
            .is_some_and(|why| why.contains("has ended: exit code 3"))
    };
    assert!(checks.iter().any(|check| said(&check)), "{report:#}");
    assert!(
        fs::read_to_string(folder.path().join("starts"))
            .unwrap()
            .lines()
            .count()
            > 1
    );
    let passed = checks.iter().filter(|check| check["verdict"] == "pass").count();
    assert!(passed > 5, "{report:#}");
}

#[test]
fn what_cannot_be_run_is_told_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("no.json"), "{}").unwrap();
    for (arguments, words) in [
        ("conform device vhost-user no.sock --type block", "no.sock"),
        ("conform device vhost-user no.sock --type teapot", "teapot"),
        (
            "conform device vhost-user --type block --command false",
            "exit code 1",
        ),
        ("conform device ours block --only no.such.check", "--list"),
        ("conform device ours block --mutant nobody", "nobody"),
        ("conform compare no.json", "no report"),
        ("conform device --seed 1", "say which device"),
    ] {
        let output = ringwright(folder.path(), &arguments.split(' ').collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        let error = text(&output.stderr);
        assert!(error.contains(words), "{arguments}: {error}");
        assert_eq!(error.lines().count(), 1, "{arguments}: {error}");
    }
}

#[test]
fn ctrl_c_ends_a_run_and_its_server() {
    let folder = tempfile::tempdir().unwrap();
    let command = server();
    let arguments = [
        "conform",
        "device",
        "vhost-user",
        "--type",
        "block",
        "--command",
        &command,
        "--verbose",
        "--json",
        "r.json",
        "disk.sock",
    ];
    let start = Instant::now();
    let mut child = Command::new(PROGRAM)
        .args(arguments)
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The first line names the subject, the second one is that of a check.
    lines.next().unwrap().unwrap();
    lines.next().unwrap().unwrap();
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130), "{rest:#?}");
    assert!(start.elapsed() < Duration::from_secs(30));
    assert!(
        rest.iter().any(|line| line.contains("stopped early")),
        "{rest:#?}"
    );
    let report: Value =
        serde_json::from_str(&fs::read_to_string(folder.path().join("r.json")).unwrap()).unwrap();
    assert_eq!(report["complete"], false);
    assert!(
        UnixStream::connect(folder.path().join("disk.sock")).is_err(),
        "its server goes on"
    );
}

#[test]
fn a_server_ends_even_if_the_run_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let command = format!("echo $$ > pid; {}", server());
    let arguments = ["conform", "device", "vhost-user", "--type", "block", "--verbose"];
    let mut child = Command::new(PROGRAM)
        .args(arguments)
        .args(["--command", &command, "disk.sock"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Its standard error is the server's as well, and ends with the last of them.
    let errors = child.stderr.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // That of the subject, and that of a check: the server runs.
    lines.next().unwrap().unwrap();
    lines.next().unwrap().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_end(errors, &folder.path().join("pid"));
}

/// Waits until `stream` has ended with the process that has it, whose id is in the file `pid`.
fn assert_end(mut stream: impl Read + Send + 'static, pid: &Path) {
    let (sender, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(std::io::copy(&mut stream, &mut std::io::sink())));
    let ended = ended.recv_timeout(Duration::from_secs(60));
    if ended.is_err() {
        let pid = fs::read_to_string(pid).unwrap();
        let _ = Command::new("kill").args(["-KILL", pid.trim()]).status();
    }
    assert!(ended.is_ok(), "the subject goes on");
}

#[test]
fn a_machine_of_qemu_ends_even_if_the_run_is_killed() {
    let Some(peers) = std::env::var_os("RINGWRIGHT_PEERS").map(PathBuf::from) else {
        assert!(std::env::var_os("CI").is_none(), "RINGWRIGHT_PEERS is not set");
        return eprintln!(
            "skipped: RINGWRIGHT_PEERS is not set (`cargo xtask test` sets it and fetches QEMU)"
        );
    };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    // What it writes to standard error goes into a pipe, which ends with it.
    let qemu = peers.join("bin/qemu-system-x86_64");
    let script = format!(
        "#!/bin/sh\necho $$ >> pids\nexec '{}' \"$@\" 2>end\n",
        qemu.display()
    );
    fs::write(path("qemu"), script).unwrap();
    fs::set_permissions(path("qemu"), Permissions::from_mode(0o755)).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(path("end"))
            .status()
            .unwrap()
            .success()
    );
    // Whoever opens it only to read waits for the other end.
    let both = File::options().read(true).write(true).open(path("end")).unwrap();
    let end = File::open(path("end")).unwrap();
    // QEMU never answers this check, and has all the time that there is.
    let check = [
        "--bus",
        "mmio",
        "--only",
        "mmio.queue-reset",
        "--patience",
        "600000",
    ];
    let mut run = Command::new(PROGRAM)
        .args([
            "conform",
            "device",
            "qemu",
            "entropy",
            "--program",
            "./qemu",
            "--deadline",
            "600",
        ])
        .args(check)
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // The first one shows that there is a device. The one after it is there when it has the memory of the run.
    let start = Instant::now();
    let pid = loop {
        let pids = fs::read_to_string(path("pids")).unwrap_or_default();
        let maps = |pid: &&str| fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        if let Some(pid) = pids
            .lines()
            .nth(1)
            .filter(|pid| maps(pid).contains("memfd:qtest"))
        {
            break pid.to_owned();
        }
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "it has not started: {pids}"
        );
        std::thread::yield_now();
    };
    run.kill().unwrap();
    run.wait().unwrap();
    drop(both);
    fs::write(path("pid"), pid).unwrap();
    assert_end(end, &path("pid"));
}

#[test]
fn runs_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &str| ringwright(folder.path(), &arguments.split(' ').collect::<Vec<_>>());
    run("conform device ours block --label right --only reset.* --json right.json");
    run(
        "conform device ours block --label wrong --only reset.* --json wrong.json --mutant a*bit*status*survives*",
    );
    let output = run("conform compare right.json wrong.json");
    let out = text(&output.stdout);
    assert!(out.contains("dev:core:device-reset:01"), "{out}");
    assert!(
        out.contains("pass            right") && out.contains("fail            wrong"),
        "{out}"
    );
    let output = run("conform compare right.json wrong.json --html -");
    assert!(text(&output.stdout).contains("<title>VIRTIO conformance: right, wrong</title>"));
}

#[test]
fn clauses_are_listed_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &str| {
        let output = ringwright(folder.path(), &arguments.split(' ').collect::<Vec<_>>());
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let all: Value = serde_json::from_str(&run("clauses --json")).unwrap();
    assert_eq!(
        all.as_array().unwrap().len(),
        ringwright_conformance::clauses().len()
    );
    let table: Value = serde_json::from_str(&run("clauses --coverage --json")).unwrap();
    let row = table
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["scope"] == "split" && row["side"] == "device")
        .unwrap();
    for name in ["must_wire", "must_strict", "checked", "checked_with_mutant"] {
        assert!(row[name].is_u64(), "{row}");
    }
    let listed = run("clauses --scope split --side device indirect");
    assert!(
        listed.contains("dev:split:indirect-descriptors:02") && !listed.contains("drv:"),
        "{listed}"
    );
    let reason = run("clauses --missing dev:net:ipsec-operation:01");
    assert!(reason.contains("no check, not built here: "), "{reason}");
    let missing = run("clauses --missing --json");
    let missing: Value = serde_json::from_str(&missing).unwrap();
    for clause in missing.as_array().unwrap() {
        assert_eq!(
            (&clause["checks"], &clause["strength"]),
            (&Value::Array(Vec::new()), &Value::from("must"))
        );
        assert!(clause["left"].is_string(), "without a reason: {clause}");
    }
}

#[test]
fn linux_without_a_kernel_says_where_one_is_had() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &str| {
        let arguments = format!("conform driver linux --peers . {arguments}");
        let output = ringwright(folder.path(), &arguments.split(' ').collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let error = run("--bus pci");
    assert!(
        error.contains("modules.dep") && error.contains("cargo xtask setup boot"),
        "{error}"
    );
    let error = run("--type gpu");
    assert!(error.contains("is not asked to do anything"), "{error}");
}

#[test]
fn a_driver_is_watched_and_its_mutant_is_caught() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = ringwright(
            folder.path(),
            &[&["conform", "driver", "ours", "rings"], arguments].concat(),
        );
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, out) = run(&["--json", "-"]);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["side"]), (Some(0), &Value::from("driver")));
    let passed = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["verdict"] == "pass");
    assert!(passed.count() > 40, "{out}");

    let (code, out) = run(&[
        "--mutant",
        "ACKNOWLEDGE is never set",
        "--only",
        "status.steps",
        "--trace",
    ]);
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("drv:core:device-status-field:01"), "{out}");

    // Without a feature to require another one there is no occasion.
    let (code, out) = run(&["--scenario", "plain", "--only", "features.valid", "--verbose"]);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("it has never come to this"), "{out}");
}
