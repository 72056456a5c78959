//! Feature bits (section 2.2) and the reserved, device-independent ones (chapter 6).

use core::fmt;
use core::ops::{BitAnd, BitOr, Not, Sub};

/// A set of feature bits. The document defines 128 of them; the legacy interfaces reach the first 32.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Features(pub u128);

/// What the document says of one feature bit.
#[derive(Clone, Copy, Debug)]
pub struct FeatureBit {
    /// Number of the bit.
    pub bit: u32,
    /// The document's name without prefix (`FLUSH` for `VIRTIO_BLK_F_FLUSH`).
    pub name: &'static str,
    /// The features it requires: of each set at least one bit.
    pub requires: &'static [Features],
    /// Whether only legacy interfaces know it.
    pub legacy: bool,
}

impl Features {
    /// No features.
    pub const NONE: Self = Self(0);

    /// The set of one bit, 0 to 127.
    pub const fn bit(bit: u32) -> Self {
        Self(1 << bit)
    }

    /// All bits that are in either.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every bit of `other` is here.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any bit of `other` is here.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether no bit is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The 32 bits `32 * index` to `32 * index + 31`, as the feature select registers see them; 0 beyond the end.
    pub const fn word(self, index: u32) -> u32 {
        if index < 4 {
            (self.0 >> (32 * index)) as u32
        } else {
            0
        }
    }

    /// This set with the 32 bits of word `index` replaced; unchanged if there is no such word.
    pub const fn with_word(self, index: u32, word: u32) -> Self {
        if index >= 4 {
            return self;
        }
        let shift = 32 * index;
        Self(self.0 & !(0xffff_ffff << shift) | (word as u128) << shift)
    }

    /// Numbers of the bits that are set, ascending.
    pub fn bits(self) -> impl Iterator<Item = u32> {
        (0..128).filter(move |bit| self.0 >> bit & 1 != 0)
    }
}

