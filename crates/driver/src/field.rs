//! What the device configuration space is made of.

use ringwright_memory::Width;
use ringwright_ring::ByteOrder;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A field of the device configuration space, or an array of fields.
pub trait Field: FromBytes + IntoBytes + Immutable + Copy + PartialEq {
    /// Width of the accesses that it is read and written by.
    const WIDTH: Width;

    /// The value of a field with this content in `order`, and the content of a field with this value.
    fn in_order(self, order: ByteOrder) -> Self;
}

macro_rules! integers {
    ($($integer:ty, $width:ident;)*) => {
        $(impl Field for $integer {
            const WIDTH: Width = Width::$width;

            fn in_order(self, order: ByteOrder) -> Self {
                match order {
                    ByteOrder::Little => self.to_le(),
                    ByteOrder::Big => self.to_be(),
                }
            }
        })*
    };
}

integers! {
    u8, One;
    u16, Two;
    u32, Four;
    // Two accesses of 32 bits (drv:pci:pci-device-layout:01, drv:mmio:mmio-device-register-layout:03).
    u64, Four;
}

impl<F: Field, const N: usize> Field for [F; N] {
    const WIDTH: Width = F::WIDTH;

    fn in_order(self, order: ByteOrder) -> Self {
        self.map(|field| field.in_order(order))
    }
}
