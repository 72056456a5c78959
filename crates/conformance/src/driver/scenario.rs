//! What a strict device does on purpose that is unusual, or wrong.

mod list;

use ringwright_spec::ccw::{CU_TYPE, Revision};
use ringwright_spec::{Features, feature, network};

use crate::subject::Bus;
pub use list::SCENARIOS;

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
