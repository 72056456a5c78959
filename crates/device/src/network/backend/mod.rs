//! Where the frames of a network interface come from and go to.

mod stream;
mod tap;

use ringwright_memory::Slices;
use ringwright_ring::ByteOrder;
use ringwright_spec::Features;
use ringwright_spec::network::Hdr;
use ringwright_spec::network::header::{GsoType, HdrFlags};
use zerocopy::IntoBytes;

use super::offload::{Partial, TRANSMITTED};
use crate::{Context, DeviceError, Interest};

pub use stream::Stream;
pub use tap::Tap;

/// Most bytes of a frame: those of an IP packet, with what QEMU, the most generous of the peers, allows around it.
pub const MAX_FRAME: usize = 64 * 1024 + 4096;

/// The timer that calls [`Backend::reconnect`].
pub(super) const RETRY: u64 = 0;

/// A frame that has arrived.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its bytes, from the Ethernet header on.
    pub bytes: &'a [u8],
    /// Whether someone has looked at its checksum, and it is right.
    pub is_valid: bool,
    /// What is left to do with it.
    pub partial: Option<Partial>,
}

impl<'a> Frame<'a> {
    /// A complete frame.
    pub fn whole(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            is_valid: false,
            partial: None,
        }
    }

    /// The frame behind so many bytes of a header with integers in this `order`. `None` if the header is wrong about it.
    fn behind_header(bytes: &'a [u8], size: usize, order: ByteOrder) -> Option<Self> {
        let (before, bytes) = bytes.split_at_checked(size)?;
        let mut header = Hdr::default();
        header.as_mut_bytes().get_mut(..size)?.copy_from_slice(before);
        let flags = HdrFlags(header.flags);
        let partial = match flags.contains(HdrFlags::NEEDS_CSUM) || header.gso_type != GsoType::NONE.0 {
            true => Some(Partial::of(&header, order, TRANSMITTED, bytes)?),
            false => None,
        };
        Some(Self {
            bytes,
            is_valid: flags.contains(HdrFlags::DATA_VALID),
            partial,
        })
    }
}

/// The far end of a network interface. Nothing here blocks.
pub trait Backend: Send {
    /// What may be left to it, and what it may leave to the driver: of
    /// [`TRANSMITTED`] and [`RECEIVED`](super::offload::RECEIVED).
    fn offloads(&self) -> Features {
        Features::NONE
    }

    /// The driver takes what is in `accepted`, of [`RECEIVED`](super::offload::RECEIVED). Frames that arrived before may need
    /// more, and are completed by whoever asked for them.
    fn accept(&mut self, _accepted: Features) {}

    /// Whether there is a peer: the state of the link.
    fn connected(&self) -> bool;

    /// The next frame that has arrived; the same one until [`Backend::consume`]. `None` if there is none yet.
    fn frame(&mut self) -> Option<Frame<'_>>;

    /// Lets go of the frame that [`Backend::frame`] has shown.
    fn consume(&mut self);

    /// Takes a frame, of at most [`MAX_FRAME`] bytes, or says `false` if that would block. A frame that the peer does
    /// not want is taken and lost, as on any network. Nothing but what is in [`offloads`](Backend::offloads) is `partial`.
    fn send(&mut self, frame: Slices<'_>, partial: Option<&Partial>) -> bool;

    /// The same with a complete frame that is no longer the driver's.
    fn send_copy(&mut self, frame: &[u8]) -> bool;

    /// Passes on the frames that were taken, as far as possible.
    fn flush(&mut self) {}

    /// Something that was watched is ready.
    fn ready(&mut self) {}

    /// It is time to look for the peer again.
    fn reconnect(&mut self) {}

    /// Has the worker called when a frame arrives, or can be taken, and whenever the backend itself needs it.
    fn watch(&mut self, context: &mut Context, interest: Option<Interest>) -> Result<(), DeviceError>;
}
