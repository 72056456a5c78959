//! Linux in the embedded machine meets strict devices, on either bus: what is known, and that nothing changes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ringwright_conformance::driver::{Driver, Linux, LinuxParts, Scenario, rules, scenario, watch};
use ringwright_conformance::subject::Bus;
use ringwright_conformance::{Record, Verdict};
use ringwright_spec::{DeviceType, block, console, entropy, network};

/// Longer than a guest may take.
const DEADLINE: Duration = Duration::from_secs(200);

/// The guest, where `cargo xtask setup` has put its parts; `RINGWRIGHT_LINUX` is the folder of another kernel.
fn parts() -> LinuxParts {
    let peers = std::env::var_os("RINGWRIGHT_PEERS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/peers"),
        PathBuf::from,
    );
    let kernel =
        std::env::var_os("RINGWRIGHT_LINUX").map_or_else(|| peers.join("kernels/riscv64"), PathBuf::from);
    LinuxParts {
        kernel: kernel.join("vmlinuz"),
        modules: kernel.join("modules"),
        busybox: peers.join("guest/riscv64/busybox"),
    }
}

/// Lets Linux' driver meet a strict device in these scenarios: it breaks no rules but those that are known, and at least
/// `least` pass it.
fn passes(device: &'static DeviceType, bus: Bus, names: &[&str], known: &[&str], least: usize) {
    let driver: Arc<dyn Driver> = Arc::new(Linux::new(&parts(), device, bus).unwrap());
    let rules: Vec<_> = rules().collect();
    let scenarios: Vec<&'static Scenario> = names.iter().map(|name| scenario(name).unwrap()).collect();
    let records = watch(&driver, &rules, &scenarios, DEADLINE, |scenario, ended| {
        assert!(ended.is_ok(), "{}: {ended:?}", scenario.name);
    });
    let fails = |record: &&Record| matches!(record.verdict, Verdict::Fail { .. });
    for Record {
        check,
        verdict,
        trace,
        ..
    } in records.iter().filter(fails)
    {
        let trace = trace.join("\n");
        assert!(
            known.contains(&check.name),
            "{}: {verdict:?}\n{trace}",
            check.name
        );
    }
    assert_eq!(records.iter().filter(fails).count(), known.len(), "of {known:?}");
    let passed = records.iter().filter(|record| record.verdict == Verdict::Pass);
    let passed: Vec<_> = passed.map(|record| record.check.name).collect();
    assert!(passed.len() >= least, "only these rules pass it: {passed:?}");
}

#[test]
fn a_disk() {
    passes(&block::DEVICE, Bus::Mmio, &["indirect", "packed-late"], &[], 45);
}

#[test]
fn a_disk_on_pci() {
    passes(&block::DEVICE, Bus::Pci, &["events", "packed-reversed"], &[], 45);
}

#[test]
fn a_source_of_entropy() {
    passes(&entropy::DEVICE, Bus::Mmio, &["events"], &[], 30);
}

#[test]
fn a_network_card_on_pci() {
    // docs/findings/linux-net-num-buffers.md
    passes(&network::DEVICE, Bus::Pci, &["plain"], &["net.num-buffers"], 40);
}

#[test]
fn a_console_with_ports() {
    passes(&console::DEVICE, Bus::Mmio, &["ports"], &[], 30);
}
