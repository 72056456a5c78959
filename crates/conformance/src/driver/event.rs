//! What a driver does, as its device sees it.

use std::fmt;

use ringwright_driver::TransportError;
use ringwright_driver::transport::Registers;
use ringwright_memory::Width;
use ringwright_ring::Layout;
use ringwright_spec::Features;
use ringwright_spec::ccw::Command;
use ringwright_spec::console::Control;
use ringwright_spec::status::Status;

/// One thing that a driver has done, or that its device has found.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The driver has read the device status, which was this.
    StatusRead(Status),
    /// The driver has written the device status.
    StatusWritten(Status),
    /// The driver has read the features that are offered.
    FeaturesRead(Features),
    /// The driver has written the features that it accepts.
    FeaturesAccepted(Features),
    /// The driver has asked for the greatest size of a virtqueue.
    QueueSizeRead(u16),
    /// The driver has enabled a virtqueue.
    QueueEnabled(u16, Layout),
    /// What the device finds in its part of a virtqueue that the driver has just enabled, and whether it reaches all parts.
    QueueFound(u16, Suppression, bool),
    /// The driver has begun the reset of a virtqueue.
    QueueReset(u16),
    /// The driver has asked whether the reset of a virtqueue is complete; whether it was.
    QueueResetRead(u16, bool),
    /// An available buffer notification for a virtqueue, with its data.
    Notified(u16, u32),
    /// The driver has read the configuration atomicity value.
    GenerationRead(u32),
    /// The driver has read a part of the configuration space.
    ConfigRead(Place),
    /// The driver has written a part of the configuration space.
    ConfigWritten(Place),
    /// The device has looked at what the driver has written into a virtqueue.
    Looked(u16, Look),
    /// A buffer has become available in a virtqueue.
    Available(u16, Chain),
    /// The entries of a buffer that the device has not used yet are not what they were.
    Altered(u16, Change),
    /// The device, a console, has told the driver this by its control receiveq.
    Told(Control),
    /// The driver has accessed a register of the bus; what that means comes after it if it is written, before it if it is read.
    Accessed(Access),
    /// The driver has accessed a PCI function, in the same way; the offset is that within the part.
    Function(Part, Access),
    /// The driver has done something on a channel subsystem; what that means comes after it.
    Channel(Channel),
    /// The driver waits for the device, and has done all that it wants to do before.
    Waits,
    /// The driver has ended: by itself, or because it has met an error.
    Ends(Result<(), String>),
}

/// A part of a PCI function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The configuration space.
    Config,
    /// The common configuration.
    Common,
    /// The notifications.
    Notify,
    /// The ISR status.
    Isr,
    /// The device-specific configuration.
    Device,
    /// The table of MSI-X vectors.
    Vectors,
    /// The second instance of a structure; what is accessed by it follows.
    Second,
    /// Where no structure is.
    Nothing,
}

/// What a driver does on a channel subsystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Channel {
    /// It has enabled or disabled the subchannel.
    Enabled(bool),
    /// It has given a command, with as many bytes of data, of which these are the first.
    Command(Command, usize, Sent),
    /// It has sent a notification with a host cookie.
    Hypercall {
        /// The cookie.
        cookie: u64,
        /// What the last notification of the virtqueue has returned, and the last one of any virtqueue.
        expected: [u64; 2],
    },
    /// It has processed queue indicators that the device had set together with the summary indicator.
    Processed {
        /// Whether the summary indicator is cleared.
        cleared: bool,
    },
}

/// An access to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Whether it is written.
    pub write: bool,
    /// Its offset.
    pub offset: u64,
    /// Width of the access.
    pub width: Width,
    /// What is read or written.
    pub value: u32,
}

/// A part of the configuration space, and how it is accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// First byte.
    pub offset: usize,
    /// Bytes.
    pub length: usize,
    /// Width of each access.
    pub width: Width,
}

