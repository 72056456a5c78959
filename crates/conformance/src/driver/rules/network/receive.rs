//! Buffers that a driver sets up for packets (section 5.1.9.3).

use ringwright_driver::Transport;
use ringwright_spec::Features;
use ringwright_spec::network::{Hdr, features};

use super::{ALONE, is_receiveq, sent, shorten};
use crate::driver::strict::MAC;
use crate::driver::{Event, Mutant, Rule, Slip};

pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "net.receive-buffers",
        &["drv:net:setting-up-receive-buffers:02"],
        "the driver makes a receive buffer available, and neither VIRTIO_NET_F_MRG_RXBUF nor segmentation is negotiated",
        "It has less than 1526 bytes, or 1534 with VIRTIO_NET_F_HASH_REPORT.",
        |watch, past, event| {
            if let Event::Available(index, chain) = event
                && is_receiveq(past, *index)
                && !past.features().intersects(features::MRG_RXBUF | LARGE)
            {
                let least = 1526 + 8 * u64::from(past.has(features::HASH_REPORT));
                let length = chain.length(true);
                watch.expect(length >= least, || format!("{length} bytes"));
            }
        },
        &[ALONE
            .notifying("receive buffers of 1520 bytes", |hand, queue, data| {
                shorten(hand, queue, data, 1520)
            })
            .also(&["net.mtu-buffers"])],
    ),
    Rule::new(
        "net.mergeable-buffers",
        &["drv:net:setting-up-receive-buffers:03"],
        "the driver makes a receive buffer available, and VIRTIO_NET_F_MRG_RXBUF is negotiated",
        "It has no room for struct virtio_net_hdr.",
        |watch, past, event| {
            if let Event::Available(index, chain) = event
                && is_receiveq(past, *index)
                && past.has(features::MRG_RXBUF)
            {
                let (least, length) = (Hdr::size(past.features()) as u64, chain.length(true));
                watch.expect(length >= least, || format!("{length} bytes of {least}"));
            }
        },
        &[Mutant {
            name: "receive buffers of 8 bytes",
            scenario: "mergeable",
            slip: Slip {
                notify: Some(|hand, queue, data| shorten(hand, queue, data, 8)),
                ..Slip::NONE
            },
            also: &["net.mtu-buffers"],
            ..ALONE
        }],
    ),
    Rule::new(
        "net.header-size",
        &["drv:net:setting-up-receive-buffers:04"],
        "the driver sends a packet that comes from mac",
        "It follows a header of another size than the features give.",
        |watch, past, event| {
            if sent(past, event).is_some()
                && past.has(features::MAC)
                && let Event::Available(_, chain) = event
            {
                let comes = |size: usize| chain.sent.0.get(size + 6..size + 12) == Some(&MAC);
                let right = Hdr::size(past.features());
                match SIZES.into_iter().find(|size| comes(*size)) {
                    _ if comes(right) => watch.seen(),
                    Some(wrong) => watch.broken(format!("{wrong} bytes, not {right}: {chain:x?}")),
                    None => {}
                }
            }
        },
        &[ALONE
            .notifying("the header of a legacy interface", |hand, queue, data| {
                if queue == 1 {
                    let head = hand.head(queue);
                    let address = hand.read_address(head) + 2;
                    hand.write(head, &address.to_le_bytes());
                }
                hand.device.notify(queue, data)
            })
            .also(&["net.mac", "net.num-buffers"])],
    ),
];

/// Features with which a packet may be longer than the MTU.
const LARGE: Features = Features(
    features::GUEST_TSO4.0
        | features::GUEST_TSO6.0
        | features::GUEST_UFO.0
        | features::GUEST_USO4.0
        | features::GUEST_USO6.0,
);

/// Sizes that `struct virtio_net_hdr` can have.
const SIZES: [usize; 5] = [10, 12, 20, 24, 32];
