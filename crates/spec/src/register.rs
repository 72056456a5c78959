//! Registers of a transport: where they are and who may read or write them.

/// What the driver may do with a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only read it ("R", "read-only for driver").
    Read,
    /// Only write it ("W").
    Write,
    /// Both ("RW", "R+W", "read-write").
    ReadWrite,
}

impl Access {
    /// Whether the driver may read the register.
    pub const fn readable(self) -> bool {
        !matches!(self, Self::Write)
    }

    /// Whether the driver may write the register.
    pub const fn writable(self) -> bool {
        !matches!(self, Self::Read)
    }
}

/// One register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register {
    /// Offset in bytes from the start of the registers.
    pub offset: u64,
    /// Size in bytes.
    pub size: u8,
    /// What the driver may do with it.
    pub access: Access,
    /// The document's name of it.
    pub name: &'static str,
}

/// The register of `table` that contains the byte at `offset`.
pub fn at(table: &'static [Register], offset: u64) -> Option<&'static Register> {
    table.iter().find(|register| {
        offset
            .checked_sub(register.offset)
            .is_some_and(|n| n < register.size.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{mmio, pci};

    #[test]
    fn registers_are_aligned_ascending_and_do_not_overlap() {
        for table in [
            mmio::REGISTERS,
            mmio::legacy::REGISTERS,
            pci::legacy::REGISTERS,
            pci::common_cfg::REGISTERS,
        ] {
            for register in table {
                // A 64-bit field is accessed as two of 32 bits, drv:pci:pci-device-layout:01.
                assert_eq!(
                    register.offset % u64::from(register.size.min(4)),
                    0,
                    "{register:?}"
                );
            }
            for pair in table.windows(2) {
                assert!(
                    pair[0].offset + u64::from(pair[0].size) <= pair[1].offset,
                    "{pair:?}"
                );
            }
        }
    }

    #[test]
    fn at_finds_every_byte_of_a_register_and_nothing_between() {
        let table = mmio::REGISTERS;
        assert_eq!(at(table, mmio::STATUS).unwrap().name, "Status");
        assert_eq!(at(table, mmio::STATUS + 3).unwrap().name, "Status");
        assert_eq!(at(table, mmio::STATUS + 4), None);
        assert_eq!(at(table, u64::MAX), None);
    }
}
