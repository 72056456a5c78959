//! A device's registers, where a program reaches them by its own loads and stores, or by a processor's port instructions.
//!
//! Both give and take the number that the bytes of a register make in little-endian order, whatever the processor's order
//! is. Registers and memory are ordered towards each other: what was written to memory before a register is written is
//! there when the device sees that write, and what is read from memory after a register was read is not older than that.
//!
//! `unsafe` is needed here because registers are raw addresses, and because a device can be told by its registers to
//! write anywhere in memory.

use core::fmt;

use crate::Segment;

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
mod ports;

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
pub use ports::PortRegisters;

/// How many bytes one access to a register has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Width {
    /// 8 bits.
    One = 1,
    /// 16 bits.
    Two = 2,
    /// 32 bits. There is nothing wider: the document has drivers access 64-bit fields as two of 32 bits.
    Four = 4,
}

impl Width {
    /// Length in bytes.
    #[inline(always)]
    pub fn bytes(self) -> usize {
        self as usize
    }

    /// The width of `bytes` bytes, if there is one.
    pub fn from_bytes(bytes: usize) -> Option<Self> {
        match bytes {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            4 => Some(Self::Four),
            _ => None,
        }
    }
}

/// An access that goes past the end of the registers, or that is not aligned to its width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} bytes at offset {offset:#x} are no register", .width.bytes())]
pub struct NoRegister {
    /// First byte of the access.
    pub offset: u64,
    /// Its width.
    pub width: Width,
}

/// Registers at an address of this program: a memory-mapped device, or a memory BAR.
#[derive(Clone)]
pub struct MappedRegisters {
    segment: Segment,
}

impl MappedRegisters {
    /// The `length` bytes of registers at `pointer`.
    ///
    /// # Safety
    ///
    /// Until this value and its clones are dropped:
    ///
    /// - `pointer` is valid for volatile reads and writes of `length` bytes, of one, two and four bytes each, mapped
    ///   as the processor wants device registers mapped. No Rust reference to these bytes exists except to atomics.
    /// - What is written there does no harm to memory that Rust knows of. For a device that does DMA this says that the value
    ///   is only given to drivers that tell the device of no memory but that of [`Buffer`](crate::Buffer)s, as those of this
    ///   project do, and that the device reaches no other memory by itself.
    pub unsafe fn new(pointer: *mut u8, length: usize) -> Self {
        // SAFETY: the caller's promise is wider.
        let segment = unsafe { Segment::new(pointer, length) };
        Self { segment }
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.segment.len() as u64
    }

    /// Whether there are no registers.
    pub fn is_empty(&self) -> bool {
        self.segment.is_empty()
    }

    /// Reads the register at `offset`.
    #[inline(always)]
    pub fn read(&self, offset: u64, width: Width) -> Result<u32, NoRegister> {
        let pointer = self.pointer(offset, width)?;
        // SAFETY: `pointer` is aligned and has these bytes within the segment, which `new` was promised to be readable.
        let value = unsafe {
            match width {
                Width::One => access::read_u8(pointer).into(),
                Width::Two => u16::from_le(access::read_u16(pointer.cast())).into(),
                Width::Four => u32::from_le(access::read_u32(pointer.cast())),
            }
        };
        access::after_read();
        Ok(value)
    }

    /// Writes the low bytes of `value` to the register at `offset`.
    #[inline(always)]
    pub fn write(&self, offset: u64, width: Width, value: u32) -> Result<(), NoRegister> {
        let pointer = self.pointer(offset, width)?;
        access::before_write();
        // SAFETY: as in `read`, and writable.
        unsafe {
            match width {
                Width::One => access::write_u8(pointer, value as u8),
                Width::Two => access::write_u16(pointer.cast(), (value as u16).to_le()),
                Width::Four => access::write_u32(pointer.cast(), value.to_le()),
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn pointer(&self, offset: u64, width: Width) -> Result<*mut u8, NoRegister> {
        let part = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.segment.part(offset, width.bytes()));
        match part {
            Some(part) if (part.pointer() as usize).is_multiple_of(width.bytes()) => Ok(part.pointer()),
            _ => Err(NoRegister { offset, width }),
        }
    }
}

impl fmt::Debug for MappedRegisters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MappedRegisters").field(&self.segment).finish()
    }
}

