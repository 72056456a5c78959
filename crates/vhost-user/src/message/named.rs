//! The two shapes of named numbers: a number that says one thing, and a set of bits.

/// A number of the protocol with the text's names; unknown values stay representable.
macro_rules! numbers {
    ($(#[$meta:meta])* $vis:vis $name:ident { $( $(#[$vmeta:meta])* $value:ident = $number:literal ),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis struct $name(pub u32);

        impl $name {
            $( $(#[$vmeta])* pub const $value: Self = Self($number); )*

            /// Every value that has a name, with it.
            pub const ALL: &'static [(Self, &'static str)] = &[ $( (Self::$value, stringify!($value)) ),* ];

            /// The text's name without its prefix, or `None`.
            pub fn name(self) -> Option<&'static str> {
                Self::ALL.iter().find(|(value, _)| *value == self).map(|(_, name)| *name)
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, concat!(stringify!($name), "({})"), self.0),
                }
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Debug::fmt(self, f)
            }
        }
    };
}

/// A set of numbered bits with the text's names; bits without a name stay representable.
macro_rules! bits {
    ($(#[$meta:meta])* $vis:vis $name:ident { $( $(#[$vmeta:meta])* $value:ident = $bit:literal ),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
        $vis struct $name(pub u64);

        impl $name {
            $( $(#[$vmeta])* pub const $value: Self = Self(1 << $bit); )*

            /// No bit.
            pub const NONE: Self = Self(0);

            /// Every bit that has a name, with it.
            pub const ALL: &'static [(Self, &'static str)] = &[ $( (Self::$value, stringify!($value)) ),* ];

            /// Whether every bit of `other` is here.
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// All bits that are in either.
            pub const fn union(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// The bits that are in both.
            pub const fn intersection(self, other: Self) -> Self {
                Self(self.0 & other.0)
            }

            /// The bits here that are not in `other`.
            pub const fn without(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }

            /// Whether no bit is set.
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                let mut rest = *self;
                let mut separator = "";
                for (bit, name) in Self::ALL.iter().filter(|(bit, _)| self.contains(*bit)) {
                    write!(f, "{separator}{name}")?;
                    separator = " | ";
                    rest = rest.without(*bit);
                }
                if !rest.is_empty() || separator.is_empty() {
                    write!(f, "{separator}{:#x}", rest.0)?;
                }
                Ok(())
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Debug::fmt(self, f)
            }
        }
    };
}
