//! The interrupt line of a device, as an interrupt controller sees it: asserted when the device has used a buffer, and
//! not any more when the driver has taken the interrupt.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ringwright_driver::transport::mmio::Mmio;
use ringwright_driver::transport::pci::{self, Interrupts, Pci};
use ringwright_driver::{Options, Transport, entropy::Entropy};
use ringwright_qtest::{MICROVM, Machine, Q35, Qemu};

const SOURCE: [&str; 2] = ["-object", "rng-random,id=source,filename=/dev/urandom"];

/// A machine with a device, or `None` on a developer's machine without QEMU, which is said.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn start(machine: &Machine, arguments: &[&str]) -> Option<Qemu> {
    let Some(folder) = std::env::var_os("RINGWRIGHT_PEERS").map(PathBuf::from) else {
        assert!(std::env::var_os("CI").is_none(), "RINGWRIGHT_PEERS is not set");
        eprintln!("skipped: RINGWRIGHT_PEERS is not set (`cargo xtask test` sets it and fetches QEMU)");
        return None;
    };
    let arguments = [&SOURCE[..], arguments].concat();
    let qemu = Qemu::start(&folder.join("bin").join(machine.program), machine, &arguments).unwrap();
    qemu.intercept("ioapic").unwrap();
    Some(qemu)
}

/// Has a request answered; whether the line was asserted before the interrupt was taken, and whether it still is.
fn request<T: Transport>(qemu: &Qemu, driver: &mut Entropy<T>) -> (bool, bool) {
    let buffer = qemu.area().allocate(16, 16).unwrap();
    assert!(!driver.enable_notifications());
    driver.request(buffer).unwrap().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while driver.poll().unwrap().is_none() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    // The answer to any access comes after what has happened before.
    driver.session().check().unwrap();
    let before = !qemu.asserted().is_empty();
    let taken = driver.session().transport().take_interrupt().unwrap();
    assert!(taken.queue);
    driver.session().check().unwrap();
    (before, !qemu.asserted().is_empty())
}

#[test]
fn over_mmio() {
    for legacy in ["virtio-mmio.force-legacy=true", "virtio-mmio.force-legacy=false"] {
        let arguments = ["-global", legacy, "-device", "virtio-rng-device,rng=source"];
        // With all lines at the one interrupt controller that has a name.
        let machine = Machine {
            machine: "microvm,ioapic2=off",
            ..MICROVM
        };
        let Some(qemu) = start(&machine, &arguments) else {
            return;
        };
        let found = qemu
            .mmio_places()
            .find_map(|place| Mmio::probe(place).ok().flatten());
        let mut driver = Entropy::new(found.unwrap(), qemu.area(), Options::default()).unwrap();
        for _ in 0..3 {
            assert_eq!(request(&qemu, &mut driver), (true, false));
        }
    }
}

#[test]
fn over_pci() {
    // With polling the pin stays quiet although the device has something to tell.
    for polling in [false, true] {
        let arguments = ["-device", "virtio-rng-pci,rng=source,disable-legacy=on"];
        let Some(qemu) = start(&Q35, &arguments) else {
            return;
        };
        let mut transports = qemu.configure_pci().unwrap().into_iter().filter_map(|function| {
            let options = pci::Options {
                interrupts: match polling {
                    true => Interrupts::Polling,
                    false => Interrupts::Pin,
                },
                ..pci::Options::default()
            };
            Pci::probe(function.config, |region| qemu.map(region), options).unwrap()
        });
        let mut driver = Entropy::new(transports.next().unwrap(), qemu.area(), Options::default()).unwrap();
        for _ in 0..3 {
            assert_eq!(request(&qemu, &mut driver), (!polling, false));
        }
    }
}
