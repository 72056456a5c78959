//! All scenarios.

use ringwright_spec::ccw::Revision;
use ringwright_spec::network::features as can;
use ringwright_spec::{Features, block, console, feature};

use super::{Act, Completes, FOREIGN, Function, Identity, Oddity, Scenario, Subchannel};
use crate::subject::Bus;

/// What is offered to cut segments in UDP tunnels.
const IN_TUNNELS: Features = can::CSUM
    .union(can::HOST_TSO4)
    .union(can::HOST_TSO6)
    .union(can::HOST_ECN)
    .union(can::HOST_USO)
    .union(can::HOST_UDP_TUNNEL_GSO);

/// All scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::PLAIN,
    Scenario {
        name: "events",
        does: "Event indices are offered.",
        offers: |features| features | feature::EVENT_IDX,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "indirect",
        does: "Indirect descriptors are offered.",
        offers: |features| features | feature::INDIRECT_DESC,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "in-order",
        does: "Buffers are used in order, late.",
        offers: |features| features | feature::IN_ORDER,
        completes: Completes::Late,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "in-order-indirect",
        does: "Buffers are used in order, and there are indirect descriptors.",
        offers: |features| features | feature::IN_ORDER | feature::INDIRECT_DESC,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "tiny",
        does: "The virtqueues have four descriptors.",
        queue_size: 4,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "odd-features",
        does: "Features are offered that are reserved, not described, or for other transports.",
        offers: |features| features | FOREIGN,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "incomplete",
        does: "Features of a network card are offered without those that they require.",
        offers: |features| {
            let without = features - can::CTRL_VQ;
            without | can::GUEST_TSO4 | can::CTRL_RX | can::CTRL_RX_EXTRA | can::HASH_REPORT
        },
        ..Scenario::NETWORK
    },
    Scenario {
        name: "bare",
        does: "Nothing of a network card is offered that is not demanded.",
        offers: |_| feature::VERSION_1,
        ..Scenario::NETWORK
    },
    Scenario {
        name: "commands",
        does: "A network card takes commands, and wants to be announced.",
        offers: |features| {
            let modes = can::CTRL_RX | can::CTRL_RX_EXTRA | can::CTRL_VLAN | can::CTRL_MAC_ADDR;
            features | can::CTRL_VQ | modes | can::GUEST_ANNOUNCE
        },
        ..Scenario::NETWORK
    },
    Scenario {
        name: "vlans",
        does: "A network card takes no commands but for VLANs.",
        offers: |features| features | can::CTRL_VQ | can::CTRL_VLAN,
        ..Scenario::NETWORK
    },
    Scenario {
        name: "pairs",
        does: "A network card has several pairs of virtqueues.",
        offers: |features| features | can::CTRL_VQ | can::MQ,
        ..Scenario::NETWORK
    },
    Scenario {
        name: "steering",
        does: "A network card can be told where to receive by hashes, and when to notify.",
        offers: |features| {
            let hashes = can::MQ | can::RSS | can::HASH_TUNNEL;
            features | can::CTRL_VQ | hashes | can::NOTF_COAL | can::VQ_NOTF_COAL
        },
        ..Scenario::NETWORK
    },
    Scenario {
        name: "contexts",
        does: "A network card has contexts of receive-side scaling, and reports hashes.",
        offers: |features| features | can::CTRL_VQ | can::MQ | can::RSS | can::RSS_CONTEXT | can::HASH_REPORT,
        ..Scenario::NETWORK
    },
    Scenario {
        name: "statistics",
        does: "A network card tells what it has counted.",
        offers: |features| features | can::CTRL_VQ | can::DEVICE_STATS,
        ..Scenario::NETWORK
    },
    Scenario {
        name: "offloads",
        does: "Checksums and segmentation can be left to a network card.",
        offers: |features| {
            let segments = can::HOST_TSO4 | can::HOST_TSO6 | can::HOST_ECN | can::HOST_USO;
            features | can::CSUM | segments | can::GUEST_HDRLEN
        },
        ..Scenario::NETWORK
    },
    Scenario {
        name: "tunnels",
        does: "Segmentation in UDP tunnels can be left to a network card, with the checksum of the tunnel.",
        offers: |features| features | IN_TUNNELS | can::HOST_UDP_TUNNEL_GSO_CSUM,
        ..Scenario::NETWORK
    },
    Scenario {
        name: "tunnels-unchecked",
        does: "Segmentation in UDP tunnels can be left to a network card, but for the checksum of the tunnel.",
        offers: |features| features | IN_TUNNELS,
        ..Scenario::NETWORK
    },
    Scenario {
        name: "mergeable",
        does: "A network card may use several buffers for a packet.",
        offers: |features| features | can::MRG_RXBUF,
        ..Scenario::NETWORK
    },
    Scenario {
        name: "old",
        does: "VIRTIO_F_VERSION_1 is not offered.",
        offers: |features| features - feature::VERSION_1,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "stubborn",
        does: "FEATURES_OK is refused, whatever the driver accepts.",
        act: Act::Twice,
        refuses: true,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "late",
        does: "Buffers are used late.",
        completes: Completes::Late,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "reversed",
        does: "Buffers are used in reverse order.",
        completes: Completes::Reversed,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "one-by-one",
        does: "One buffer is used at a time, in reverse order, with event indices.",
        offers: |features| features | feature::EVENT_IDX,
        completes: Completes::OneByOne,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "short",
        does: "The device writes less than there is room for, where it may.",
        short: true,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "demands-reset",
        does: "DEVICE_NEEDS_RESET is set while buffers are outstanding, and the driver comes again.",
        act: Act::Twice,
        completes: Completes::Late,
        demands_reset: 1,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "deaf",
        does: "No buffer is ever used, and the driver leaves.",
        act: Act::Leave,
        completes: Completes::Never,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "suppressing",
        does: "The device does not want to be notified, now and then.",
        suppresses: true,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "suppressing-events",
        does: "The device does not want to be notified of each buffer, with event indices.",
        offers: |features| features | feature::EVENT_IDX,
        suppresses: true,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "spurious",
        does: "There are notifications that nothing has caused.",
        spurious: true,
        completes: Completes::Late,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "restless",
        does: "The configuration changes while it is read.",
        restless: 5,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "changing",
        does: "The configuration changes while the driver works.",
        completes: Completes::Late,
        changes: true,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "slow",
        does: "A reset takes its time.",
        slow: 5,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "again",
        does: "The driver leaves and comes again.",
        act: Act::Twice,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "queue-reset",
        does: "Virtqueues can be reset, which takes its time.",
        act: Act::ResetQueue,
        offers: |features| features | feature::RING_RESET,
        slow: 3,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "suspend",
        does: "The device can be suspended, which takes its time.",
        act: Act::Suspend,
        offers: |features| features | feature::SUSPEND,
        slow: 3,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "translated",
        does: "The platform translates addresses.",
        offers: |features| features | feature::ACCESS_PLATFORM,
        translates: true,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "packed",
        does: "Packed virtqueues are offered.",
        offers: |features| features | feature::RING_PACKED,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "packed-indirect",
        does: "Packed virtqueues and indirect descriptors are offered.",
        offers: |features| features | feature::RING_PACKED | feature::INDIRECT_DESC,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "packed-events",
        does: "Packed virtqueues, and the device does not want to be notified of each buffer.",
        offers: |features| features | feature::RING_PACKED | feature::EVENT_IDX,
        suppresses: true,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "packed-late",
        does: "Packed virtqueues, whose buffers are used late.",
        offers: |features| features | feature::RING_PACKED,
        completes: Completes::Late,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "packed-reversed",
        does: "Packed virtqueues, whose buffers are used in reverse order.",
        offers: |features| features | feature::RING_PACKED,
        completes: Completes::Reversed,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "packed-one-by-one",
        does: "Packed virtqueues, of which one buffer is used at a time, in reverse order.",
        offers: |features| features | feature::RING_PACKED,
        completes: Completes::OneByOne,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "packed-deaf",
        does: "Packed virtqueues, of which no buffer is ever used.",
        act: Act::Leave,
        offers: |features| features | feature::RING_PACKED,
        completes: Completes::Never,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "packed-odd-size",
        does: "Packed virtqueues of a size that is no power of 2, and notifications with data.",
        offers: |features| features | feature::RING_PACKED | feature::NOTIFICATION_DATA,
        queue_size: 11,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "zoned",
        does: "A disk has zones, and is managed by its host.",
        offers: |features| features | block::features::ZONED,
        device: Some(block::DEVICE.id),
        ..Scenario::PLAIN
    },
    Scenario {
        name: "ports",
        does: "A console has several ports.",
        offers: |features| features | console::features::MULTIPORT,
        device: Some(console::DEVICE.id),
        ..Scenario::PLAIN
    },
    Scenario {
        name: "magic",
        does: "MagicValue is wrong.",
        identity: Identity::Magic,
        bus: Some(Bus::Mmio),
        ..Scenario::PLAIN
    },
    Scenario {
        name: "version",
        does: "Version is 3.",
        identity: Identity::Version,
        bus: Some(Bus::Mmio),
        ..Scenario::PLAIN
    },
    Scenario {
        name: "nobody",
        does: "There is no device: DeviceID is 0.",
        identity: Identity::Nobody,
        bus: Some(Bus::Mmio),
        ..Scenario::PLAIN
    },
    Scenario {
        name: "pci-transitional",
        does: "A transitional device, with its PCI Device ID.",
        function: Scenario::odd(Oddity::Transitional),
        ..Scenario::PCI
    },
    Scenario {
        name: "pci-revision",
        does: "Any revision, and any subsystem.",
        function: Scenario::odd(Oddity::Revision),
        ..Scenario::PCI
    },
    Scenario {
        name: "pci-reserved-type",
        does: "A capability has a type that is reserved.",
        function: Scenario::odd(Oddity::ReservedType),
        ..Scenario::PCI
    },
    Scenario {
        name: "pci-reserved-bar",
        does: "A capability has a BAR that is reserved.",
        function: Scenario::odd(Oddity::ReservedBar),
        ..Scenario::PCI
    },
    Scenario {
        name: "pci-long-capabilities",
        does: "Capabilities are longer than they have to be.",
        function: Scenario::odd(Oddity::LongCapabilities),
        ..Scenario::PCI
    },
    Scenario {
        name: "pci-large-structures",
        does: "Structures are larger than they have to be.",
        function: Scenario::odd(Oddity::LargeStructures),
        ..Scenario::PCI
    },
    Scenario {
        name: "pci-large-config",
        does: "The device-specific configuration is larger than the driver knows it.",
        function: Scenario::odd(Oddity::LargeConfig),
        ..Scenario::PCI
    },
    Scenario {
        name: "pci-twice",
        does: "There are two instances of the common configuration.",
        function: Scenario::odd(Oddity::Twice),
        ..Scenario::PCI
    },
    Scenario {
        name: "pci-window",
        does: "The structures are reached only through the configuration space.",
        function: Scenario::odd(Oddity::Window),
        ..Scenario::PCI
    },
    Scenario {
        name: "pci-one-vector",
        does: "There is one MSI-X vector, and notifications that nothing has caused.",
        completes: Completes::Late,
        spurious: true,
        function: Scenario::with_vectors(1),
        ..Scenario::PCI
    },
    Scenario {
        name: "pci-most-vectors",
        does: "There are 2048 MSI-X vectors.",
        function: Scenario::with_vectors(2048),
        ..Scenario::PCI
    },
    Scenario {
        name: "pci-pin",
        does: "There is no MSI-X, and one interrupt is for a change and for used buffers.",
        completes: Completes::Late,
        spurious: true,
        function: Scenario::with_vectors(0),
        ..Scenario::PCI
    },
    Scenario {
        name: "pci-refused-vectors",
        does: "Only the first MSI-X vector can be had.",
        function: Function {
            refuses_vectors: true,
            ..Function::PLAIN
        },
        ..Scenario::PCI
    },
    Scenario {
        name: "pci-notification-data",
        does: "Notifications have data.",
        offers: |features| features | feature::NOTIFICATION_DATA,
        ..Scenario::PCI
    },
    Scenario {
        name: "pci-notif-config-data",
        does: "The device says what notifications carry.",
        offers: |features| features | feature::NOTIF_CONFIG_DATA,
        ..Scenario::PCI
    },
    Scenario {
        name: "pci-notif-config-and-data",
        does: "The device says what notifications carry, and they have data.",
        offers: |features| features | feature::NOTIF_CONFIG_DATA | feature::NOTIFICATION_DATA,
        ..Scenario::PCI
    },
    Scenario {
        name: "pci-admin",
        does: "There is an administration virtqueue.",
        offers: |features| features | feature::ADMIN_VQ,
        ..Scenario::PCI
    },
    Scenario {
        name: "ccw-control-unit",
        does: "The control unit is another one, and no virtio device.",
        subchannel: Subchannel {
            control_unit: 0x3990,
            ..Subchannel::PLAIN
        },
        ..Scenario::CCW
    },
    Scenario {
        name: "ccw-revision-1",
        does: "There is revision 1, and no later one.",
        subchannel: Subchannel {
            revision: Revision::VIRTIO_1,
            ..Subchannel::PLAIN
        },
        ..Scenario::CCW
    },
    Scenario {
        name: "ccw-classic",
        does: "There are no adapter I/O interrupts.",
        completes: Completes::Late,
        subchannel: Subchannel {
            two_stage: false,
            ..Subchannel::PLAIN
        },
        ..Scenario::CCW
    },
];
