//! Where random bytes come from.

use std::io;

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

/// A source of random bytes.
pub trait Backend: Send + Sync {
    /// Fills all of `into`.
    fn fill(&self, into: &mut [u8]) -> io::Result<()>;
}

/// The operating system's randomness, as for cryptographic keys.
#[derive(Clone, Copy, Debug, Default)]
pub struct Os;

impl Backend for Os {
    fn fill(&self, mut into: &mut [u8]) -> io::Result<()> {
        while !into.is_empty() {
            match getrandom(&mut *into, GetRandomFlags::empty()) {
                Ok(length) => into = &mut into[length..],
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
