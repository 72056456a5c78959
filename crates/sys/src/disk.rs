//! Block devices of the host.
//!
//! `unsafe` is needed here for the `ioctl` that discards.

use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

/// `BLKDISCARD` of `linux/fs.h`: `_IO(0x12, 119)`.
pub const BLKDISCARD: Opcode = opcode::none(0x12, 119);

/// Discards the `length` bytes of a block device from `offset` on: what they contain afterwards is not defined. Returns when
/// the device has done it.
///
/// Errors: those of the operating system: `Unsupported` (`EOPNOTSUPP`) for a device that does not discard, `InvalidInput` for a
/// range that is not of whole logical blocks, or not within the device.
pub fn discard(device: impl AsFd, offset: u64, length: u64) -> io::Result<()> {
    loop {
        // SAFETY: the argument of BLKDISCARD is a pointer to two 64-bit numbers, offset and length, which are only read. On what
        // is no block device the call fails: its number is not one of another kind of file that writes to memory.
        let outcome = unsafe { ioctl(&device, Setter::<BLKDISCARD, [u64; 2]>::new([offset, length])) };
        match outcome {
            Err(Errno::INTR) => {}
            outcome => return Ok(outcome?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_block_device_does_not_discard() {
        assert_eq!(BLKDISCARD, 0x1277);
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        let refusal = discard(&file, 0, 4096).unwrap_err();
        assert_eq!(refusal.raw_os_error(), Some(libc::ENOTTY), "{refusal}");
    }
}
