//! Hashes, where packets are received by them, and notifications that come together (section 5.1.9.5).

use ringwright_spec::network::control::{Class, HashTunnelCommand, Mq, NotfCoal};
use ringwright_spec::network::{DEVICE, features};

use super::command::{command, replace};
use super::{ALONE, pairs};
use crate::driver::strict::{HASH_TYPES, RSS_ENTRIES, TUNNEL_TYPES};
use crate::driver::{Event, Mutant, Past, Rule};

/// What the mutants have in common.
const STEERED: Mutant = Mutant {
    scenario: "steering",
    ..ALONE
};

pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "net.rss-table",
        &["drv:net:receive-side-scaling-rss:02"],
        "the driver sends VIRTIO_NET_CTRL_MQ_RSS_CONFIG",
        "indirection_table has an identifier that is of no receiveq that is enabled.",
        |watch, past, event| {
            if let Some(scaling) = scaling(past, event) {
                watch.expect(
                    scaling
                        .table
                        .iter()
                        .all(|id| is_enabled_receiveq(past, id & 0x7fff)),
                    || format!("{scaling:x?}"),
                );
            }
        },
        &[STEERED.notifying(
            "packets are received by a pair that there is not",
            |hand, queue, data| replace(hand, queue, data, (Class::MQ, Mq::RSS_CONFIG.0), &[(10, 9)]),
        )],
    ),
    Rule::new(
        "net.rss-mask",
        &["drv:net:receive-side-scaling-rss:03"],
        "the driver sends VIRTIO_NET_CTRL_MQ_RSS_CONFIG",
        "indirection_table_mask and 1 is no power of 2.",
        |watch, past, event| {
            if let Some(scaling) = scaling(past, event) {
                watch.expect((u32::from(scaling.mask) + 1).is_power_of_two(), || {
                    format!("{scaling:x?}")
                });
            }
        },
        &[STEERED.notifying("three entries", |hand, queue, data| {
            replace(hand, queue, data, (Class::MQ, Mq::RSS_CONFIG.0), &[(6, 2)])
        })],
    ),
    Rule::new(
        "net.rss-entries",
        &["drv:net:receive-side-scaling-rss:04"],
        "the driver sends VIRTIO_NET_CTRL_MQ_RSS_CONFIG",
        "indirection_table_mask is not less than rss_max_indirection_table_length.",
        |watch, past, event| {
            if let Some(scaling) = scaling(past, event) {
                watch.expect(scaling.mask < RSS_ENTRIES, || format!("{scaling:x?}"));
            }
        },
        &[STEERED
            .notifying("more entries than there may be", |hand, queue, data| {
                replace(hand, queue, data, (Class::MQ, Mq::RSS_CONFIG.0), &[(6, 0x7f)])
            })
            .also(&["net.rss-table"])],
    ),
    Rule::new(
        "net.rss-types",
        &["drv:net:receive-side-scaling-rss:05"],
        "the driver sends VIRTIO_NET_CTRL_MQ_RSS_CONFIG",
        "hash_types has a type that is not supported.",
        |watch, past, event| {
            if let Some(scaling) = scaling(past, event) {
                watch.expect(scaling.types & !HASH_TYPES.0 == 0, || format!("{scaling:x?}"));
            }
        },
        &[
            STEERED.notifying("a type of hash that there is not", |hand, queue, data| {
                replace(hand, queue, data, (Class::MQ, Mq::RSS_CONFIG.0), &[(5, 0x80)])
            }),
        ],
    ),
    Rule::new(
        "net.hash-tunnel-types",
        &["drv:net:inner-header-hash:02"],
        "the driver sends VIRTIO_NET_CTRL_HASH_TUNNEL_SET, and VIRTIO_NET_F_HASH_TUNNEL is negotiated",
        "enabled_tunnel_types has a type that is not supported.",
        |watch, past, event| {
            if let Some(command) = command(past, event)
                && command.is(Class::HASH_TUNNEL, HashTunnelCommand::SET.0)
                && past.has(features::HASH_TUNNEL)
            {
                let types = command.data.first_chunk().map(|types| u32::from_le_bytes(*types));
                let supported = types.is_some_and(|types| types & !TUNNEL_TYPES.0 == 0);
                watch.expect(supported, || format!("{command:x?}"));
            }
        },
        &[STEERED.notifying(
            "hashes inside tunnels that the device does not know",
            |hand, queue, data| {
                replace(
                    hand,
                    queue,
                    data,
                    (Class::HASH_TUNNEL, HashTunnelCommand::SET.0),
                    &[(3, 1)],
                )
            },
        )],
    ),
    Rule::new(
        "net.coalescing-index",
        &["drv:net:notifications-coalescing:01"],
        "the driver sends VIRTIO_NET_CTRL_NOTF_COAL_VQ_SET or _VQ_GET",
        "vq_index is that of no receiveq or transmitq that is enabled.",
        |watch, past, event| {
            if let Some(command) = command(past, event)
                && [NotfCoal::VQ_SET, NotfCoal::VQ_GET]
                    .iter()
                    .any(|each| command.is(Class::NOTF_COAL, each.0))
            {
                let index = command.data.first_chunk().map(|index| u16::from_le_bytes(*index));
                let exists = index.is_some_and(|index| is_enabled(past, index));
                watch.expect(exists, || format!("{command:x?}"));
            }
        },
        &[STEERED.notifying(
            "the notifications of the control virtqueue come together",
            |hand, queue, data| {
                replace(
                    hand,
                    queue,
                    data,
                    (Class::NOTF_COAL, NotfCoal::VQ_SET.0),
                    &[(2, 4)],
                )
            },
        )],
    ),
];

/// How a driver spreads packets over virtqueues.
#[derive(Debug)]
struct Scaling {
    types: u32,
    mask: u16,
    /// The first entries.
    table: Vec<u16>,
}

fn scaling(past: &Past, event: &Event) -> Option<Scaling> {
    let command = command(past, event).filter(|command| command.is(Class::MQ, Mq::RSS_CONFIG.0))?;
    let (head, table) = command.data.split_first_chunk::<8>()?;
    let mask = u16::from_le_bytes([head[4], head[5]]);
    let entries = table.chunks_exact(2).take(usize::from(mask) + 1);
    Some(Scaling {
        types: u32::from_le_bytes([head[0], head[1], head[2], head[3]]),
        mask,
        table: entries
            .map(|entry| u16::from_le_bytes([entry[0], entry[1]]))
            .collect(),
    })
}

/// Whether this is the identifier of a receiveq that is enabled: bits 1 to 16 of its index.
fn is_enabled_receiveq(past: &Past, id: u16) -> bool {
    id.checked_mul(2).is_some_and(|index| is_enabled(past, index))
}

/// Whether this is a receiveq or transmitq that is enabled.
fn is_enabled(past: &Past, index: u16) -> bool {
    past.device.id == DEVICE.id && index < 2 * pairs(past) && past.queues.contains_key(&index)
}
