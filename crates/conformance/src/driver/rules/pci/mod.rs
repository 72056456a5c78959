//! Virtio over PCI (section 4.1).

mod common;
mod discovery;
mod interrupts;
mod notification;
mod window;

use super::slips;
use crate::driver::strict::pci::NOTIFY;
use crate::driver::{Access, Event, Mutant, Part, Rule};
use crate::subject::Bus;

/// All of them, by subject.
pub(super) const RULES: [&[Rule]; 5] = [
    discovery::RULES,
    common::RULES,
    interrupts::RULES,
    window::RULES,
    notification::RULES,
];

/// What the mutants of this bus have in common.
const ALONE: Mutant = Mutant {
    bus: Bus::Pci,
    ..Mutant::ALONE
};

/// An access to the common configuration.
fn common(event: &Event) -> Option<&Access> {
    match event {
        Event::Function(Part::Common, access) => Some(access),
        _ => None,
    }
}

/// Whether an access of a hand is a notification.
fn is_notification(access: &Access) -> bool {
    access.write && (NOTIFY..NOTIFY + 0x1000).contains(&access.offset)
}