/// The words of a virtqueue that are the driver's, and what the device had written into its own before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Whether a notification made the device look.
    pub notified: bool,
    /// How the driver wants to be notified.
    pub driver: Suppression,
    /// How the device has asked to be notified.
    pub device: Suppression,
    /// `idx` of the available ring of a split virtqueue, or the offset of the next descriptor of a packed one, before and
    /// now.
    pub index: (u16, u16),
}

/// Flags and event index of one end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Suppression {
    /// `flags`.
    pub flags: u16,
    /// `used_event` or `avail_event`; offset and wrap counter in a packed virtqueue.
    pub event: u16,
}

/// What has changed where it must not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where it has, what was there, and what is now.
    pub what: String,
    /// Whether a descriptor of a packed virtqueue was made available once more.
    pub again: bool,
}

/// A buffer that a driver has made available.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Index of the first descriptor, or the buffer id.
    pub id: u16,
    /// The descriptors, those of indirect tables after the ones that refer to them.
    pub descriptors: Vec<Descriptor>,
    /// Why it is no chain, if the device could not follow it to its end.
    pub astray: Option<Astray>,
    /// The first bytes of its device-readable part.
    pub sent: Sent,
}

/// The first bytes that a driver sends, of which a trace shows a few.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Sent(pub Vec<u8>);

impl Sent {
    /// Bytes that are kept.
    pub(super) const KEPT: usize = 192;
}

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x?}", &self.0[..self.0.len().min(32)])
    }
}

/// Why a chain has no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Astray {
    /// It comes back to a descriptor that it has been at.
    Loop,
    /// There is no descriptor of this index in the table.
    Nowhere(u16),
    /// A descriptor of it, of this index, is not available.
    NotAvailable(u16),
}

/// A descriptor of either format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Index in its table or ring.
    pub index: u16,
    /// Whether it lies in an indirect table.
    pub indirect: bool,
    /// Address of the element.
    pub address: u64,
    /// Its length in bytes.
    pub length: u32,
    /// `VIRTQ_DESC_F_*`: NEXT, WRITE and INDIRECT are the same in both formats.
    pub flags: u16,
    /// `next` of a split virtqueue's descriptor, the buffer id in a packed one.
    pub next: u16,
    /// Whether the device reaches all of the element.
    pub reached: bool,
}

/// `VIRTQ_DESC_F_NEXT`.
pub const NEXT: u16 = 1;
/// `VIRTQ_DESC_F_WRITE`.
pub const WRITE: u16 = 2;
/// `VIRTQ_DESC_F_INDIRECT`.
pub const INDIRECT: u16 = 4;

impl Access {
    /// Makes it, and gives what was read.
    pub fn make(self, registers: &mut dyn Registers) -> Result<u32, TransportError> {
        match self.write {
            true => registers.write(self.offset, self.width, self.value).map(|()| 0),
            false => registers.read(self.offset, self.width),
        }
    }

    /// Whether it reads the register at `offset`.
    pub fn reads(&self, offset: u64) -> bool {
        !self.write && self.offset == offset
    }

    /// Whether it writes the register at `offset`.
    pub fn writes(&self, offset: u64) -> bool {
        self.write && self.offset == offset
    }
}

impl Descriptor {
    /// Whether it has one of these flags.
    pub fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

impl Chain {
    /// The elements: all descriptors but those that refer to tables.
    pub fn elements(&self) -> impl Iterator<Item = &Descriptor> {
        self.descriptors
            .iter()
            .filter(|descriptor| !descriptor.has(INDIRECT))
    }

    /// How many descriptors of the ring or table itself it takes.
    pub fn direct(&self) -> usize {
        self.descriptors
            .iter()
            .filter(|descriptor| !descriptor.indirect)
            .count()
    }

    /// Bytes of the device-readable or of the device-writable part.
    pub fn length(&self, writable: bool) -> u64 {
        self.elements()
            .filter(|element| element.has(WRITE) == writable)
            .map(|element| u64::from(element.length))
            .sum()
    }
}

impl Place {
    /// Whether any byte of it lies among the `length` at `offset`.
    pub fn touches(&self, offset: usize, length: usize) -> bool {
        self.offset < offset + length && offset < self.offset + self.length
    }
}
