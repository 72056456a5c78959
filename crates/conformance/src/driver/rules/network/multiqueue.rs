//! Several pairs of virtqueues (section 5.1.9.5, automatic receive steering).

use ringwright_driver::Transport;
use ringwright_spec::network::DEVICE;
use ringwright_spec::network::control::{Class, Mq};
use ringwright_spec::status::Status;

use super::command::{command, replace};
use super::{ALONE, pairs};
use crate::driver::strict::PAIRS;
use crate::driver::{Event, Mutant, Past, Rule, Slip, Watch};

/// What the mutants have in common.
const PAIRED: Mutant = Mutant {
    scenario: "pairs",
    ..ALONE
};

pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "net.pairs-configured",
        &["drv:net:automatic-receive-steering-in-multiqueue-mode:01"],
        "the driver sends VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET",
        "A virtqueue of the pairs that it enables is not set up.",
        |watch, past, event| {
            if let Some(enabled) = pairs_set(past, event) {
                let lacking = (0..2 * enabled.min(PAIRS)).find(|index| !past.queues.contains_key(index));
                watch.expect(lacking.is_none(), || {
                    format!("{enabled} pairs, and virtqueue {lacking:?} is not enabled")
                });
            }
        },
        &[Mutant {
            name: "a pair is used without its receiveq",
            slip: Slip {
                enable_queue: Some(|hand, index, layout| match index {
                    2 => Ok(()),
                    _ => hand.device.enable_queue(index, &layout),
                }),
                ..Slip::NONE
            },
            also: &["net.pairs-populated"],
            ..PAIRED
        }],
    ),
    Rule::new(
        "net.pairs-number",
        &["drv:net:automatic-receive-steering-in-multiqueue-mode:02"],
        "the driver sends VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET",
        "virtqueue_pairs is 0, or greater than max_virtqueue_pairs.",
        |watch, past, event| {
            if let Some(enabled) = pairs_set(past, event) {
                watch.expect((1..=PAIRS).contains(&enabled), || {
                    format!("{enabled} pairs of {PAIRS}")
                });
            }
        },
        &[
            PAIRED
                .notifying("no pair at all", |hand, queue, data| {
                    replace(hand, queue, data, (Class::MQ, Mq::VQ_PAIRS_SET.0), &[(2, 0)])
                })
                .also(&["net.pairs-after"]),
            PAIRED.notifying("more pairs than there are", |hand, queue, data| {
                replace(hand, queue, data, (Class::MQ, Mq::VQ_PAIRS_SET.0), &[(2, 9)])
            }),
        ],
    ),
    Rule::new(
        "net.pairs-before",
        &["drv:net:automatic-receive-steering-in-multiqueue-mode:03"],
        "the driver sends a packet, and has not sent VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET",
        "It is not in transmitq1.",
        |watch, past, event| {
            steered(watch, past, event);
            if let Event::Available(index, _) = event
                && is_transmitq(past, *index)
                && watch.note == 0
            {
                watch.expect(*index == 1, || format!("it is in virtqueue {index}"));
            }
        },
        &[
            PAIRED.notifying("the command comes too late", |hand, queue, data| {
                replace(
                    hand,
                    queue,
                    data,
                    (Class::MQ, Mq::VQ_PAIRS_SET.0),
                    &[(1, Mq::HASH_CONFIG.0)],
                )
            }),
        ],
    ),
    Rule::new(
        "net.pairs-after",
        &["drv:net:automatic-receive-steering-in-multiqueue-mode:04"],
        "the driver sends a packet after VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET",
        "It is in a transmitq beyond virtqueue_pairs.",
        |watch, past, event| {
            steered(watch, past, event);
            if let Event::Available(index, _) = event
                && is_transmitq(past, *index)
                && watch.note != 0
            {
                let enabled = watch.note - 1;
                watch.expect(u64::from(index / 2) < enabled, || {
                    format!("it is in virtqueue {index}, and {enabled} pairs are used")
                });
            }
        },
        &[
            PAIRED.notifying("a pair is used that was not enabled", |hand, queue, data| {
                replace(hand, queue, data, (Class::MQ, Mq::VQ_PAIRS_SET.0), &[(2, 1)])
            }),
        ],
    ),
    Rule::new(
        "net.pairs-populated",
        &["drv:net:setting-up-receive-buffers:05"],
        "the driver sends VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET",
        "A receiveq of the pairs that it enables has no buffer.",
        |watch, past, event| {
            if let Some(enabled) = pairs_set(past, event) {
                let has_buffers = |index| {
                    past.queues
                        .get(&index)
                        .is_some_and(|queue| !queue.exposed.is_empty())
                };
                let lacking = (0..enabled.min(PAIRS)).find(|pair| !has_buffers(2 * pair));
                watch.expect(lacking.is_none(), || {
                    format!("{enabled} pairs, and {lacking:?} has none")
                });
            }
        },
        &[
            PAIRED.notifying("a pair is used without receive buffers", |hand, queue, data| {
                if queue == 2 {
                    let index = hand
                        .layouts
                        .get(&queue)
                        .map_or(0, |layout| layout.driver_area + 2);
                    hand.write16(index, 0);
                }
                hand.device.notify(queue, data)
            }),
        ],
    ),
];

/// How many pairs the driver tells the device to use.
fn pairs_set(past: &Past, event: &Event) -> Option<u16> {
    let command = command(past, event).filter(|command| command.is(Class::MQ, Mq::VQ_PAIRS_SET.0))?;
    let number = command.data.first_chunk()?;
    Some(u16::from_le_bytes(*number))
}

/// Notes how many pairs the driver has told the device to use: one more than that, or nothing.
fn steered(watch: &mut Watch, past: &Past, event: &Event) {
    if *event == Event::StatusWritten(Status::NONE) {
        watch.note = 0;
    }
    if let Some(enabled) = pairs_set(past, event) {
        watch.note = u64::from(enabled) + 1;
    }
    // Another way to spread packets, which has another limit.
    if command(past, event).is_some_and(|command| command.is(Class::MQ, Mq::RSS_CONFIG.0)) {
        watch.note = u64::MAX;
    }
}

/// Whether this is a transmitq of a network card.
fn is_transmitq(past: &Past, index: u16) -> bool {
    past.device.id == DEVICE.id && index % 2 == 1 && index < 2 * pairs(past)
}
