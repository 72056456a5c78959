//! Packets that a driver of a network card sends (section 5.1.9.2), and its configuration space.

use ringwright_driver::Transport;
use ringwright_memory::Width;
use ringwright_spec::Features;
use ringwright_spec::feature::VERSION_1;
use ringwright_spec::network::{DEVICE, features};

use crate::driver::{Event, Hand, Mutant, Past, Rule, Slip, Told, Watch};

/// What the mutants of network cards have in common.
const ALONE: Mutant = Mutant {
    driver: "network",
    ..Mutant::ALONE
};

/// Values of `gso_type`, without its flags.
const TCPV4: u8 = 1;
const UDP: u8 = 3;
const TCPV6: u8 = 4;
const UDP_L4: u8 = 5;
/// Flags of `flags`.
const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
const RSC_INFO: u8 = 4;

/// Bytes of an Ethernet header, with a VLAN tag.
const ETHERNET: u64 = 18;
/// The MTU of the model.
const MTU: u64 = 1500;

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
        &[Mutant {
            name: "the status of a link is written",
            slip: Slip {
                notify: Some(|hand, queue, data| {
                    hand.device.write_config(6, Width::Two, &[0, 0])?;
                    hand.device.notify(queue, data)
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "net.mtu",
        &["drv:net:device-configuration-layout:08"],
        "the driver sends a packet, and VIRTIO_NET_F_MTU is negotiated",
        "It is longer than mtu and the Ethernet header, and is not to be segmented.",
        |watch, past, event| {
            if let Some(packet) = sent(past, event)
                && past.has(features::MTU)
                && packet.gso_type & 0x7f == 0
            {
                let length = packet.length.saturating_sub(12);
                watch.expect(length <= MTU + ETHERNET, || {
                    format!("{length} bytes, mtu is {MTU}")
                });
            }
        },
        &[Mutant {
            name: "a packet longer than the MTU",
            slip: Slip {
                notify: Some(|hand, queue, data| {
                    if queue == 1 {
                        let length = hand.head(queue) + 8;
                        hand.write(length, &2000u32.to_le_bytes());
                    }
                    hand.device.notify(queue, data)
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "net.num-buffers",
        &["drv:net:packet-transmission:02"],
        "the driver sends a packet whose header has num_buffers",
        "It is not 0.",
        |watch, past, event| {
            // The header of a legacy driver ends before it (section 5.1.6.1).
            if let Some(packet) = sent(past, event)
                && past.features().intersects(VERSION_1 | features::MRG_RXBUF)
            {
                watch.expect(packet.num_buffers == 0, || format!("{packet:x?}"));
            }
        },
        &[Mutant {
            name: "num_buffers is that of a received packet",
            slip: Slip {
                notify: Some(|hand, queue, data| header(hand, queue, data, 10, 1)),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "net.flags",
        &["drv:net:packet-transmission:03"],
        "the driver sends a packet, and VIRTIO_NET_F_CSUM is not negotiated",
        "flags is not 0.",
        |watch, past, event| {
            if let Some(packet) = sent(past, event)
                && !past.has(features::CSUM)
            {
                watch.expect(packet.flags == 0, || format!("{packet:x?}"));
            }
        },
        &[Mutant {
            name: "a checksum is left to a device that computes none",
            slip: Slip {
                notify: Some(|hand, queue, data| header(hand, queue, data, 0, NEEDS_CSUM)),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "net.gso-tcpv4",
        &["drv:net:packet-transmission:05"],
        "the driver sends a packet, and VIRTIO_NET_F_HOST_TSO4 is not negotiated",
        "gso_type is VIRTIO_NET_HDR_GSO_TCPV4.",
        |watch, past, event| segmented(watch, past, event, TCPV4, features::HOST_TSO4),
        &[Mutant {
            name: "segmentation that was not negotiated: TCPV4",
            slip: Slip {
                notify: Some(|hand, queue, data| header(hand, queue, data, 1, TCPV4)),
                ..Slip::NONE
            },
            also: &["net.gso-none"],
            ..ALONE
        }],
    ),
    Rule::new(
        "net.gso-tcpv6",
        &["drv:net:packet-transmission:06"],
        "the driver sends a packet, and VIRTIO_NET_F_HOST_TSO6 is not negotiated",
        "gso_type is VIRTIO_NET_HDR_GSO_TCPV6.",
        |watch, past, event| segmented(watch, past, event, TCPV6, features::HOST_TSO6),
        &[Mutant {
            name: "segmentation that was not negotiated: TCPV6",
            slip: Slip {
                notify: Some(|hand, queue, data| header(hand, queue, data, 1, TCPV6)),
                ..Slip::NONE
            },
            also: &["net.gso-none"],
            ..ALONE
        }],
    ),
    Rule::new(
        "net.gso-udp",
        &["drv:net:packet-transmission:07"],
        "the driver sends a packet, and VIRTIO_NET_F_HOST_UFO is not negotiated",
        "gso_type is VIRTIO_NET_HDR_GSO_UDP.",
        |watch, past, event| segmented(watch, past, event, UDP, features::HOST_UFO),
        &[Mutant {
            name: "segmentation that was not negotiated: UDP",
            slip: Slip {
                notify: Some(|hand, queue, data| header(hand, queue, data, 1, UDP)),
                ..Slip::NONE
            },
            also: &["net.gso-none"],
            ..ALONE
        }],
    ),
    Rule::new(
        "net.gso-udp-l4",
        &["drv:net:packet-transmission:08"],
        "the driver sends a packet, and VIRTIO_NET_F_HOST_USO is not negotiated",
        "gso_type is VIRTIO_NET_HDR_GSO_UDP_L4.",
        |watch, past, event| segmented(watch, past, event, UDP_L4, features::HOST_USO),
        &[Mutant {
            name: "segmentation that was not negotiated: UDP_L4",
            slip: Slip {
                notify: Some(|hand, queue, data| header(hand, queue, data, 1, UDP_L4)),
                ..Slip::NONE
            },
            also: &["net.gso-none"],
            ..ALONE
        }],
    ),
    Rule::new(
        "net.gso-none",
        &["drv:net:packet-transmission:21"],
        "the driver sends a packet, and no segmentation is negotiated",
        "gso_type is not VIRTIO_NET_HDR_GSO_NONE.",
        |watch, past, event| {
            let any = features::HOST_TSO4 | features::HOST_TSO6 | features::HOST_USO | features::HOST_UFO;
            if let Some(packet) = sent(past, event)
                && !past.features().intersects(any)
            {
                watch.expect(packet.gso_type == 0, || format!("{packet:x?}"));
            }
        },
        &[Mutant {
            name: "a kind of segmentation that there is not",
            slip: Slip {
                notify: Some(|hand, queue, data| header(hand, queue, data, 1, 2)),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "net.received-flags",
        &["drv:net:packet-transmission:33"],
        "the driver sends a packet",
        "A flag is set that is for received packets.",
        |watch, past, event| {
            if let Some(packet) = sent(past, event) {
                watch.expect(packet.flags & (DATA_VALID | RSC_INFO) == 0, || {
                    format!("{packet:x?}")
                });
            }
        },
        &[Mutant {
            name: "a packet is sent as one whose checksum is valid",
            slip: Slip {
                notify: Some(|hand, queue, data| header(hand, queue, data, 0, DATA_VALID)),
                ..Slip::NONE
            },
            also: &["net.flags"],
            ..ALONE
        }],
    ),
];

/// A packet that is sent: its header.
#[derive(Debug)]
struct Packet {
    flags: u8,
    gso_type: u8,
    num_buffers: u16,
    /// Bytes of header and packet.
    length: u64,
}

/// The packet that becomes available in the first pair's transmitq.
fn sent(past: &Past, event: &Event) -> Option<Packet> {
    let Event::Available(1, chain) = event else {
        return None;
    };
    if past.device.id != DEVICE.id || chain.astray.is_some() {
        return None;
    }
    let header = chain.sent.0.first_chunk::<12>()?;
    Some(Packet {
        flags: header[0],
        gso_type: header[1],
        num_buffers: u16::from_le_bytes([header[10], header[11]]),
        length: chain.length(false),
    })
}

/// `gso_type` is not `kind` without `needs`.
fn segmented(watch: &mut Watch, past: &Past, event: &Event, kind: u8, needs: Features) {
    if let Some(packet) = sent(past, event)
        && !past.has(needs)
    {
        watch.expect(packet.gso_type & 0x1f != kind, || format!("{packet:x?}"));
    }
}

/// Notifies the device, and a byte of the header of the last packet is another one.
fn header(hand: &mut Hand, queue: u16, data: u32, offset: u64, byte: u8) -> Told {
    if queue == 1 {
        let packet = hand.read_address(hand.head(queue));
        hand.write(packet + offset, &[byte]);
    }
    hand.device.notify(queue, data)
}
