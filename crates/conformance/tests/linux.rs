//! Linux in the embedded machine meets a strict disk and a strict source of entropy.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ringwright_conformance::driver::{Driver, Linux, LinuxParts, Scenario, rules, scenario, watch};
use ringwright_conformance::subject::Bus;
use ringwright_conformance::{Record, Verdict};
use ringwright_spec::{DeviceType, block, entropy};

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

/// Lets Linux' driver meet a strict device in these scenarios: it breaks nothing, and at least `least` rules pass it.
fn passes(device: &'static DeviceType, bus: Bus, names: &[&str], least: usize) {
    let driver: Arc<dyn Driver> = Arc::new(Linux::new(&parts(), device, bus).unwrap());
    let rules: Vec<_> = rules().collect();
    let scenarios: Vec<&'static Scenario> = names.iter().map(|name| scenario(name).unwrap()).collect();
    let records = watch(&driver, &rules, &scenarios, DEADLINE, |scenario, ended| {
        assert!(ended.is_ok(), "{}: {ended:?}", scenario.name);
    });
    for Record {
        check,
        verdict,
        trace,
        ..
    } in &records
    {
        let fails = matches!(verdict, Verdict::Fail { .. });
        assert!(!fails, "{}: {verdict:?}\n{}", check.name, trace.join("\n"));
    }
    let passed = records.iter().filter(|record| record.verdict == Verdict::Pass);
    let passed: Vec<_> = passed.map(|record| record.check.name).collect();
    assert!(passed.len() >= least, "only these rules pass it: {passed:?}");
}

#[test]
fn a_disk() {
    passes(&block::DEVICE, Bus::Mmio, &["indirect", "packed-late"], 45);
}

#[test]
fn a_disk_on_pci() {
    passes(&block::DEVICE, Bus::Pci, &["events", "packed-reversed"], 45);
}

#[test]
fn a_source_of_entropy() {
    passes(&entropy::DEVICE, Bus::Mmio, &["events"], 30);
}
