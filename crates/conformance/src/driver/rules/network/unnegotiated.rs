//! Commands that a driver must not send without their features (section 5.1.9.5).

use ringwright_spec::Features;
use ringwright_spec::network::control::{Class, Mac, Mq, NotfCoal, Rx};
use ringwright_spec::network::features;

use super::ALONE;
use super::command::{Command, change, command, replace};
use crate::driver::{Event, Mutant, Past, Rule, Slip, Watch};

/// What the mutants have in common: there are commands for VLANs only.
const FORBIDDEN: Mutant = Mutant {
    scenario: "vlans",
    ..ALONE
};

pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "net.rx",
        &["drv:net:packet-receive-filtering:01"],
        "the driver sends a command, and VIRTIO_NET_F_CTRL_RX is not negotiated",
        "It is VIRTIO_NET_CTRL_RX_PROMISC or VIRTIO_NET_CTRL_RX_ALLMULTI.",
        |watch, past, event| {
            let not = |command: &Command| matches!(command.rx(), Some(Rx::PROMISC | Rx::ALLMULTI));
            without(watch, past, event, features::CTRL_RX, not);
        },
        &[FORBIDDEN.notifying(
            "promiscuous mode, which was not negotiated",
            |hand, queue, data| change(hand, queue, data, Class::RX, Rx::PROMISC.0),
        )],
    ),
    Rule::new(
        "net.rx-extra",
        &["drv:net:packet-receive-filtering:02"],
        "the driver sends a command, and VIRTIO_NET_F_CTRL_RX_EXTRA is not negotiated",
        "It is VIRTIO_NET_CTRL_RX_ALLUNI, _NOMULTI, _NOUNI or _NOBCAST.",
        |watch, past, event| {
            let not = |command: &Command| {
                matches!(
                    command.rx(),
                    Some(Rx::ALLUNI | Rx::NOMULTI | Rx::NOUNI | Rx::NOBCAST)
                )
            };
            without(watch, past, event, features::CTRL_RX_EXTRA, not);
        },
        &[
            FORBIDDEN.notifying("no broadcasts, which was not negotiated", |hand, queue, data| {
                change(hand, queue, data, Class::RX, Rx::NOBCAST.0)
            }),
        ],
    ),
    Rule::new(
        "net.mac-commands",
        &["drv:net:setting-mac-address-filtering:01"],
        "the driver sends a command, and VIRTIO_NET_F_CTRL_RX is not negotiated",
        "Its class is VIRTIO_NET_CTRL_MAC.",
        |watch, past, event| {
            let not = |command: &Command| command.is_of(Class::MAC);
            without(watch, past, event, features::CTRL_RX, not);
        },
        &[FORBIDDEN.notifying(
            "an address is set, which was not negotiated",
            |hand, queue, data| change(hand, queue, data, Class::MAC, Mac::ADDR_SET.0),
        )],
    ),
    Rule::new(
        "net.rss",
        &["drv:net:receive-side-scaling-rss:01"],
        "the driver sends a command, and VIRTIO_NET_F_RSS is not negotiated",
        "It is VIRTIO_NET_CTRL_MQ_RSS_CONFIG.",
        |watch, past, event| {
            let not = |command: &Command| command.is(Class::MQ, Mq::RSS_CONFIG.0);
            without(watch, past, event, features::RSS, not);
        },
        &[FORBIDDEN.notifying(
            "receive-side scaling, which was not negotiated",
            |hand, queue, data| change(hand, queue, data, Class::MQ, Mq::RSS_CONFIG.0),
        )],
    ),
    Rule::new(
        "net.rss-context",
        &["drv:net:rss-context:01"],
        "the driver sends a command, and VIRTIO_NET_F_RSS_CONTEXT is not negotiated",
        "Its class is VIRTNET_RSS_CTX_CTRL.",
        |watch, past, event| {
            let not = |command: &Command| command.is_of(Class::RSS_CTX);
            without(watch, past, event, features::RSS_CONTEXT, not);
        },
        &[FORBIDDEN.notifying(
            "a context of receive-side scaling, which was not negotiated",
            |hand, queue, data| change(hand, queue, data, Class::RSS_CTX, 1),
        )],
    ),
    Rule::new(
        "net.hash-tunnel",
        &["drv:net:inner-header-hash:01"],
        "the driver sends a command, and VIRTIO_NET_F_HASH_TUNNEL is not negotiated",
        "It is VIRTIO_NET_CTRL_HASH_TUNNEL_SET.",
        |watch, past, event| {
            let not = |command: &Command| command.is(Class::HASH_TUNNEL, 0);
            without(watch, past, event, features::HASH_TUNNEL, not);
        },
        &[FORBIDDEN.notifying(
            "hashes of inner headers, which were not negotiated",
            |hand, queue, data| change(hand, queue, data, Class::HASH_TUNNEL, 0),
        )],
    ),
    Rule::new(
        "net.coalescing",
        &["drv:net:notifications-coalescing:02"],
        "the driver sends a command, and VIRTIO_NET_F_NOTF_COAL is not negotiated",
        "It is VIRTIO_NET_CTRL_NOTF_COAL_TX_SET or _RX_SET.",
        |watch, past, event| {
            let not = |command: &Command| {
                command.is(Class::NOTF_COAL, NotfCoal::TX_SET.0)
                    || command.is(Class::NOTF_COAL, NotfCoal::RX_SET.0)
            };
            without(watch, past, event, features::NOTF_COAL, not);
        },
        &[FORBIDDEN.notifying(
            "coalesced notifications, which were not negotiated",
            |hand, queue, data| change(hand, queue, data, Class::NOTF_COAL, NotfCoal::RX_SET.0),
        )],
    ),
    Rule::new(
        "net.coalescing-virtqueue",
        &["drv:net:notifications-coalescing:03"],
        "the driver sends a command, and VIRTIO_NET_F_VQ_NOTF_COAL is not negotiated",
        "It is VIRTIO_NET_CTRL_NOTF_COAL_VQ_SET or _VQ_GET.",
        |watch, past, event| {
            let not = |command: &Command| {
                command.is(Class::NOTF_COAL, NotfCoal::VQ_SET.0)
                    || command.is(Class::NOTF_COAL, NotfCoal::VQ_GET.0)
            };
            without(watch, past, event, features::VQ_NOTF_COAL, not);
        },
        &[FORBIDDEN.notifying(
            "coalesced notifications of a virtqueue, which were not negotiated",
            |hand, queue, data| change(hand, queue, data, Class::NOTF_COAL, NotfCoal::VQ_SET.0),
        )],
    ),
    Rule::new(
        "net.offloads",
        &["drv:net:setting-offloads-state:01"],
        "the driver sends a command",
        "It enables an offload whose feature is not negotiated.",
        |watch, past, event| {
            if let Some(command) = command(past, event) {
                // Offloads have the numbers of their features.
                let enabled = command.offloads().unwrap_or_default();
                let negotiated = past.features().0 as u64;
                watch.expect(enabled & !negotiated == 0, || format!("{command:x?}"));
            }
        },
        &[Mutant {
            name: "checksums are enabled, which were not negotiated",
            scenario: "commands",
            slip: Slip {
                notify: Some(|hand, queue, data| {
                    replace(
                        hand,
                        queue,
                        data,
                        (Class::MAC, Mac::TABLE_SET.0),
                        &[(0, 5), (1, 0), (2, 2)],
                    )
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
];

/// Without `feature` a driver sends no command that is `forbidden`.
fn without(
    watch: &mut Watch,
    past: &Past,
    event: &Event,
    feature: Features,
    forbidden: fn(&Command) -> bool,
) {
    if let Some(command) = command(past, event)
        && !past.has(feature)
    {
        watch.expect(!forbidden(&command), || format!("{command:x?}"));
    }
}
