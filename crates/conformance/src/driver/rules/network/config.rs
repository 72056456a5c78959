//! The configuration space of a network card, and what follows from it (section 5.1.4).

use ringwright_driver::Transport;
use ringwright_memory::Width;
use ringwright_spec::Features;
use ringwright_spec::network::control::{Class, Mac};
use ringwright_spec::network::{DEVICE, Hdr, features};

use super::command::command;
use super::{ALONE, ETHERNET, header, is_receiveq, sent, shorten};
use crate::driver::strict::{MAC, MTU};
use crate::driver::{Event, Mutant, Past, Rule, Slip, Watch};

pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "net.config-read-only",
        &["drv:net:device-configuration-layout:01"],
        "the driver sends a packet",
        "It has written to the configuration space.",
        |watch, past, event| match event {
            Event::ConfigWritten(place) if past.device.id == DEVICE.id => watch.broken(format!("{place:?}")),
            _ if sent(past, event).is_some() => watch.seen(),
            _ => {}
        },
        &[
            ALONE.notifying("the status of a link is written", |hand, queue, data| {
                hand.device.write_config(6, Width::Two, &[0, 0])?;
                hand.device.notify(queue, data)
            }),
        ],
    ),
    Rule::new(
        "net.mtu",
        &["drv:net:device-configuration-layout:08"],
        "the driver sends a packet, and VIRTIO_NET_F_MTU is negotiated",
        "It is longer than mtu and the Ethernet header, and is not to be segmented.",
        |watch, past, event| {
            if let Some(packet) = sent(past, event)
                && past.has(features::MTU)
                && packet.kind() == 0
            {
                let length = packet.length;
                watch.expect(length <= u64::from(MTU) + ETHERNET, || {
                    format!("{length} bytes, mtu is {MTU}")
                });
            }
        },
        &[
            ALONE.notifying("a packet longer than the MTU", |hand, queue, data| {
                if queue == 1 {
                    let length = hand.head(queue) + 8;
                    hand.write(length, &2000u32.to_le_bytes());
                }
                hand.device.notify(queue, data)
            }),
        ],
    ),
    Rule::new(
        "net.mac-feature",
        &["drv:net:device-configuration-layout:02"],
        "VIRTIO_NET_F_MAC is offered",
        "It is not accepted.",
        |watch, past, event| accepts(watch, past, event, features::MAC),
        &[Mutant {
            name: "VIRTIO_NET_F_MAC is left",
            slip: Slip {
                accept: Some(|hand, accepted| hand.device.set_driver_features(accepted - features::MAC)),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "net.mtu-feature",
        &["drv:net:device-configuration-layout:06"],
        "VIRTIO_NET_F_MTU is offered",
        "It is not accepted.",
        |watch, past, event| accepts(watch, past, event, features::MTU),
        &[Mutant {
            name: "VIRTIO_NET_F_MTU is left",
            slip: Slip {
                accept: Some(|hand, accepted| hand.device.set_driver_features(accepted - features::MTU)),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "net.mac",
        &["drv:net:device-configuration-layout:03"],
        "the driver sends packets, and VIRTIO_NET_F_MAC is negotiated",
        "None of them comes from mac.",
        |watch, past, event| match event {
            Event::Ends(_) if watch.note & (SENT | OTHER) == SENT => {
                watch.expect(watch.note & OWN != 0, || format!("mac is {MAC:x?}"));
            }
            _ => {
                if command(past, event).is_some_and(|command| command.is(Class::MAC, Mac::ADDR_SET.0)) {
                    watch.note |= OTHER;
                }
                if let Some(packet) = sent(past, event)
                    && past.has(features::MAC)
                {
                    watch.note |= SENT;
                    watch.note |= OWN * u64::from(packet.frame.get(6..12) == Some(&MAC));
                }
            }
        },
        &[ALONE.notifying("a MAC address of its own", |hand, queue, data| {
            header(hand, queue, data, SOURCE, MAC[0] + 4)
        })],
    ),
    Rule::new(
        "net.local-mac",
        &["drv:net:device-configuration-layout:04"],
        "the driver sends a packet, and VIRTIO_NET_F_MAC is not negotiated",
        "It does not come from a locally administered address.",
        |watch, past, event| {
            if let Some(packet) = sent(past, event)
                && !past.has(features::MAC)
                && let Some(first) = packet.frame.get(6)
            {
                watch.expect(first & 2 != 0, || format!("{packet:x?}"));
            }
        },
        &[Mutant {
            name: "a MAC address of somebody",
            scenario: "bare",
            slip: Slip {
                notify: Some(|hand, queue, data| header(hand, queue, data, SOURCE, 0)),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "net.mtu-buffers",
        &["drv:net:device-configuration-layout:07"],
        "the driver has receive buffers, and VIRTIO_NET_F_MTU is negotiated",
        "They do not hold a packet of mtu bytes.",
        |watch, past, event| match event {
            Event::StatusWritten(_) => watch.note = 0,
            Event::Available(index, chain) if is_receiveq(past, *index) => {
                watch.note = match past.has(features::MRG_RXBUF) {
                    true => watch.note + chain.length(true),
                    false => watch.note.max(chain.length(true)),
                };
            }
            Event::Waits if watch.note != 0 && past.has(features::MTU) => {
                let needed = Hdr::size(past.features()) as u64 + 14 + u64::from(MTU);
                let room = watch.note;
                watch.expect(room >= needed, || {
                    format!("there is room for {room} bytes of {needed}")
                });
            }
            _ => {}
        },
        &[Mutant {
            name: "receive buffers of 1000 bytes",
            scenario: "late",
            slip: Slip {
                notify: Some(|hand, queue, data| shorten(hand, queue, data, 1000)),
                ..Slip::NONE
            },
            also: &["net.receive-buffers"],
            ..ALONE
        }],
    ),
    Rule::new(
        "net.hash-report-alone",
        &["drv:net:device-configuration-layout:12"],
        "VIRTIO_NET_F_HASH_REPORT is offered, and VIRTIO_NET_F_CTRL_VQ is not accepted",
        "VIRTIO_NET_F_HASH_REPORT is accepted.",
        |watch, past, event| alone(watch, past, event, features::HASH_REPORT),
        &[Mutant {
            name: "reports of hashes that cannot be configured",
            scenario: "incomplete",
            slip: Slip {
                accept: Some(|hand, accepted| {
                    hand.device.set_driver_features(accepted | features::HASH_REPORT)
                }),
                ..Slip::NONE
            },
            // Its header has become longer.
            also: &["net.mac", "net.header-size"],
            ..ALONE
        }],
    ),
    Rule::new(
        "net.rx-extra-alone",
        &["drv:net:device-configuration-layout:13"],
        "VIRTIO_NET_F_CTRL_RX_EXTRA is offered, and VIRTIO_NET_F_CTRL_VQ is not accepted",
        "VIRTIO_NET_F_CTRL_RX_EXTRA is accepted.",
        |watch, past, event| alone(watch, past, event, features::CTRL_RX_EXTRA),
        &[Mutant {
            name: "modes of reception that cannot be set",
            scenario: "incomplete",
            slip: Slip {
                accept: Some(|hand, accepted| {
                    hand.device
                        .set_driver_features(accepted | features::CTRL_RX_EXTRA)
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
];

/// Notes: the driver has sent a packet; one comes from its own address; it may have set another one.
const SENT: u64 = 1;
const OWN: u64 = 2;
const OTHER: u64 = 4;

/// Where the source address of a packet begins, its header included.
const SOURCE: u64 = 12 + 6;

/// `feature` is accepted if it is offered.
fn accepts(watch: &mut Watch, past: &Past, event: &Event, feature: Features) {
    if let Event::FeaturesAccepted(accepted) = event
        && past.device.id == DEVICE.id
        && past.offered.contains(feature)
    {
        watch.expect(accepted.contains(feature), || {
            format!("{accepted:?} are accepted")
        });
    }
}

/// `feature` is not accepted without the control virtqueue.
fn alone(watch: &mut Watch, past: &Past, event: &Event, feature: Features) {
    if let Event::FeaturesAccepted(accepted) = event
        && past.device.id == DEVICE.id
        && past.offered.contains(feature)
        && !accepted.contains(features::CTRL_VQ)
    {
        watch.expect(!accepted.contains(feature), || {
            format!("{accepted:?} are accepted")
        });
    }
}
