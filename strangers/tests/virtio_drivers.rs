//! What the drivers of `virtio-drivers` do that the document forbids: what is known, and that nothing changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ringwright_conformance::Verdict;
use ringwright_conformance::driver::{Completes, Driver, SCENARIOS, Scenario, rules, watch};
use ringwright_spec::{DeviceType, block, console, entropy, network};
use ringwright_strangers::VirtioDrivers;

const DEADLINE: Duration = Duration::from_secs(20);

/// What all of them break: they go on without a look at whether the device has left FEATURES_OK set
/// (`docs/findings/virtio-drivers-features-ok.md`).
const KNOWN: &[&str] = &["init.goes-on", "init.order"];

/// Scenarios in which these drivers wait for ever, as they are made: the device never uses a buffer, or is not notified
/// again where it does not ask for that.
fn is_bearable(scenario: &Scenario) -> bool {
    let waits = [Completes::Never, Completes::OneByOne].contains(&scenario.completes);
    !waits && !scenario.suppresses && scenario.demands_reset == 0
}

/// The rules that the driver for `device` breaks, with what was seen, and how many it passes.
fn seen(device: &'static DeviceType) -> (BTreeMap<&'static str, String>, usize) {
    let driver: Arc<dyn Driver> = Arc::new(VirtioDrivers::new(device).unwrap());
    let rules: Vec<_> = rules().collect();
    let scenarios: Vec<_> = SCENARIOS
        .iter()
        .filter(|scenario| is_bearable(scenario))
        .collect();
    let records = watch(&driver, &rules, &scenarios, DEADLINE, |_, _| {});
    let passed = records.iter().filter(|record| record.verdict == Verdict::Pass);
    let passed = passed.count();
    let broken = records.iter().filter_map(|record| match &record.verdict {
        Verdict::Fail { evidence, .. } => Some((
            record.check.name,
            format!("{evidence}; {:?}", record.trace.first()),
        )),
        _ => None,
    });
    (broken.collect(), passed)
}

fn breaks(device: &'static DeviceType, known: &[&str], least: usize) {
    let (broken, passed) = seen(device);
    let names: Vec<_> = broken.keys().copied().collect();
    assert_eq!(names, known, "{broken:#?}");
    assert!(passed >= least, "only {passed} rules pass it");
}

#[test]
fn a_disk() {
    breaks(&block::DEVICE, KNOWN, 34);
}

#[test]
fn a_network_card() {
    // It reads mac without VIRTIO_NET_F_MAC (`docs/findings/virtio-drivers-mac.md`).
    let known = [&["config.optional"], KNOWN].concat();
    breaks(&network::DEVICE, &known, 54);
}

#[test]
fn a_console() {
    breaks(&console::DEVICE, KNOWN, 28);
}

#[test]
fn a_source_of_entropy() {
    breaks(&entropy::DEVICE, KNOWN, 25);
}
