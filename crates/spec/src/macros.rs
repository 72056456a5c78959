//! The three shapes everything in this crate is written in: structures, constant groups and feature lists.

/// A structure of the document: packed, byte-aligned, convertible from and to bytes without copying.
macro_rules! wire {
    ($( $(#[$meta:meta])* $vis:vis struct $name:ident { $( $(#[$fmeta:meta])* $fvis:vis $field:ident : $ty:ty ),* $(,)? } )+) => {$(
        $(#[$meta])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq,
            zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout, zerocopy::Immutable, zerocopy::Unaligned,
        )]
        #[repr(C)]
        $vis struct $name { $( $(#[$fmeta])* $fvis $field: $ty ),* }

        impl Default for $name {
            fn default() -> Self {
                zerocopy::FromZeros::new_zeroed()
            }
        }
    )+};
}

/// Checks, at compile time, the size of a structure and the offset of each of its fields against the document.
macro_rules! layout {
    ($name:ty, $size:expr $(, $field:ident @ $offset:expr )* $(,)?) => {
        const _: () = {
            assert!(core::mem::size_of::<$name>() == $size);
            assert!(core::mem::align_of::<$name>() == 1);
            $( assert!(core::mem::offset_of!($name, $field) == $offset); )*
        };
    };
}

/// A group of constants of the document (`VIRTIO_FLD_XXX`) as one type: unknown values stay representable, because
/// the other end may send anything.
macro_rules! constants {
    ($( $(#[$meta:meta])* $vis:vis $name:ident : $repr:ty { $( $(#[$vmeta:meta])* $value:ident = $number:expr ),* $(,)? } )+) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis struct $name(pub $repr);

        impl $name {
            $( $(#[$vmeta])* pub const $value: Self = Self($number); )*

            /// Every value that the document names, with its name.
            pub const ALL: &'static [(Self, &'static str)] = &[ $( (Self::$value, stringify!($value)) ),* ];

            /// The document's name of this value, or `None` if it has none.
            pub fn name(self) -> Option<&'static str> {
                Self::ALL.iter().find(|(value, _)| *value == self).map(|(_, name)| *name)
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, concat!(stringify!($name), "({:#x})"), self.0),
                }
            }
        }
    )+};
}

/// The feature bits of one device type: a constant for each in `pub mod features`, and their table `features::ALL`.
///
/// After the number may stand the bits a feature requires, all of them (`requires [A & B]`) or one of several
/// (`requires [A | B]`); groups are separated by commas and each must hold. `legacy` marks the bits that exist only
/// on legacy interfaces.
macro_rules! features {
    ($( $(#[$meta:meta])* $name:ident = $bit:literal $( requires [ $( $( $req:ident )|+ ),+ ] )? $( $legacy:ident )? ;)*) => {
        /// Feature bits of this device type.
        pub mod features {
            #[allow(unused_imports, reason = "a device type without features uses neither")]
            use crate::feature::{FeatureBit, Features};
            $( $(#[$meta])* pub const $name: Features = Features::bit($bit); )*

            /// Every feature bit of this device type, in the order of the document.
            pub const ALL: &[FeatureBit] = &[ $( FeatureBit {
                bit: $bit,
                name: stringify!($name),
                requires: &[ $( $( Features::NONE $( .union($req) )+ ),+ )? ],
                legacy: features!(@legacy $($legacy)?),
            } ),* ];
        }
    };
    (@legacy) => { false };
    (@legacy legacy) => { true };
}
