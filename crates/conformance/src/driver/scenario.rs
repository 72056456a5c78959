//! What a strict device does on purpose that is unusual, or wrong.

use ringwright_spec::ccw::{CU_TYPE, Revision};
use ringwright_spec::network::features as can;
use ringwright_spec::{Features, block, feature, network};

use crate::subject::Bus;

/// A life that a device gives its driver.
#[derive(Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What is unusual, in a few words.
    pub does: &'static str,
    /// What the driver is to do.
    pub act: Act,
    /// What is offered, of what the model of the device type can do.
    pub offers: fn(Features) -> Features,
    /// Greatest size of the virtqueues.
    pub queue_size: u16,
    /// FEATURES_OK is never set.
    pub refuses: bool,
    /// When buffers are used.
    pub completes: Completes,
    /// The device asks not to be notified, every other time.
    pub suppresses: bool,
    /// There are notifications without a cause.
    pub spurious: bool,
    /// The configuration changes under that many reads.
    pub restless: u32,
    /// The configuration changes while the driver works.
    pub changes: bool,
    /// Buffers are filled in part only, where that is the device's choice.
    pub short: bool,
    /// The device demands a reset when it has so many buffers that it has not used, if the number is not 0; in its first
    /// life only.
    pub demands_reset: usize,
    /// A reset, of the device or a virtqueue, a suspension and a resumption are seen to be complete at the question of this
    /// number.
    pub slow: u32,
    /// Memory is reached at other addresses than its own.
    pub translates: bool,
    /// What the registers say that it is.
    pub identity: Identity,
    /// What is unusual about the function that it is on a PCI bus.
    pub function: Function,
    /// What is unusual about its subchannel, over channel I/O.
    pub subchannel: Subchannel,
    /// The bus that it is for; any if there is none.
    pub bus: Option<Bus>,
    /// The device type that it is for, by its id; any if there is none.
    pub device: Option<u32>,
}

/// What a device is on a PCI bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// What is odd about it.
    pub oddity: Oddity,
    /// How many MSI-X vectors it has; without any the driver uses the pin.
    pub vectors: u16,
    /// It maps events to the first vector only.
    pub refuses_vectors: bool,
}

/// What a device is on a channel subsystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subchannel {
    /// The type of its control unit.
    pub control_unit: u16,
    /// The highest revision there is.
    pub revision: Revision,
    /// It can notify by adapter I/O interrupts.
    pub two_stage: bool,
}

/// What is odd about a PCI function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oddity {
    /// Nothing.
    None,
    /// It is a transitional device.
    Transitional,
    /// Its revision, and what its subsystem says.
    Revision,
    /// Its first capability has a type that is reserved.
    ReservedType,
    /// Its first capability is of the common configuration, in a BAR that is reserved.
    ReservedBar,
    /// Its capabilities are longer than they have to be.
    LongCapabilities,
    /// Its structures are larger than they have to be, but for the device-specific configuration.
    LargeStructures,
    /// The device-specific configuration is larger than the driver knows it.
    LargeConfig,
    /// There are two instances of the common configuration.
    Twice,
    /// Its BAR cannot be mapped.
    Window,
}

/// What a device says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// What it is.
    True,
    /// No virtio device: MagicValue is wrong.
    Magic,
    /// A virtio device of another version.
    Version,
    /// A placeholder without a device.
    Nobody,
}

/// What a driver is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Bring the device up, work, and leave it.
    Work,
    /// The same twice, also if the first time fails.
    Twice,
    /// Leave the device while it has buffers.
    Leave,
    /// Suspend the device and let it go on in between.
    Suspend,
    /// Reset a virtqueue and enable it again in between.
    ResetQueue,
}

/// When a device uses buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completes {
    /// At once.
    AtOnce,
    /// When the driver has waited for a while.
    Late,
    /// The one that was available last comes first.
    Reversed,
    /// One each time the driver waits, the one that was available last first.
    OneByOne,
    /// Never.
    Never,
}

impl Scenario {
    pub(super) const PLAIN: Self = Self {
        name: "plain",
        does: "Nothing unusual.",
        act: Act::Work,
        offers: |features| features,
        queue_size: 16,
        refuses: false,
        completes: Completes::AtOnce,
        suppresses: false,
        spurious: false,
        restless: 0,
        changes: false,
        short: false,
        demands_reset: 0,
        slow: 0,
        translates: false,
        identity: Identity::True,
        function: Function::PLAIN,
        subchannel: Subchannel::PLAIN,
        bus: None,
        device: None,
    };

    /// What scenarios of the PCI bus have in common.
    const PCI: Self = Self {
        bus: Some(Bus::Pci),
        ..Self::PLAIN
    };

    /// What scenarios of channel I/O have in common.
    const CCW: Self = Self {
        bus: Some(Bus::Ccw),
        ..Self::PLAIN
    };

    /// What scenarios of network cards have in common.
    const NETWORK: Self = Self {
        device: Some(network::DEVICE.id),
        ..Self::PLAIN
    };

    const fn odd(oddity: Oddity) -> Function {
        Function {
            oddity,
            ..Function::PLAIN
        }
    }

    const fn with_vectors(vectors: u16) -> Function {
        Function {
            vectors,
            ..Function::PLAIN
        }
    }
}

impl Function {
    const PLAIN: Self = Self {
        oddity: Oddity::None,
        vectors: 4,
        refuses_vectors: false,
    };
}

impl Subchannel {
    const PLAIN: Self = Self {
        control_unit: CU_TYPE,
        revision: Revision::READ_STATUS,
        two_stage: true,
    };
}

/// The scenario of that name.
pub fn scenario(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

/// Bits that no driver accepts: not described, reserved, or for other transports.
pub(super) const FOREIGN: Features = Features(
    feature::RESERVED_BITS.0
        | feature::SR_IOV.0
        | feature::UNUSED.0
        | Features::bit(25).0
        | Features::bit(26).0
        | Features::bit(31).0
        | Features::bit(42).0
        | Features::bit(50).0
        | Features::bit(127).0,
);

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
        name: "offloads",
        does: "Checksums and segmentation can be left to a network card.",
        offers: |features| {
            let segments = can::HOST_TSO4 | can::HOST_TSO6 | can::HOST_ECN | can::HOST_USO;
            features | can::CSUM | segments | can::GUEST_HDRLEN
        },
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
