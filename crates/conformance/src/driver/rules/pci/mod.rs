//! Virtio over PCI (section 4.1).

mod common;
mod discovery;
mod interrupts;
mod notification;
mod window;

use ringwright_spec::feature;
use ringwright_spec::status::Status;

use crate::driver::strict::pci::NOTIFY;
use crate::driver::{Access, Event, Mutant, Part, Past, Rule, Slip, SlipAccess, Watch};
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

const fn slips(slip: SlipAccess) -> Slip {
    Slip {
        registers: Some(slip),
        ..Slip::NONE
    }
}

/// An access to the common configuration.
fn common(event: &Event) -> Option<&Access> {
    match event {
        Event::Function(Part::Common, access) => Some(access),
        _ => None,
    }
}

/// The driver takes the function, and sets DRIVER_OK unless something else is wrong.
fn works(watch: &mut Watch, past: &Past, event: &Event) {
    match event {
        Event::StatusWritten(status) if status.contains(Status::ACKNOWLEDGE) => watch.note = 1,
        Event::Ends(how) if past.bus == Bus::Pci => {
            let may_fail = past.scenario.refuses || !past.offered.contains(feature::VERSION_1);
            let is_used = watch.note == 1 && (may_fail || past.lives > 0);
            watch.expect(is_used, || format!("it is not used: {how:?}"));
        }
        _ => {}
    }
}

/// Whether an access of a hand is a notification.
fn is_notification(access: &Access) -> bool {
    access.write && (NOTIFY..NOTIFY + 0x1000).contains(&access.offset)
}
