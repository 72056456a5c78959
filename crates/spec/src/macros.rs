//! The shapes everything in this crate is written in: structures, constant groups, sets of flags, registers, features.

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

        impl $name {
            /// Where its fields are, for programs that only print them.
            pub const LAYOUT: crate::data::Layout = crate::data::Layout {
                name: stringify!($name),
                size: size_of::<Self>(),
                fields: &[ $( crate::data::Field {
                    name: stringify!($field),
                    offset: core::mem::offset_of!(Self, $field),
                    size: size_of::<$ty>(),
                } ),* ],
            };
        }

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

            /// The same, for programs that only print them.
            pub const GROUP: crate::data::Group = crate::data::Group {
                name: stringify!($name),
                values: &[ $( (stringify!($value), Self::$value.0 as u64) ),* ],
            };

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

/// A field of flag bits of the document (`VIRTIO_FLD_F_XXX`) as one type, a set of them: each flag is written as its
/// mask. Bits without a name stay representable, because the other end may send anything.
macro_rules! flags {
    ($( $(#[$meta:meta])* $vis:vis $name:ident : $repr:ty { $( $(#[$vmeta:meta])* $value:ident = $mask:expr ),* $(,)? } )+) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
        $vis struct $name(pub $repr);

        impl $name {
            $( $(#[$vmeta])* pub const $value: Self = Self($mask); )*

            /// No flag.
            pub const NONE: Self = Self(0);

            /// Every flag that the document names, with its name.
            pub const ALL: &'static [(Self, &'static str)] = &[ $( (Self::$value, stringify!($value)) ),* ];

            /// The same, for programs that only print them.
            pub const GROUP: crate::data::Group = crate::data::Group {
                name: stringify!($name),
                values: &[ $( (stringify!($value), Self::$value.0 as u64) ),* ],
            };

            /// Whether every flag of `other` is here.
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// Whether any flag of `other` is here.
            pub const fn intersects(self, other: Self) -> bool {
                self.0 & other.0 != 0
            }

            /// Whether no bit is set.
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// All flags that are in either.
            pub const fn union(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// The flags here that are not in `other`.
            pub const fn without(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }

            /// The bits that have no name.
            pub const fn unnamed(self) -> Self {
                Self(self.0 $( & !Self::$value.0 )*)
            }

            /// Names of the flags that are set, in the order of the document.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                Self::ALL.iter().filter(move |(flag, _)| self.contains(*flag)).map(|(_, name)| *name)
            }
        }

        impl core::ops::BitOr for $name {
            type Output = Self;
            fn bitor(self, other: Self) -> Self {
                self.union(other)
            }
        }

        impl core::ops::BitAnd for $name {
            type Output = Self;
            fn bitand(self, other: Self) -> Self {
                Self(self.0 & other.0)
            }
        }

        impl core::ops::Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                self.without(other)
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                let unnamed = self.unnamed();
                f.write_str(concat!(stringify!($name), "("))?;
                let mut separator = "";
                for name in self.names() {
                    write!(f, "{separator}{name}")?;
                    separator = " | ";
                }
                if !unnamed.is_empty() || separator.is_empty() {
                    write!(f, "{separator}{:#x}", unnamed.0)?;
                }
                f.write_str(")")
            }
        }
    )+};
}

/// The registers of a transport: the offset of each as a constant, and their table.
macro_rules! registers {
    ($(#[$meta:meta])* $table:ident {
        $( $(#[$rmeta:meta])* $register:ident = $offset:expr, $size:expr, $access:ident, $name:literal; )*
    }) => {
        $( $(#[$rmeta])* pub const $register: u64 = $offset; )*

        $(#[$meta])*
        pub const $table: &[crate::register::Register] = &[ $( crate::register::Register {
            offset: $register,
            size: $size,
            access: crate::register::Access::$access,
            name: $name,
        } ),* ];
    };
}

/// The feature bits of one device type: a constant for each in `pub mod features`, and their table `features::ALL`.
///
/// After the number may stand the bits a feature requires, all of them (`requires [A, B]`) or one of several
/// (`requires [A | B]`); groups are separated by commas and each must hold. `legacy` marks the bits that exist only
/// on legacy interfaces. (Nothing ever matches `$never`: it is there to repeat the word `legacy` where it was written,
/// which an `ident` could not do, because `requires` is one too.)
macro_rules! features {
    ($( $(#[$meta:meta])* $name:ident = $bit:literal $( requires [ $( $( $req:ident )|+ ),+ ] )? $( legacy $( $never:lifetime )? )? ;)*) => {
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
                legacy: features!(@legacy $( legacy $( $never )? )?),
            } ),* ];
        }
    };
    (@legacy) => { false };
    (@legacy legacy) => { true };
}
