//! Checks of devices, by the chapters of the document.

mod basic;
mod block;
mod ccw;
mod console;
mod entropy;
mod features;
mod legacy;
mod mmio;
mod network;
mod packed;
mod pci;
mod split;
mod suspend;
mod zoned;

#[cfg(test)]
mod tests;

use ringwright_driver::transport::Registers;
use ringwright_spec::pci::header::capability::SR_IOV;

use crate::check::{Check, Outcome};
use crate::probe::Probe;
use crate::subject::Raw;

/// Where the extended configuration space of a PCI Express function begins.
const EXTENDED_CAPABILITIES: u64 = 0x100;

/// All checks of devices.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    [
        basic::CHECKS,
        features::CHECKS,
        packed::CHECKS,
        suspend::CHECKS,
        block::CHECKS,
        legacy::CHECKS,
        zoned::CONFIG,
        zoned::RESOURCES,
        zoned::OPERATION,
        zoned::APPEND,
        console::CHECKS,
        entropy::CHECKS,
    ]
    .into_iter()
    .chain(split::CHECKS)
    .chain(mmio::CHECKS)
    .chain(pci::CHECKS)
    .chain(ccw::CHECKS)
    .chain(network::CHECKS)
    .flatten()
}

/// Whether a specimen has an SR-IOV capability. Only a PCI Express function can.
fn has_sr_iov(probe: &mut Probe) -> Outcome<bool> {
    let Raw::Pci(pci) = probe.raw() else {
        return Ok(false);
    };
    let mut offset = EXTENDED_CAPABILITIES;
    // Each capability is four bytes at least.
    for _ in 0..(0x1000 - EXTENDED_CAPABILITIES) / 4 {
        let Ok(header) = pci.config.read32(offset) else {
            return Ok(false);
        };
        match (header & 0xffff, u64::from(header >> 20)) {
            (id, _) if id == u32::from(SR_IOV) => return Ok(true),
            (0 | 0xffff, _) | (_, ..EXTENDED_CAPABILITIES) => return Ok(false),
            (_, next) => offset = next,
        }
    }
    Ok(false)
}
