//! `ringwright conform driver` on drivers of other programs: what is known to be broken there is found, and nothing else.

mod guest;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// The folder of the peers, or `None` on a developer's machine without peers, which is said.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn peers() -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("RINGWRIGHT_PEERS") else {
        assert!(std::env::var_os("CI").is_none(), "RINGWRIGHT_PEERS is not set");
        eprintln!("skipped: RINGWRIGHT_PEERS is not set (`cargo xtask test` sets it)");
        return None;
    };
    Some(PathBuf::from(folder))
}

fn ringwright(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringwright"))
        .args([&["conform", "driver"], arguments].concat())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// What is said of a driver, by verdict.
struct Seen(Value);

impl Seen {
    fn new(arguments: &[&str]) -> Self {
        let output = ringwright(&[&["--json", "-", "--deadline", "150"], arguments].concat());
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        let seen = Self(report);
        assert_eq!(
            output.status.code(),
            Some(i32::from(!seen.named("fail").is_empty())),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        seen
    }

    fn named(&self, verdict: &str) -> Vec<&str> {
        let checks = self.0["checks"].as_array().unwrap().iter();
        let checks = checks.filter(|check| check["verdict"] == verdict);
        checks.map(|check| check["name"].as_str().unwrap()).collect()
    }

    /// These rules are broken and no others, and all of `passed` hold.
    fn breaks(&self, broken: &[&str], passed: &[&str]) {
        assert_eq!(self.named("fail"), broken, "{:#}", self.0["checks"]);
        let holding = self.named("pass");
        for name in passed {
            assert!(holding.contains(name), "{name} is not among {holding:?}");
        }
    }
}

/// Linux in user mode, with its driver of `device`, whose virtio device id is `id`.
fn user_mode_linux(version: &str, device: &str, id: u32, scenarios: &[&str]) -> Option<Seen> {
    let peers = peers()?;
    let folder = TempDir::new().unwrap();
    let initrd = guest::initrd(&peers, &format!("uml-{version}"), folder.path());
    let command = format!(
        "exec '{}/bin/linux.uml-{version}' mem=256M initrd='{}' virtio_uml.device={{socket}}:{id} con=null con0=null,fd:2 \
         panic=-1 quiet work={device}",
        peers.display(),
        initrd.display()
    );
    let mut arguments = vec!["vhost-user", "--type", device, "--command", &command];
    scenarios
        .iter()
        .for_each(|name| arguments.extend(["--scenario", name]));
    Some(Seen::new(&arguments))
}

/// What holds of a disk's driver behind a front-end whatever the device does.
const DISK: &[&str] = &[
    "split.aligned",
    "split.framing",
    "split.index",
    "split.used-flags",
    "feat.physical",
    "blk.capacity",
    "blk.whole-sectors",
];

#[test]
fn linux_6_12_in_user_mode_takes_discard_of_a_disk_with_zones() {
    let Some(seen) = user_mode_linux(
        "6.12",
        "block",
        2,
        &["suppressing-events", "packed-reversed", "zoned"],
    ) else {
        return;
    };
    seen.breaks(&["blk.zoned-discard"], DISK);
    seen.breaks(&["blk.zoned-discard"], &["packed.aligned", "packed.last-first"]);
    assert!(seen.named("not-seen").contains(&"blk.zone-append"));
    assert!(seen.named("not-applicable").contains(&"status.steps"));
}

#[test]
fn linux_6_12_in_user_mode_leaves_the_number_of_buffers_as_it_was() {
    let Some(seen) = user_mode_linux("6.12", "network", 1, &["plain"]) else {
        return;
    };
    seen.breaks(
        &["net.num-buffers"],
        &["net.flags", "net.gso-none", "split.notify"],
    );
}

#[test]
fn linux_6_1_in_user_mode_drives_a_disk() {
    let Some(seen) = user_mode_linux("6.1", "block", 2, &["late"]) else {
        return;
    };
    seen.breaks(&[], DISK);
}

#[test]
fn dpdk_breaks_nothing() {
    let Some(peers) = peers() else {
        return;
    };
    let command = format!(
        "(sleep 2; echo stop; echo quit) | '{}/bin/dpdk-testpmd' --lcores '0@0,1@0' --no-huge -m 512 --no-shconf --no-pci \
         --vdev net_virtio_user0,path={{socket}},queues=1,packed_vq=1 -- -i --auto-start --forward-mode=txonly --no-mlockall \
         --total-num-mbufs=16384",
        peers.display()
    );
    let seen = Seen::new(&[
        "vhost-user",
        "--type",
        "network",
        "--scenario",
        "packed-events",
        "--command",
        &command,
    ]);
    seen.breaks(&[], &["packed.aligned", "packed.list-length", "net.num-buffers"]);
}

#[test]
fn a_driver_that_does_not_come_is_an_error() {
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("device.sock").display().to_string();
    let said = |arguments: &[&str]| {
        let output = ringwright(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let nobody = said(&["vfio-user", &socket, "--deadline", "1"]);
    assert!(
        nobody.contains("nobody has connected to") && nobody.contains("within 1 s"),
        "{nobody}"
    );
    let ended = said(&["vhost-user", "--type", "net", "--command", "exit 7"]);
    assert!(ended.contains("exit code 7"), "{ended}");
    let unknown = said(&["vhost-user", "--type", "rtc", &socket]);
    assert!(unknown.contains("no strict device of type rtc"), "{unknown}");
    fs::write(folder.path().join("file"), "").unwrap();
    let file = folder.path().join("file").display().to_string();
    assert!(said(&["vhost-user", &file]).contains("cannot wait for a driver at"));
}
