//! DEVICE_SET_IRQS.

use std::os::fd::OwnedFd;

use ringwright_device::EventNotify;

use super::ServerError;
use super::connection::{Answer, Connection, prefix};
use crate::message::{Command, IrqInfo, IrqSet};
use crate::socket::Message;

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Mask,
    Unmask,
    Trigger,
}

impl Connection<'_> {
    pub(super) fn set_irqs(&mut self, mut message: Message) -> Result<Answer, ServerError> {
        let command = Command::DeviceSetIrqs;
        let value = |field, found: u32| ServerError::Value {
            command,
            field,
            found: found.into(),
        };
        let descriptors = std::mem::take(&mut message.descriptors);
        let (set, data) = prefix::<IrqSet>(command, &message)?;
        let IrqSet {
            flags,
            index,
            start,
            count,
            ..
        } = set;
        let data_flags = IrqSet::DATA_NONE | IrqSet::DATA_BOOL | IrqSet::DATA_EVENTFD;
        let action = match flags & !data_flags {
            IrqSet::ACTION_MASK => Action::Mask,
            IrqSet::ACTION_UNMASK => Action::Unmask,
            IrqSet::ACTION_TRIGGER => Action::Trigger,
            _ => return Err(value("flags", flags)),
        };
        let end = start
            .checked_add(count)
            .filter(|end| *end <= self.irq_count(index));
        if end.is_none() {
            return Err(ServerError::NoInterrupt { index, start, count });
        }
        let data_kind = flags & data_flags;
        let (bytes, most) = match data_kind {
            IrqSet::DATA_NONE => (0, 0),
            IrqSet::DATA_BOOL => (count as usize, 0),
            IrqSet::DATA_EVENTFD => (0, count as usize),
            _ => return Err(value("flags", flags)),
        };
        if data.len() != bytes {
            return Err(ServerError::PayloadSize {
                command,
                expected: size_of::<IrqSet>() + bytes,
                found: message.payload.len(),
            });
        }
        let found = descriptors.len();
        if found != 0 && found != most {
            return Err(ServerError::DescriptorCount { command, most, found });
        }
        // Vectors are counted with 16 bits, and there are no more than that.
        let range = start as u16..(start + count) as u16;
        match data_kind {
            IrqSet::DATA_EVENTFD => self.set_events(action, index, range, descriptors)?,
            IrqSet::DATA_NONE if count == 0 && action == Action::Trigger => self.disable_irqs(index)?,
            IrqSet::DATA_NONE => range.for_each(|vector| self.act(action, index, vector)),
            _ => {
                let chosen = range.zip(data).filter(|(_, chosen)| **chosen != 0);
                chosen.for_each(|(vector, _)| self.act(action, index, vector));
            }
        }
        Ok(Answer::default())
    }

    /// Each interrupt of the range gets its descriptor, or none has one any more.
    fn set_events(
        &mut self,
        action: Action,
        index: u32,
        range: std::ops::Range<u16>,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), ServerError> {
        match (action, index) {
            // The descriptor that says that INTx is unmasked is the client's to write: a kernel does when the guest has
            // handled the interrupt.
            (Action::Unmask, IrqInfo::INTX) => {
                self.unmask = descriptors.into_iter().next();
                if let Some(unmask) = &self.unmask {
                    rustix::io::ioctl_fionbio(unmask, true)
                        .map_err(|error| ServerError::Event(error.into()))?;
                }
                Ok(())
            }
            (Action::Trigger, _) => {
                let events = descriptors.into_iter().map(EventNotify::new);
                let mut events = events
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(ServerError::Event)?
                    .into_iter();
                for vector in range {
                    match index {
                        IrqInfo::INTX => self.interrupts.set_intx_event(events.next()),
                        _ => self.interrupts.set_msix_event(vector, events.next()),
                    }
                }
                Ok(())
            }
            _ => Err(ServerError::Value {
                command: Command::DeviceSetIrqs,
                field: "flags with descriptors that nobody signals: index",
                found: index.into(),
            }),
        }
    }

    /// Ends all interrupts of a type.
    fn disable_irqs(&mut self, index: u32) -> Result<(), ServerError> {
        let all = 0..self.irq_count(index) as u16;
        if index == IrqInfo::INTX {
            self.unmask = None;
        }
        self.set_events(Action::Trigger, index, all, Vec::new())
    }

    fn act(&self, action: Action, index: u32, vector: u16) {
        match (action, index) {
            (Action::Trigger, IrqInfo::INTX) => self.interrupts.trigger_intx(),
            (Action::Trigger, _) => self.interrupts.message(vector),
            (_, IrqInfo::INTX) => self.interrupts.mask_intx(action == Action::Mask),
            _ => self.interrupts.mask_msix(vector, action == Action::Mask),
        }
    }
}
