//! QEMU's own devices: what the checks find is what was found to be so by reading the document again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use ringwright_conformance::subject::{Bus, QEMU, Qemu};
use ringwright_conformance::{RunOptions, Verdict, device, run};

/// What QEMU 11.1 breaks, on one bus or on both: check, and clause. See `docs/findings`.
const KNOWN: &[(Option<Bus>, &str, &str)] = &[
    (None, "status.before-driver-ok", "dev:core:device-status-field:01"),
    (None, "features.refused", "dev:core:feature-bits:02"),
    (None, "indirect.after-direct", "dev:split:indirect-descriptors:02"),
    (
        None,
        "block.writeback-without-flush",
        "dev:blk:device-initialization:02",
    ),
    (
        None,
        "network.received",
        "dev:net:processing-of-incoming-packets:01",
    ),
    (Some(Bus::Mmio), "features.unknown", "dev:core:feature-bits:03"),
    (Some(Bus::Mmio), "features.required", "dev:core:feature-bits:01"),
    (
        Some(Bus::Mmio),
        "mmio.not-ready",
        "dev:mmio:mmio-device-register-layout:07",
    ),
    (
        Some(Bus::Mmio),
        "mmio.queue-reset",
        "dev:mmio:mmio-device-register-layout:12",
    ),
    (
        Some(Bus::Mmio),
        "mmio.queue-reset-ongoing",
        "dev:mmio:mmio-device-register-layout:12",
    ),
];

/// Checks that cannot be made: virtqueues cannot be reset over MMIO, and nothing changes the configuration of a console.
const BLOCKED: &[(&str, Bus, &str)] = &[
    ("", Bus::Mmio, "queue-reset.quiet"),
    ("", Bus::Mmio, "queue-reset.again"),
    ("console", Bus::Pci, "pci.isr"),
    ("console", Bus::Pci, "pci.msix-no-vector"),
];

#[test]
fn qemus_devices_break_what_they_are_known_to_break() {
    let Some(peers) = std::env::var_os("RINGWRIGHT_PEERS").map(PathBuf::from) else {
        assert!(std::env::var_os("CI").is_none(), "RINGWRIGHT_PEERS is not set");
        eprintln!("skipped: RINGWRIGHT_PEERS is not set (`cargo xtask test` sets it and fetches QEMU)");
        return;
    };
    let program = peers.join("bin/qemu-system-x86_64");
    assert!(program.exists(), "{} is missing", program.display());
    let subjects = QEMU
        .iter()
        .flat_map(|name| [Bus::Mmio, Bus::Pci].map(|bus| (*name, bus)));
    // Most of the time is waiting.
    let surprises: Vec<String> = thread::scope(|scope| {
        let looks: Vec<_> = subjects
            .map(|(name, bus)| {
                scope.spawn({
                    let program = &program;
                    move || look(program, name, bus)
                })
            })
            .collect();
        looks.into_iter().flat_map(|look| look.join().unwrap()).collect()
    });
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}

/// What is found on a device that was not known.
fn look(program: &Path, name: &str, bus: Bus) -> Vec<String> {
    let checks: Vec<_> = device::checks().collect();
    let subject = Qemu::new(program, name, bus)
        .unwrap()
        .with("packed=on,in_order=on,queue_reset=on");
    let options = RunOptions {
        jobs: 2,
        ..RunOptions::default()
    };
    let records = run(Arc::new(subject), &checks, &options, |_| {}).unwrap();
    let passed = records
        .iter()
        .filter(|record| record.verdict == Verdict::Pass)
        .count();
    assert!(passed >= 20, "{name} over {bus}: only {passed} checks apply");
    let surprising = records.iter().filter(|record| match &record.verdict {
        Verdict::Fail { clause, .. } | Verdict::Advice { clause, .. } => !KNOWN.iter().any(|known| {
            known.0.is_none_or(|only| only == bus) && (known.1, known.2) == (record.check.name, clause)
        }),
        Verdict::Inconclusive(_) => !BLOCKED
            .iter()
            .any(|known| name.ends_with(known.0) && (known.1, known.2) == (bus, record.check.name)),
        Verdict::Pass | Verdict::NotApplicable(_) | Verdict::NotSeen(_) => false,
    });
    surprising
        .map(|record| {
            let end = record.trace.len().saturating_sub(14);
            let (check, verdict) = (record.check.name, &record.verdict);
            let trace = record.trace[end..].join("\n    ");
            format!("{name} over {bus}: {check}: {verdict:?}\n    {trace}")
        })
        .collect()
}
