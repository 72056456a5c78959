//! What a driver has a network card receive, and that it tells the network where the card is (section 5.1.9.5).

use std::mem::offset_of;

use ringwright_spec::network::config::Status;
use ringwright_spec::network::control::{Announce, Class, Mac};
use ringwright_spec::network::{Config, DEVICE, features};

use super::ALONE;
use super::command::{command, replace};
use crate::driver::{Event, Mutant, Rule};

/// What the mutants have in common.
const COMMANDS: Mutant = Mutant {
    scenario: "commands",
    ..ALONE
};

pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "net.mac-table",
        &["drv:net:setting-mac-address-filtering:03"],
        "the driver sends VIRTIO_NET_CTRL_MAC_TABLE_SET",
        "There are not two tables, of single addresses and of multicast ones.",
        |watch, past, event| {
            if let Some(command) = command(past, event)
                && command.is(Class::MAC, Mac::TABLE_SET.0)
            {
                watch.expect(command.has_tables(), || format!("{command:x?}"));
            }
        },
        &[
            COMMANDS.notifying("a table that ends too early", |hand, queue, data| {
                replace(hand, queue, data, (Class::MAC, Mac::TABLE_SET.0), &[(2, 99)])
            }),
            COMMANDS.notifying(
                "a multicast address among the single ones",
                |hand, queue, data| replace(hand, queue, data, (Class::MAC, Mac::TABLE_SET.0), &[(6, 1)]),
            ),
        ],
    ),
    Rule::new(
        "net.announce",
        &["drv:net:gratuitous-packet-sending:02"],
        "the driver has seen VIRTIO_NET_S_ANNOUNCE",
        "It does not send VIRTIO_NET_CTRL_ANNOUNCE_ACK.",
        |watch, past, event| match event {
            Event::ConfigRead(place)
                if past.device.id == DEVICE.id
                    && past.has(features::GUEST_ANNOUNCE)
                    && place.touches(offset_of!(Config, status), size_of::<Status>())
                    && watch.note == 0 =>
            {
                watch.note = 1;
            }
            Event::Ends(Ok(())) if watch.note == 1 => watch.broken("the driver has ended"),
            _ => {
                if let Some(command) = command(past, event)
                    && command.is(Class::ANNOUNCE, Announce::ACK.0)
                {
                    watch.note = 2;
                    watch.seen();
                }
            }
        },
        &[
            COMMANDS.notifying("something else is acknowledged", |hand, queue, data| {
                replace(hand, queue, data, (Class::ANNOUNCE, Announce::ACK.0), &[(1, 9)])
            }),
        ],
    ),
];
