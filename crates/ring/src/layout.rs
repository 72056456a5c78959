//! Where a virtqueue lies.

use ringwright_spec::split::LegacyLayout;
use ringwright_spec::{packed, split};

use crate::SetupError;

/// Size and addresses of one virtqueue (section 2.6), as a transport sets them up. Addresses are the device's:
/// guest-physical, or what the platform translates under `VIRTIO_F_ACCESS_PLATFORM`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Queue size in descriptors. Split: a power of 2; packed: any number; 32768 at most, never 0.
    pub size: u16,
    /// Descriptor Area: descriptor table or descriptor ring.
    pub descriptor_area: u64,
    /// Driver Area: available ring or driver event suppression structure.
    pub driver_area: u64,
    /// Device Area: used ring or device event suppression structure.
    pub device_area: u64,
}

/// Byte order of a virtqueue's integers: little-endian, except on legacy interfaces, where it is the guest's
/// (section 2.7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

impl ByteOrder {
    /// The byte order of this machine.
    pub const NATIVE: Self = if cfg!(target_endian = "big") {
        Self::Big
    } else {
        Self::Little
    };

    /// The integer that these bytes are.
    pub const fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }
    }

    /// The integer that these bytes are.
    pub const fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }

    /// The integer that these bytes are.
    pub const fn u64(self, bytes: [u8; 8]) -> u64 {
        match self {
            Self::Little => u64::from_le_bytes(bytes),
            Self::Big => u64::from_be_bytes(bytes),
        }
    }

    /// The bytes of an integer.
    pub const fn bytes16(self, integer: u16) -> [u8; 2] {
        match self {
            Self::Little => integer.to_le_bytes(),
            Self::Big => integer.to_be_bytes(),
        }
    }

    /// The bytes of an integer.
    pub const fn bytes32(self, integer: u32) -> [u8; 4] {
        match self {
            Self::Little => integer.to_le_bytes(),
            Self::Big => integer.to_be_bytes(),
        }
    }
}

impl Layout {
    /// A legacy virtqueue (section 2.7.2): one contiguous area that starts at page `page_frame_number`, in pages of
    /// `page_size` bytes, with the used ring aligned to `queue_align` bytes (both 4096 on PCI). `None` if an alignment
    /// is not a power of 2 or the area does not end within 64 bits.
    pub fn legacy(page_frame_number: u32, page_size: u32, size: u16, queue_align: u32) -> Option<Self> {
        let start = u64::from(page_frame_number) * u64::from(page_size);
        page_size.is_power_of_two().then_some(())?;
        Self::in_one_piece(start, size, queue_align)
    }

    /// As [`legacy`](Self::legacy), from the address `start` on.
    pub fn in_one_piece(start: u64, size: u16, queue_align: u32) -> Option<Self> {
        let parts = LegacyLayout::new(size, queue_align)?;
        start.checked_add(parts.size)?;
        Some(Self {
            size,
            descriptor_area: start,
            driver_area: start + parts.avail,
            device_area: start + parts.used,
        })
    }

    /// The page frame number of a legacy virtqueue in pages of `page_size` bytes; `None` if it does not start at a
    /// page or lies too high.
    pub fn page_frame_number(&self, page_size: u32) -> Option<u32> {
        let page_size = u64::from(page_size);
        if page_size == 0 || !self.descriptor_area.is_multiple_of(page_size) {
            return None;
        }
        u32::try_from(self.descriptor_area / page_size).ok()
    }

    /// Whether size and alignments are legal for the format (`drv:split:virtqueues:01`,
    /// `drv:packed:packed-virtqueues:01`).
    pub fn check(&self, is_packed: bool) -> Result<(), SetupError> {
        let Self {
            size,
            descriptor_area,
            driver_area,
            device_area,
        } = *self;
        let legal_size = if is_packed {
            (1..=packed::MAX_QUEUE_SIZE).contains(&size)
        } else {
            size.is_power_of_two() && size <= split::MAX_QUEUE_SIZE
        };
        if !legal_size {
            return Err(SetupError::Size {
                size,
                packed: is_packed,
            });
        }
        let (driver_align, device_align) = if is_packed {
            (packed::EVENT_ALIGN, packed::EVENT_ALIGN)
        } else {
            (split::AVAIL_ALIGN, split::USED_ALIGN)
        };
        let parts = [
            (descriptor_area, 16),
            (driver_area, driver_align),
            (device_area, device_align),
        ];
        match parts
            .into_iter()
            .find(|(address, align)| !address.is_multiple_of(*align))
        {
            Some((address, align)) => Err(SetupError::Misaligned { address, align }),
            None => Ok(()),
        }
    }
}
