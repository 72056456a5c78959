//! The interrupts of the function, by eventfds.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use ringwright_socket::readable;
use rustix::event::{EventfdFlags, eventfd};
use zerocopy::IntoBytes;

use super::{Client, ClientError};
use crate::message::{Command, IrqInfo, IrqSet};
use crate::socket::SocketError;

/// Eventfds for interrupts of one type, which the function signals. When they are dropped it does not any more.
#[derive(Debug)]
pub struct Irqs {
    client: Client,
    index: u32,
    events: Vec<OwnedFd>,
}

impl Client {
    /// How many interrupts of a type ([`IrqInfo::INTX`], [`IrqInfo::MSIX`]) the function has.
    pub fn irq_count(&self, index: u32) -> Result<u32, ClientError> {
        let asked = IrqInfo {
            argsz: size_of::<IrqInfo>() as u32,
            index,
            ..IrqInfo::default()
        };
        let (info, _) = self.dialogue.get::<IrqInfo>(Command::DeviceGetIrqInfo, &asked)?;
        Ok(info.count)
    }

    /// Takes the first `count` interrupts of a type.
    pub fn take_irqs(&self, index: u32, count: u32) -> Result<Irqs, ClientError> {
        let found = if index < self.info.num_irqs {
            self.irq_count(index)?
        } else {
            0
        };
        if count > found {
            let expected = count;
            return Err(ClientError::NoInterrupt {
                index,
                expected,
                found,
            });
        }
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let events: Result<Vec<_>, _> = (0..count).map(|_| eventfd(0, flags)).collect();
        let irqs = Irqs {
            client: self.clone(),
            index,
            events: events.map_err(|error| ClientError::Resources(error.into()))?,
        };
        irqs.set(true)?;
        Ok(irqs)
    }
}

impl Irqs {
    /// The eventfd of an interrupt, for an event loop.
    pub fn event(&self, interrupt: u16) -> Option<BorrowedFd<'_>> {
        self.events.get(usize::from(interrupt)).map(AsFd::as_fd)
    }

    /// Waits until one of the interrupts is signalled; `false` if none is within `timeout`. Fails if the server is gone.
    pub fn wait(&self, timeout: Duration) -> Result<bool, ClientError> {
        let events: Vec<_> = self.events.iter().map(AsFd::as_fd).collect();
        let ready = readable(&events, Some(timeout)).map_err(SocketError::from)?;
        match ready.contains(&true) {
            false if self.client.dialogue.is_gone() => Err(ClientError::Gone(Command::DeviceSetIrqs)),
            signalled => Ok(signalled),
        }
    }

    /// Whether an interrupt was signalled since the last call.
    pub fn take(&self, interrupt: u16) -> bool {
        let event = self.events.get(usize::from(interrupt));
        event.is_some_and(|event| rustix::io::read(event, &mut [0; 8]).is_ok())
    }

    /// Unmasks INTx, which masks itself when it is signalled: it is signalled again if the function still asserts it.
    pub fn unmask(&self) -> Result<(), ClientError> {
        let set = IrqSet {
            argsz: size_of::<IrqSet>() as u32,
            flags: IrqSet::DATA_NONE | IrqSet::ACTION_UNMASK,
            index: self.index,
            start: 0,
            count: self.events.len() as u32,
        };
        self.client.dialogue.tell(Command::DeviceSetIrqs, &set)
    }

    /// Sets the eventfds, as many at a time as the server can take, or ends them.
    fn set(&self, on: bool) -> Result<(), ClientError> {
        let most = self.client.capabilities.max_msg_fds.clamp(1, 16) as usize;
        for (events, start) in self.events.chunks(most).zip((0..).step_by(most)) {
            let set = IrqSet {
                argsz: size_of::<IrqSet>() as u32,
                flags: IrqSet::DATA_EVENTFD | IrqSet::ACTION_TRIGGER,
                index: self.index,
                start,
                count: events.len() as u32,
            };
            let descriptors: Vec<_> = events.iter().filter(|_| on).map(AsFd::as_fd).collect();
            self.client
                .dialogue
                .ask(Command::DeviceSetIrqs, set.as_bytes(), &descriptors)?;
        }
        Ok(())
    }
}

impl Drop for Irqs {
    fn drop(&mut self) {
        if let Err(error) = self.set(false) {
            tracing::debug!(%error, "interrupts not ended");
        }
    }
}
