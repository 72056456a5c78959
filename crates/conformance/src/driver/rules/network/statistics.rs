//! What a driver asks a network card to have counted (section 5.1.9.5, "Device Statistics").

use ringwright_driver::Transport;
use ringwright_spec::network::control::{Class, Stats};
use ringwright_spec::network::statistics::{QueueStats, ReplyHdr, StatsTypes};
use zerocopy::FromBytes;

use super::command::{Command, command, replace, shorten_answer};
use super::{ALONE, pairs};
use crate::driver::strict::STATISTICS;
use crate::driver::{Event, Mutant, Past, Rule};

/// What the mutants have in common.
const COUNTED: Mutant = Mutant {
    scenario: "statistics",
    ..ALONE
};

const GET: (Class, u8) = (Class::STATS, Stats::GET.0);

/// Types of receive and of transmit virtqueues.
const RECEIVE: u64 = 0xf;
const TRANSMIT: u64 = 0xf_0000;

pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "net.statistics-queried",
        &["drv:net:device-statistics:01"],
        "the driver sends VIRTIO_NET_CTRL_STATS_GET",
        "It asks for types that the device has not named, or has not been asked for by VIRTIO_NET_CTRL_STATS_QUERY.",
        |watch, past, event| {
            if let Event::FeaturesAccepted(_) = event {
                watch.note = 0;
            }
            let Some(command) = command(past, event) else {
                return;
            };
            if command.is(Class::STATS, Stats::QUERY.0) {
                watch.note = STATISTICS.0;
            }
            for (queue, types) in asked(&command) {
                watch.expect(types & !watch.note == 0, || {
                    format!("types {types:#x} of virtqueue {queue}")
                });
            }
        },
        &[
            COUNTED.notifying("a type of statistics that there is not", |hand, queue, data| {
                replace(hand, queue, data, GET, &[(TYPES_AT, 0b11)])
            }),
            COUNTED.notifying("nobody has asked what is counted", |hand, queue, data| {
                let query = (Class::STATS, Stats::QUERY.0);
                replace(hand, queue, data, query, &[(1, 9)])
            }),
        ],
    ),
    Rule::new(
        "net.statistics-types",
        &["drv:net:device-statistics:02"],
        "the driver sends VIRTIO_NET_CTRL_STATS_GET",
        "types_bitmap has a type that is not one of this virtqueue, or there is no such virtqueue.",
        |watch, past, event| {
            let Some(command) = command(past, event) else {
                return;
            };
            for (queue, types) in asked(&command) {
                watch.expect(types & !valid(past, queue) == 0, || {
                    format!("types {types:#x} of virtqueue {queue}")
                });
            }
        },
        &[COUNTED.notifying(
            "a receive virtqueue is asked what was sent",
            |hand, queue, data| replace(hand, queue, data, GET, &[(TYPES_AT, 0), (TYPES_AT + 2, 1)]),
        )],
    ),
    Rule::new(
        "net.statistics-room",
        &["drv:net:device-statistics:03"],
        "the driver sends VIRTIO_NET_CTRL_STATS_GET",
        "There is no room for all headers of the answer.",
        |watch, past, event| {
            let Some(command) = command(past, event).filter(|command| command.is(GET.0, GET.1)) else {
                return;
            };
            let replies: u32 = asked(&command).map(|(_, types)| types.count_ones()).sum();
            // Behind `ack`.
            let needed = 1 + u64::from(replies) * size_of::<ReplyHdr>() as u64;
            watch.expect(command.room >= needed, || {
                format!("{} bytes for {replies} answers", command.room)
            });
        },
        &[
            COUNTED.notifying("there is room for one header only", |hand, queue, data| {
                shorten_answer(hand, queue, GET, 9);
                hand.device.notify(queue, data)
            }),
        ],
    ),
];

/// Where the types of the first virtqueue are in the command.
const TYPES_AT: u64 = 10;

/// The virtqueues, and types of each of them, that a command asks for; of many only the first ones are looked at.
fn asked(command: &Command) -> impl Iterator<Item = (u16, u64)> {
    let entries = match command.is(GET.0, GET.1) {
        true => &command.data[..],
        false => &[],
    };
    entries.chunks_exact(size_of::<QueueStats>()).filter_map(|entry| {
        let entry = QueueStats::read_from_bytes(entry).ok()?;
        Some((entry.vq_index.get(), entry.types_bitmap[0].get()))
    })
}

/// The types that a virtqueue can have.
fn valid(past: &Past, queue: u16) -> u64 {
    match queue {
        control if control == 2 * pairs(past) => StatsTypes::CVQ.0,
        none if none > 2 * pairs(past) => 0,
        receive if receive.is_multiple_of(2) => RECEIVE,
        _ => TRANSMIT,
    }
}