/// The loads and stores: volatile ones, where the compiler makes plain instructions of them.
#[cfg(not(all(target_arch = "aarch64", not(miri))))]
mod access {
    pub(super) use core::ptr::{
        read_volatile as read_u8, read_volatile as read_u16, read_volatile as read_u32,
        write_volatile as write_u8, write_volatile as write_u16, write_volatile as write_u32,
    };

    /// Orders memory before a register that is about to be written.
    #[inline(always)]
    pub(super) fn before_write() {
        #[cfg(all(any(target_arch = "riscv32", target_arch = "riscv64"), not(miri)))]
        // SAFETY: a fence has no operands and changes no register.
        unsafe {
            core::arch::asm!("fence rw, o", options(nostack, preserves_flags));
        }
        // A store to uncached memory waits for the stores before it on x86; elsewhere this is the strongest there is.
        #[cfg(not(all(any(target_arch = "riscv32", target_arch = "riscv64"), not(miri))))]
        if cfg!(any(target_arch = "x86", target_arch = "x86_64")) {
            core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
        } else {
            core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
        }
    }

    /// Orders a register that has been read before memory.
    #[inline(always)]
    pub(super) fn after_read() {
        #[cfg(all(any(target_arch = "riscv32", target_arch = "riscv64"), not(miri)))]
        // SAFETY: a fence has no operands and changes no register.
        unsafe {
            core::arch::asm!("fence i, rw", options(nostack, preserves_flags));
        }
        #[cfg(not(all(any(target_arch = "riscv32", target_arch = "riscv64"), not(miri))))]
        if cfg!(any(target_arch = "x86", target_arch = "x86_64")) {
            core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
        } else {
            core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
        }
    }
}

/// The loads and stores in assembly: of a volatile access the compiler may make an instruction that also counts up the
/// address, and a hypervisor is not told enough of such an instruction to emulate the register.
#[cfg(all(target_arch = "aarch64", not(miri)))]
mod access {
    use core::arch::asm;

    macro_rules! accesses {
        ($($integer:ty, $read:ident, $load:literal, $write:ident, $store:literal;)*) => {
            $(
            /// # Safety
            ///
            /// `pointer` is aligned and valid for this read.
            #[inline(always)]
            pub(super) unsafe fn $read(pointer: *const $integer) -> $integer {
                let value: u32;
                // SAFETY: one load from where the caller promises that it may be made.
                unsafe {
                    asm!(concat!($load, " {:w}, [{}]"), out(reg) value, in(reg) pointer,
                        options(nostack, preserves_flags));
                }
                value as $integer
            }

            /// # Safety
            ///
            /// `pointer` is aligned and valid for this write.
            #[inline(always)]
            pub(super) unsafe fn $write(pointer: *mut $integer, value: $integer) {
                // SAFETY: one store to where the caller promises that it may be made.
                unsafe {
                    asm!(concat!($store, " {:w}, [{}]"), in(reg) u32::from(value), in(reg) pointer,
                        options(nostack, preserves_flags));
                }
            })*
        };
    }

    accesses! {
        u8, read_u8, "ldrb", write_u8, "strb";
        u16, read_u16, "ldrh", write_u16, "strh";
        u32, read_u32, "ldr", write_u32, "str";
    }

    /// Orders memory before a register that is about to be written.
    #[inline(always)]
    pub(super) fn before_write() {
        // SAFETY: a barrier has no operands and changes no register.
        unsafe {
            asm!("dmb osh", options(nostack, preserves_flags));
        }
    }

    /// Orders a register that has been read before memory.
    #[inline(always)]
    pub(super) fn after_read() {
        // SAFETY: a barrier has no operands and changes no register.
        unsafe {
            asm!("dmb oshld", options(nostack, preserves_flags));
        }
    }
}

#[cfg(test)]
#[path = "registers_tests.rs"]
mod tests;
