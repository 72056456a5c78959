//! Devices with registers: in memory, or of PCI functions.

use alloc::boxed::Box;

use bare::{Boot, MessageWords, PciHost};
use ringwright_driver::TransportError;
use ringwright_driver::transport::Registers;
use ringwright_driver::transport::Transport;
use ringwright_driver::transport::mmio::Mmio;
use ringwright_driver::transport::pci::{Delivery, Function, Interrupts, Options, Pci};

use crate::report::Report;

/// Drives every device of the machine.
pub fn all(boot: &Boot, report: &mut Report) {
    for registers in boot.virtio_mmio() {
        match Mmio::probe(registers) {
            // A placeholder.
            Ok(None) => {}
            Ok(Some(mut transport)) => report.device("mmio", "status", false, &mut transport),
            Err(error) => report.failure(format_args!("mmio: {error}")),
        }
    }
    for host in boot.pci_hosts() {
        let functions = match host.functions() {
            Ok(functions) => functions,
            Err(error) => return report.failure(format_args!("pci: {error}")),
        };
        for mut function in functions {
            // The pin has to work again after messages.
            for signal in ["msi-x", "pin"] {
                if let Err(error) = pci(boot, &host, &mut function, signal, report) {
                    report.failure(format_args!("pci {}: {error}", function.address));
                }
            }
        }
    }
}

/// Drives the device of one PCI function, if it is a virtio device, by each of its interfaces.
fn pci<C: Registers>(
    boot: &Boot,
    host: &PciHost,
    function: &mut Function<C>,
    signal: &str,
    report: &mut Report,
) -> Result<(), TransportError> {
    for prefer_legacy in [false, true] {
        let controller = boot.messages();
        let has_controller = controller.is_some();
        // Without a controller, messages go to memory, to be looked at there.
        let messages = controller.or_else(|| Some(Box::new(MessageWords::new(report.area())?)));
        let options = Options {
            interrupts: match messages {
                Some(messages) if signal == "msi-x" => Interrupts::Messages(messages),
                _ => Interrupts::Pin,
            },
            prefer_legacy,
            ..Options::default()
        };
        let map = |region: &_| host.registers(region);
        let Some(mut transport) = Pci::probe(&mut function.config, map, options)? else {
            return Ok(());
        };
        let signal = match transport.delivery() {
            Delivery::Messages => "msi-x",
            Delivery::Pin => "pin",
            Delivery::Polling => "none",
        };
        let interrupts = has_controller && transport.delivery() == Delivery::Messages;
        report.device("pci", signal, interrupts, &mut transport);
        // Only a transitional device has another interface.
        let transitional = ringwright_spec::pci::TRANSITIONAL_DEVICE_IDS.contains(&function.device_id);
        if transport.legacy().is_some() || !transitional {
            break;
        }
    }
    Ok(())
}
