//! File descriptors known by number only, as a parent process passes them.
//!
//! `unsafe` is needed here because a number says nothing about who owns the descriptor.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

/// A descriptor of our own for what the open descriptor `number` refers to; that one stays open. Errors: those of the
/// operating system, `EBADF` if no such descriptor is open.
pub fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(rustix::io::Errno::BADF.into());
    }
    // SAFETY: the number is not -1. If the descriptor is not open, or closed by another thread meanwhile, the operating
    // system refuses the duplication or duplicates what has taken its place; the borrow ends with the call.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    Ok(rustix::io::fcntl_dupfd_cloexec(borrowed, 3)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;

    #[test]
    fn the_duplicate_refers_to_the_same() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut duplicate = io::PipeWriter::from(duplicate(writer.as_raw_fd()).unwrap());
        duplicate.write_all(b"x").unwrap();
        drop((writer, duplicate));
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert_eq!(read, b"x");
    }

    #[test]
    fn numbers_of_nothing_are_refused() {
        for number in [-1, 1 << 20, RawFd::MAX] {
            assert!(duplicate(number).is_err(), "{number}");
        }
    }
}
