//! Where the frames of a network interface come from and go to.

mod stream;
mod tap;

use ringwright_memory::Slices;

use crate::{Context, DeviceError, Interest};

pub use stream::Stream;
pub use tap::Tap;

/// Most bytes of a frame: those of an IP packet, with what QEMU, the most generous of the peers, allows around it.
pub const MAX_FRAME: usize = 64 * 1024 + 4096;

/// The timer that calls [`Backend::reconnect`].
pub(super) const RETRY: u64 = 0;

/// The far end of a network interface. Nothing here blocks.
pub trait Backend: Send {
    /// Whether there is a peer: the state of the link.
    fn connected(&self) -> bool;

    /// The next frame that has arrived; the same one until [`Backend::consume`]. `None` if there is none yet.
    fn frame(&mut self) -> Option<&[u8]>;

    /// Lets go of the frame that [`Backend::frame`] has shown.
    fn consume(&mut self);

    /// Takes a frame, of at most [`MAX_FRAME`] bytes, or says `false` if that would block. A frame that the peer does
    /// not want is taken and lost, as on any network.
    fn send(&mut self, frame: Slices<'_>) -> bool;

    /// Passes on the frames that were taken, as far as possible.
    fn flush(&mut self) {}

    /// Something that was watched is ready.
    fn ready(&mut self) {}

    /// It is time to look for the peer again.
    fn reconnect(&mut self) {}

    /// Has the worker called when a frame arrives, or can be taken, and whenever the backend itself needs it.
    fn watch(&mut self, context: &mut Context, interest: Option<Interest>) -> Result<(), DeviceError>;
}
