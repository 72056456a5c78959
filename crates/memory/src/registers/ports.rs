//! Registers behind the port instructions of x86.
//!
//! `unsafe` is needed here for these instructions.

use core::arch::asm;

use super::{NoRegister, Width};

/// Registers in the I/O address space of x86: an I/O BAR, or the ports of configuration mechanism 1.
#[derive(Clone, Debug)]
pub struct PortRegisters {
    base: u16,
    length: u16,
}

impl PortRegisters {
    /// The `length` ports from `base` on. `None` if they do not end within the 65536 there are.
    ///
    /// # Safety
    ///
    /// Until this value and its clones are dropped, this program may execute `in` and `out` for these ports,
    /// and what is written there does no harm to memory that Rust knows of (see
    /// [`MappedRegisters::new`](super::MappedRegisters::new)).
    pub unsafe fn new(base: u16, length: u16) -> Option<Self> {
        (u32::from(base) + u32::from(length) <= 0x1_0000).then_some(Self { base, length })
    }

    /// Number of ports.
    pub fn len(&self) -> u64 {
        self.length.into()
    }

    /// Whether there are no ports.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Reads the register at `offset`.
    #[inline(always)]
    pub fn read(&self, offset: u64, width: Width) -> Result<u32, NoRegister> {
        let port = self.port(offset, width)?;
        let value: u32;
        // SAFETY: `port` and those after it that the width takes are among the ports that `new` was promised to be
        // readable. The processor orders port instructions with memory; the block is taken to touch memory, so that the
        // compiler does so too.
        unsafe {
            match width {
                Width::One => {
                    let byte: u8;
                    asm!("in al, dx", out("al") byte, in("dx") port, options(nostack, preserves_flags));
                    value = byte.into();
                }
                Width::Two => {
                    let word: u16;
                    asm!("in ax, dx", out("ax") word, in("dx") port, options(nostack, preserves_flags));
                    value = word.into();
                }
                Width::Four => {
                    asm!("in eax, dx", out("eax") value, in("dx") port, options(nostack, preserves_flags));
                }
            }
        }
        Ok(value)
    }

    /// Writes the low bytes of `value` to the register at `offset`.
    #[inline(always)]
    pub fn write(&self, offset: u64, width: Width, value: u32) -> Result<(), NoRegister> {
        let port = self.port(offset, width)?;
        // SAFETY: as in `read`, and writable.
        unsafe {
            match width {
                Width::One => {
                    asm!("out dx, al", in("dx") port, in("al") value as u8, options(nostack, preserves_flags));
                }
                Width::Two => {
                    asm!("out dx, ax", in("dx") port, in("ax") value as u16, options(nostack, preserves_flags));
                }
                Width::Four => {
                    asm!("out dx, eax", in("dx") port, in("eax") value, options(nostack, preserves_flags));
                }
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn port(&self, offset: u64, width: Width) -> Result<u16, NoRegister> {
        let left = u64::from(self.length).checked_sub(offset);
        if !offset.is_multiple_of(width.bytes() as u64) || left.is_none_or(|left| left < width.bytes() as u64)
        {
            return Err(NoRegister { offset, width });
        }
        // Less than the length, which ends within 16 bits.
        Ok(self.base + offset as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ports that no test may touch: only refusals are tested here, the instructions by guests.
    fn ports(base: u16, length: u16) -> Option<PortRegisters> {
        // SAFETY: the tests make no access that is not refused.
        unsafe { PortRegisters::new(base, length) }
    }

    #[test]
    fn ports_end_with_the_address_space() {
        assert!(ports(0xfff0, 0x10).is_some());
        assert!(ports(0xfff0, 0x11).is_none());
    }

    #[test]
    fn accesses_outside_or_across_are_refused() {
        let ports = ports(0xc000, 6).unwrap();
        for (offset, width) in [
            (6, Width::One),
            (5, Width::Two),
            (1, Width::Two),
            (4, Width::Four),
            (2, Width::Four),
            (u64::MAX, Width::One),
        ] {
            let refused = NoRegister { offset, width };
            assert_eq!(ports.read(offset, width), Err(refused));
            assert_eq!(ports.write(offset, width, 0), Err(refused));
        }
    }
}