impl BitOr for Features {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl BitAnd for Features {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Sub for Features {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl Not for Features {
    type Output = Self;
    fn not(self) -> Self {
        Self(!self.0)
    }
}

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Features({:#x})", self.0)
    }
}

/// The first bit, in the order of `table`, that is in `set` although a feature it requires is not, with what is
/// missing.
pub fn unmet(set: Features, table: &[FeatureBit]) -> Option<(&FeatureBit, Features)> {
    table
        .iter()
        .filter(|feature| set.contains(Features::bit(feature.bit)))
        .find_map(|feature| {
            let missing = feature.requires.iter().find(|any| !set.intersects(**any))?;
            Some((feature, *missing))
        })
}

/// Bits for the specific device type (section 2.2).
///
/// The document's list also gives them bit 41, which chapter 6 defines as [`ADMIN_VQ`] for every device type; chapter 6
/// is followed. (The legacy network device uses bit 41 as well, out of reach of the legacy interfaces.)
pub const DEVICE_TYPE_BITS: Features = range(0, 23).union(Features::bit(42)).union(range(50, 127));
/// Bits for extensions to the queue and feature negotiation mechanisms; those in use are in [`ALL`].
pub const EXTENSION_BITS: Features = range(24, 41).union(Features::bit(43));
/// Bits reserved for future extensions; so are all above 127.
pub const RESERVED_BITS: Features = range(44, 49);
/// Bits that legacy interfaces reach.
pub const LEGACY_BITS: Features = range(0, 31);

/// What every device offers (`dev:feat:reserved-feature-bits:01`) and every driver accepts if it is offered
/// (`drv:feat:reserved-feature-bits:01`).
pub const MANDATORY: Features = VERSION_1;

/// Features that neither a device offers nor a driver accepts over MMIO (`dev:core:feature-bits:03`,
/// `drv:core:feature-bits:03`): [`ADMIN_VQ`] is reserved there (section 4.2.5), [`SR_IOV`] is for PCI devices
/// (`dev:feat:reserved-feature-bits:09`), and only PCI defines what [`NOTIF_CONFIG_DATA`] needs.
pub const NOT_ON_MMIO: Features = ADMIN_VQ.union(SR_IOV).union(NOTIF_CONFIG_DATA);
/// The same over channel I/O, where [`RING_RESET`] is reserved too, and so are shared memory regions with the features
/// of device types that need them (section 4.3.4).
pub const NOT_ON_CCW: Features = NOT_ON_MMIO.union(RING_RESET);

/// The set of all bits from `first` to `last`.
const fn range(first: u32, last: u32) -> Features {
    Features((u128::MAX >> (127 - (last - first))) << first)
}

pub use self::features::*;

// Chapter 6 states no requirement of one of these features on another.
features! {
    /// Legacy: notify also when the device runs out of available buffers, even if suppressed.
    NOTIFY_ON_EMPTY = 24 legacy;
    /// Legacy: the driver may frame messages as it likes.
    ANY_LAYOUT = 27 legacy;
    /// Descriptors may point to tables of descriptors.
    INDIRECT_DESC = 28;
    /// `used_event` and `avail_event`, or the packed ring's descriptor event mode.
    EVENT_IDX = 29;
    /// Bit 30, once used by some hypervisors to detect bad drivers ("UNUSED").
    UNUSED = 30 legacy;
    /// Compliance with this document rather than with the legacy interface.
    VERSION_1 = 32;
    /// The device's memory access is limited or translated by the platform.
    ACCESS_PLATFORM = 33;
    /// The packed virtqueue layout.
    RING_PACKED = 34;
    /// Buffers are used in the order in which they were made available.
    IN_ORDER = 35;
    /// Memory accesses are ordered as the platform says, not as between processors.
    ORDER_PLATFORM = 36;
    /// Single root I/O virtualization.
    SR_IOV = 37;
    /// The driver passes extra data in its notifications.
    NOTIFICATION_DATA = 38;
    /// The driver uses data from the device as virtqueue identifier in its notifications.
    NOTIF_CONFIG_DATA = 39;
    /// A single virtqueue can be reset.
    RING_RESET = 40;
    /// The device has administration virtqueues.
    ADMIN_VQ = 41;
    /// The device can be suspended.
    SUSPEND = 43;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_select_32_bits_each() {
        let set = Features(0x4444_4444_3333_3333_2222_2222_1111_1111);
        assert_eq!(
            [0, 1, 2, 3, 4].map(|i| set.word(i)),
            [0x1111_1111, 0x2222_2222, 0x3333_3333, 0x4444_4444, 0]
        );
        let rebuilt = (0..5).fold(Features(u128::MAX), |f, i| f.with_word(i, set.word(i)));
        assert_eq!(rebuilt, set);
    }

    #[test]
    fn every_bit_is_allocated_once() {
        assert_eq!(
            DEVICE_TYPE_BITS | EXTENSION_BITS | RESERVED_BITS,
            Features(u128::MAX)
        );
        assert!(!DEVICE_TYPE_BITS.intersects(EXTENSION_BITS));
        assert!(!RESERVED_BITS.intersects(DEVICE_TYPE_BITS | EXTENSION_BITS));
        assert_eq!(LEGACY_BITS, Features(0xffff_ffff));
    }

    #[test]
    fn features_have_bits_of_their_owner_once_each() {
        let within = |table: &[FeatureBit], bits: Features| {
            let mut seen = Features::NONE;
            for feature in table {
                let bit = Features::bit(feature.bit);
                assert!(bits.contains(bit), "{} has bit {}", feature.name, feature.bit);
                assert!(
                    !seen.intersects(bit),
                    "{} repeats bit {}",
                    feature.name,
                    feature.bit
                );
                seen = seen | bit;
            }
        };
        within(ALL, EXTENSION_BITS);
        for device in crate::device_type::ALL {
            let legacy_network = if device.name == "network" {
                Features::bit(41)
            } else {
                Features::NONE
            };
            within(device.features, DEVICE_TYPE_BITS | legacy_network);
        }
    }

    #[test]
    fn unmet_names_the_first_missing_requirement() {
        const TABLE: &[FeatureBit] = &[
            FeatureBit {
                bit: 0,
                name: "A",
                requires: &[],
                legacy: false,
            },
            FeatureBit {
                bit: 1,
                name: "B",
                requires: &[Features(0b1)],
                legacy: false,
            },
            FeatureBit {
                bit: 2,
                name: "C",
                requires: &[Features(0b11), Features(0b1000)],
                legacy: false,
            },
        ];
        assert!(unmet(Features(0b1011), TABLE).is_none());
        assert_eq!(unmet(Features(0b10), TABLE).unwrap().0.name, "B");
        let (bit, missing) = unmet(Features(0b110), TABLE).map(|(f, m)| (f.name, m)).unwrap();
        assert_eq!((bit, missing), ("B", Features(1)));
        assert_eq!(unmet(Features(0b101), TABLE).unwrap().1, Features(0b1000));
    }
}
