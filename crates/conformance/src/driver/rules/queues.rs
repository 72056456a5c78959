//! What buffers each virtqueue of a console and of a source of entropy takes (sections 5.3, 5.4).

use ringwright_driver::Transport;
use ringwright_spec::{console, entropy};

use crate::driver::event::WRITE;
use crate::driver::{Event, Mutant, Past, Rule, Slip, Watch};

pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "console.receive",
        &["drv:console:device-operation:01"],
        "a buffer becomes available in a receiveq",
        "Some of it is device-readable.",
        |watch, past, event| {
            one_way(
                watch,
                past,
                event,
                |queue| past.device.id == console::DEVICE.id && queue == 0,
                true,
            );
        },
        &[Mutant {
            name: "a buffer for input is device-readable",
            driver: "console",
            slip: Slip {
                notify: Some(|hand, queue, data| {
                    if queue == 0 {
                        let flags = hand.head(queue) + 12;
                        hand.write16(flags, 0);
                    }
                    hand.device.notify(queue, data)
                }),
                ..Slip::NONE
            },
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "console.transmit",
        &["drv:console:device-operation:02"],
        "a buffer becomes available in a transmitq",
        "Some of it is device-writable.",
        |watch, past, event| {
            one_way(
                watch,
                past,
                event,
                |queue| past.device.id == console::DEVICE.id && queue == 1,
                false,
            );
        },
        &[Mutant {
            name: "output is device-writable",
            driver: "console",
            slip: Slip {
                notify: Some(|hand, queue, data| {
                    if queue == 1 {
                        let flags = hand.head(queue) + 12;
                        hand.write16(flags, WRITE);
                    }
                    hand.device.notify(queue, data)
                }),
                ..Slip::NONE
            },
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "entropy.request",
        &["drv:entropy:device-operation:01"],
        "a buffer for random bytes becomes available",
        "Some of it is device-readable.",
        |watch, past, event| {
            one_way(watch, past, event, |_| past.device.id == entropy::DEVICE.id, true);
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
    ),
];

/// Buffers of the virtqueues that `meant` says are all device-writable, or all device-readable.
fn one_way(watch: &mut Watch, past: &Past, event: &Event, meant: impl Fn(u16) -> bool, writable: bool) {
    // The control virtqueues of a console come after those of the first port.
    if let Event::Available(queue, chain) = event
        && meant(*queue)
        && past.queues.contains_key(queue)
    {
        let right = chain.elements().all(|element| element.has(WRITE) == writable);
        watch.expect(right, || format!("virtqueue {queue}: {chain:x?}"));
    }
}
