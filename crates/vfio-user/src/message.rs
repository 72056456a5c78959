//! The protocol's words: header, commands, payloads. Shapes only, no behaviour.
//!
//! Sources: `docs/interop/vfio-user.rst` of QEMU, "vfio-user Protocol Specification" ("the text" here), and for what that
//! takes from the kernel's interface, `linux/vfio.h`. All numbers are in the byte order of the machine, since both ends run
//! on it.

mod command;
mod payload;
mod version;

pub use command::Command;
pub use payload::*;
pub use version::{Capabilities, TwinSocket, VERSION, VersionData};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What stands before every payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// Chosen by the sender of a command, and repeated in the reply. It says nothing to the receiver.
    pub id: u16,
    /// Number of the [`Command`].
    pub command: u16,
    /// Size of the message in bytes, this header included.
    pub size: u32,
    /// [`Header::REPLY`], [`Header::NO_REPLY`], [`Header::ERROR`].
    pub flags: u32,
    /// In a reply with [`Header::ERROR`]: an errno value, or 0.
    pub error: u32,
}

impl Header {
    /// The bits that tell a command (0) from a reply.
    pub const TYPE_MASK: u32 = 0xf;
    /// This message answers a command.
    pub const REPLY: u32 = 1;
    /// The command wants no reply.
    pub const NO_REPLY: u32 = 1 << 4;
    /// The command that this reply answers failed.
    pub const ERROR: u32 = 1 << 5;

    /// Size of the header itself.
    pub const SIZE: usize = size_of::<Self>();

    /// Whether this message is a reply; anything that is neither a command nor a reply counts as neither.
    pub fn is_reply(&self) -> bool {
        self.flags & Self::TYPE_MASK == Self::REPLY
    }

    /// Whether this message is a command.
    pub fn is_command(&self) -> bool {
        self.flags & Self::TYPE_MASK == 0
    }

    /// Whether the sender of this command waits for a reply.
    pub fn wants_reply(&self) -> bool {
        self.flags & Self::NO_REPLY == 0
    }

    /// Why the command that this reply answers failed, if it did: an errno value, or 0.
    pub fn failure(&self) -> Option<u32> {
        (self.flags & Self::ERROR != 0).then_some(self.error)
    }
}

const _: () = assert!(size_of::<Header>() == 16);

/// Most bytes of data in one message that are taken here, and the text's default (`max_data_xfer_size`).
pub const MAX_DATA: usize = 1 << 20;

/// Longest payload that is taken: the data, and what describes them.
pub const MAX_PAYLOAD: usize = MAX_DATA + 4096;

/// Most file descriptors with one message that are taken here (`max_msg_fds`). QEMU allows no one to ask for more.
pub const MAX_DESCRIPTORS: usize = 16;
