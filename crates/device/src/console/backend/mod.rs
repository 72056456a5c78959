//! What a port is connected to.

mod descriptors;
mod log;
mod unix_socket;

use std::io;

use ringwright_memory::Slices;

use crate::{Context, DeviceError, Interest, Source};

pub use descriptors::Descriptors;
pub use log::Log;
pub use unix_socket::UnixSocket;

/// Who is at the far end of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FarEnd {
    /// Nobody: output is lost.
    #[default]
    Nobody,
    /// What is always there, as a file is.
    Always,
    /// One of those that come and go; each has another number.
    Client(u64),
}

/// The far end of a port. Nothing here blocks: what would gives [`io::ErrorKind::WouldBlock`].
pub trait Backend: Send {
    /// Reads input into the first bytes of `into`, which is not empty. 0: there will never be more.
    fn read(&mut self, into: Slices<'_>) -> io::Result<usize>;

    /// Takes output, at least the first byte of `from`, which is not empty. An error means that it is lost.
    fn write(&mut self, from: Slices<'_>) -> io::Result<usize>;

    /// Outputs one character at once, or drops it.
    fn put(&mut self, character: u8);

    /// Who is at the far end, also one that has just come.
    fn far_end(&mut self) -> FarEnd {
        FarEnd::Always
    }

    /// Has [`watch`](Self::watch) report as `source` from now on; called before anything is watched.
    fn report_as(&mut self, source: Source);

    /// Has the worker called when reading or writing might succeed that would have blocked, and when somebody comes to a far
    /// end where nobody is.
    fn watch(&mut self, context: &mut Context, interest: Option<Interest>) -> Result<(), DeviceError>;
}
