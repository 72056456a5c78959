//! What a console is connected to.

mod descriptors;
mod log;
mod unix_socket;

use std::io;

use ringwright_memory::Slices;

use crate::{Context, DeviceError, Interest};

pub use descriptors::Descriptors;
pub use log::Log;
pub use unix_socket::UnixSocket;

/// The far end of a console. Nothing here blocks: what would gives [`io::ErrorKind::WouldBlock`].
pub trait Backend: Send {
    /// Reads input into the first bytes of `into`, which is not empty. 0: there will never be more.
    fn read(&mut self, into: Slices<'_>) -> io::Result<usize>;

    /// Takes output, at least the first byte of `from`, which is not empty. An error means that it is lost.
    fn write(&mut self, from: Slices<'_>) -> io::Result<usize>;

    /// Outputs one character at once, or drops it.
    fn put(&mut self, character: u8);

    /// Has the worker called when reading or writing might succeed that would have blocked.
    fn watch(&mut self, context: &mut Context, interest: Option<Interest>) -> Result<(), DeviceError>;
}
