//! The rules, by the part of the document that they are for.

mod block;
mod ccw;
mod console;
mod core;
mod entropy;
mod feat;
mod init;
mod mmio;
mod network;
mod packed;
mod pci;
mod split;

use ringwright_driver::Transport;
use ringwright_ring::Layout;
use ringwright_spec::feature;
use ringwright_spec::status::Status;

use super::event::WRITE;
use super::{Event, Past, Rule, Slip, SlipAccess, Watch};
use crate::check::Check;
use crate::subject::Bus;

/// All rules.
pub fn rules() -> impl Iterator<Item = &'static Rule> + Clone {
    [
        core::RULES,
        init::RULES,
        feat::RULES,
        split::RULES,
        packed::RULES,
        ccw::RULES,
        block::RULES,
        console::RULES,
        entropy::RULES,
    ]
    .into_iter()
    .chain(mmio::RULES)
    .chain(network::RULES)
    .chain(pci::RULES)
    .flatten()
}

/// The rules as checks, for lists and counts.
pub fn checks() -> impl Iterator<Item = &'static Check> + Clone {
    rules().map(|rule| &rule.check)
}

/// The driver on `bus` takes the device, and sets DRIVER_OK unless something else is wrong.
fn works(watch: &mut Watch, past: &Past, event: &Event, bus: Bus) {
    match event {
        Event::StatusWritten(status) if status.contains(Status::ACKNOWLEDGE) => watch.note = 1,
        Event::Ends(how) if past.bus == bus => {
            let may_fail = past.scenario.refuses || !past.offered.contains(feature::VERSION_1);
            let is_used = watch.note == 1 && (may_fail || past.lives > 0);
            watch.expect(is_used, || format!("it is not used: {how:?}"));
        }
        _ => {}
    }
}

/// Buffers of the virtqueues that `meant` says are all device-writable, or all device-readable.
fn one_way(watch: &mut Watch, past: &Past, event: &Event, meant: impl Fn(u16) -> bool, writable: bool) {
    if let Event::Available(queue, chain) = event
        && meant(*queue)
        && *queue < past.administration
        && past.queues.contains_key(queue)
    {
        let right = chain.elements().all(|element| element.has(WRITE) == writable);
        watch.expect(right, || format!("virtqueue {queue}: {chain:x?}"));
    }
}

/// Whether each part of a virtqueue is at an address that is a multiple of its alignment.
fn aligned(watch: &mut Watch, index: u16, layout: &Layout, parts: [(u64, u64); 3]) {
    let aligned = parts.iter().all(|(address, align)| address % align == 0);
    watch.expect(aligned, || format!("virtqueue {index} is at {layout:x?}"));
}

/// A hand that slips when it accesses registers.
const fn slips(slip: SlipAccess) -> Slip {
    Slip {
        registers: Some(slip),
        ..Slip::NONE
    }
}

/// The Device Area of a virtqueue is not where it may be.
const MISALIGNED: Slip = Slip {
    enable_queue: Some(|hand, index, layout| {
        let device_area = layout.device_area + 2;
        hand.device.enable_queue(
            index,
            &Layout {
                device_area,
                ..layout
            },
        )
    }),
    ..Slip::NONE
};
