//! Sources of entropy (section 5.4).

use ringwright_driver::Transport;
use ringwright_spec::entropy::DEVICE;

use super::one_way;
use crate::driver::{Mutant, Rule, Slip};

pub(super) const RULES: &[Rule] = &[Rule::new(
    "entropy.request",
    &["drv:entropy:device-operation:01"],
    "a buffer for random bytes becomes available",
    "Some of it is device-readable.",
    |watch, past, event| {
        one_way(watch, past, event, |_| past.device.id == DEVICE.id, true);
    },
    &[Mutant {
        name: "a buffer for random bytes is device-readable",
        driver: "entropy",
        slip: Slip {
            notify: Some(|hand, queue, data| {
                let flags = hand.head(queue) + 12;
                hand.write16(flags, 0);
                hand.device.notify(queue, data)
            }),
            ..Slip::NONE
        },
        ..Mutant::ALONE
    }],
)];
