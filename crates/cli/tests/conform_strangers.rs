//! `ringwright conform` on devices of other programs: what is known to be broken there is found, and nothing else.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

/// The folder of the peers' programs, or `None` on a developer's machine without peers, which is said.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn peers() -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("RINGWRIGHT_PEERS") else {
        assert!(std::env::var_os("CI").is_none(), "RINGWRIGHT_PEERS is not set");
        eprintln!("skipped: RINGWRIGHT_PEERS is not set (`cargo xtask test` sets it)");
        return None;
    };
    Some(PathBuf::from(folder).join("bin"))
}

/// The checks of a device behind vhost-user that fail, that came to nothing, and how many pass. `PEERS` in `command` is the
/// folder of the programs.
fn conform(device: &str, command: &str) -> Option<(Vec<String>, Vec<String>, usize)> {
    let command = command.replace("PEERS", &peers()?.display().to_string());
    Some(outcome(&["vhost-user", "--type", device, "--command", &command]))
}

/// The same of any device.
fn outcome(subject: &[&str]) -> (Vec<String>, Vec<String>, usize) {
    let output = Command::new(env!("CARGO_BIN_EXE_ringwright"))
        .args([&["conform", "device", "--json", "-"], subject].concat())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let named = |verdict: &str| -> Vec<String> {
        let checks = report["checks"].as_array().unwrap().iter();
        let checks = checks.filter(|check| check["verdict"] == verdict);
        checks
            .map(|check| check["name"].as_str().unwrap().into())
            .collect()
    };
    let (failed, inconclusive) = (named("fail"), named("inconclusive"));
    assert_eq!(output.status.code(), Some(i32::from(!failed.is_empty())));
    (failed, inconclusive, named("pass").len())
}

#[test]
fn qemu_storage_daemon_takes_indirect_descriptors_behind_direct_ones_for_buffers() {
    let command = "exec PEERS/qemu-storage-daemon --blockdev null-co,node-name=disk,size=1073741824,read-zeroes=on \
         --export vhost-user-blk,id=disk,node-name=disk,writable=on,addr.type=unix,addr.path={socket}";
    let Some((failed, inconclusive, passed)) = conform("block", command) else {
        return;
    };
    assert_eq!(failed, ["indirect.after-direct"]);
    assert_eq!(inconclusive, [""; 0]);
    assert!(passed >= 15, "only {passed}");
}

#[test]
fn dpdk_offers_ecn_without_what_it_requires() {
    let command = "tail -f /dev/null | PEERS/dpdk-testpmd --lcores '0@0,1@0' --no-huge -m 512 --no-shconf --no-pci \
         --vdev net_vhost0,iface={socket},queues=1 -- -i --forward-mode=rxonly --auto-start --no-mlockall \
         --total-num-mbufs=16384";
    let Some((failed, inconclusive, passed)) = conform("network", command) else {
        return;
    };
    assert_eq!(failed, ["features.required"]);
    assert_eq!(inconclusive, [""; 0]);
    assert!(passed >= 15, "only {passed}");
}

#[test]
fn passt_has_one_connection_at_a_time_and_ends_when_a_driver_breaks_the_rules() {
    let command = "exec PEERS/passt --foreground --vhost-user --quiet --socket {socket}";
    let Some((failed, inconclusive, passed)) = conform("network", command) else {
        return;
    };
    assert_eq!(failed, [""; 0]);
    assert_eq!(inconclusive, ["status.needs-reset"]);
    assert!(passed >= 10, "only {passed}");
}

#[test]
fn virtiofsd_has_one_connection_and_breaks_nothing() {
    let share = tempfile::tempdir().unwrap();
    let command = format!(
        "exec PEERS/virtiofsd --socket-path {{socket}} --shared-dir {} --tag shared --sandbox none --log-level off",
        share.path().display()
    );
    let Some((failed, inconclusive, passed)) = conform("filesystem", &command) else {
        return;
    };
    assert_eq!(failed, [""; 0]);
    assert_eq!(inconclusive, [""; 0]);
    assert!(passed >= 14, "only {passed}");
}

#[test]
fn one_of_qemus_own_devices_is_checked_by_qtest() {
    let Some(peers) = peers() else {
        return;
    };
    let program = peers.join("qemu-system-x86_64").display().to_string();
    let (failed, _, passed) = outcome(&[
        "qemu",
        "block",
        "--bus",
        "pci",
        "--with",
        "packed=on",
        "--program",
        &program,
    ]);
    assert!(failed.contains(&"indirect.after-direct".into()), "{failed:?}");
    assert!(passed >= 30, "only {passed}");
}
