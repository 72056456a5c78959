//! The seam below the transport: how a channel subsystem is reached.

use ringwright_spec::ccw::channel::{ConditionCode, Irb, Orb, Schib};

use crate::TransportError;

/// The I/O instructions of a processor, and the hypercall for notifications. `id` is the subchannel id that they take in
/// general register 1 (or 2); blocks are passed as they are in memory, wherever whoever implements this puts them.
///
/// A program on the machine itself executes the instructions. A test calls a model of a channel subsystem; a debugger
/// has a processor of another machine execute them.
pub trait ChannelSubsystem {
    /// STORE SUBCHANNEL. `None` if there is no such subchannel (condition code 3).
    fn store(&mut self, id: u32) -> Result<Option<Schib>, TransportError>;

    /// MODIFY SUBCHANNEL.
    fn modify(&mut self, id: u32, schib: &Schib) -> Result<ConditionCode, TransportError>;

    /// START SUBCHANNEL.
    fn start(&mut self, id: u32, orb: &Orb) -> Result<ConditionCode, TransportError>;

    /// TEST SUBCHANNEL. What is stored counts only if the condition code is [`ConditionCode::DONE`].
    fn test(&mut self, id: u32) -> Result<(ConditionCode, Irb), TransportError>;

    /// DIAGNOSE 0x500 with subcode 3: notification data in general register 3, the host cookie of the last notification in
    /// 4. Gives what register 2 is afterwards: a host cookie, or an error if it is negative.
    fn notify(&mut self, id: u32, data: u64, cookie: u64) -> Result<u64, TransportError>;
}

impl<C: ChannelSubsystem + ?Sized> ChannelSubsystem for &mut C {
    fn store(&mut self, id: u32) -> Result<Option<Schib>, TransportError> {
        (**self).store(id)
    }

    fn modify(&mut self, id: u32, schib: &Schib) -> Result<ConditionCode, TransportError> {
        (**self).modify(id, schib)
    }

    fn start(&mut self, id: u32, orb: &Orb) -> Result<ConditionCode, TransportError> {
        (**self).start(id, orb)
    }

    fn test(&mut self, id: u32) -> Result<(ConditionCode, Irb), TransportError> {
        (**self).test(id)
    }

    fn notify(&mut self, id: u32, data: u64, cookie: u64) -> Result<u64, TransportError> {
        (**self).notify(id, data, cookie)
    }
}
