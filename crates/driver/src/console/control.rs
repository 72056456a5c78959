//! The control virtqueues (section 5.3.6.2): messages from the device, and to it.

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

use ringwright_memory::Buffer;
use ringwright_ring::{AddError, ByteOrder, DriverQueue};
use ringwright_spec::console::{CONTROL_RECEIVEQ, CONTROL_TRANSMITQ, Control as Message, Event};

use super::broken;
use super::line::post;
use crate::init::Setup;
use crate::session::Session;
use crate::{DriverError, Transport};

/// Most messages that wait, in each direction.
pub(super) const MESSAGES: u16 = 16;

/// Longest message of the device that is understood: what is longer is a name that nobody wants.
const LONGEST: usize = HEAD + 256;

/// What every message begins with.
const HEAD: usize = size_of::<Message>();

/// The talk with the device.
pub(super) struct Control {
    byte_order: ByteOrder,
    receive: DriverQueue<Buffer>,
    transmit: DriverQueue<Buffer>,
    /// Buffers for messages that the device gets with the next publish.
    spent: Vec<Buffer>,
    /// Buffers for messages to the device.
    idle: Vec<Buffer>,
    /// What the device is still to be told.
    unsaid: VecDeque<Said>,
}

/// What is said about a port.
#[derive(Clone, Copy)]
pub(super) struct Said {
    pub port: u32,
    pub event: Event,
    pub value: u16,
}

impl Control {
    /// Sets up the virtqueues; what is said first is that the driver is ready (`drv:console:multiport-device-operation:01`).
    pub fn new<T: Transport>(setup: &mut Setup<T>) -> Result<Self, DriverError> {
        let mut receive = setup.queue(CONTROL_RECEIVEQ, 1)?;
        let transmit = setup.queue(CONTROL_TRANSMITQ, 1)?;
        let session = setup.session();
        let idle = session.buffers(&transmit, 1, MESSAGES, HEAD)?;
        let mut spent = session.buffers(&receive, 1, MESSAGES, LONGEST)?;
        post(&mut receive, &mut spent);
        let ready = Said {
            port: 0,
            event: Event::DEVICE_READY,
            value: 1,
        };
        Ok(Self {
            byte_order: session.byte_order(),
            receive,
            transmit,
            spent,
            idle,
            unsaid: VecDeque::from([ready]),
        })
    }

    /// Whether one more message can wait.
    pub fn has_room(&self) -> bool {
        self.unsaid.len() < MESSAGES.into()
    }

    /// Says something as soon as the device takes it.
    pub fn say(&mut self, said: Said) {
        self.unsaid.push_back(said);
    }

    /// The next message of the device, and what follows its head.
    pub fn hear(&mut self) -> Result<Option<(Said, Vec<u8>)>, DriverError> {
        let Some(used) = self.receive.pop()? else {
            return Ok(None);
        };
        let mut bytes = vec![0; used.written as usize];
        let within = used.data.read(0, &mut bytes);
        within.expect("a device cannot say it wrote more than the buffer holds: the ring refuses that");
        self.spent.push(used.data);
        post(&mut self.receive, &mut self.spent);
        let Some((head, more)) = bytes.split_first_chunk::<HEAD>() else {
            return Err(broken("a control message is shorter than its head"));
        };
        let [a, b, c, d, e, f, g, h] = *head;
        let said = Said {
            port: self.byte_order.u32([a, b, c, d]),
            event: Event(self.byte_order.u16([e, f])),
            value: self.byte_order.u16([g, h]),
        };
        Ok(Some((said, more.to_vec())))
    }

    /// Shows the device what it is told, as much as fits, and the buffers for what it says.
    pub fn publish<T: Transport>(&mut self, session: &mut Session<T>) -> Result<(), DriverError> {
        let idle = &mut self.idle;
        self.transmit.take_used(u16::MAX, |used| idle.push(used.data))?;
        while let Some(said) = self.unsaid.front()
            && let Some(buffer) = self.idle.pop()
        {
            let order = self.byte_order;
            let ([a, b, c, d], [e, f]) = (order.bytes32(said.port), order.bytes16(said.event.0));
            let [g, h] = order.bytes16(said.value);
            let whole = buffer.write(0, &[a, b, c, d, e, f, g, h]);
            whole.expect("the buffer is as long as a message");
            match self.transmit.add(&[buffer.segment()], &[], buffer) {
                Ok(_) => self.unsaid.pop_front(),
                Err(AddError { data, .. }) => {
                    self.idle.push(data);
                    break;
                }
            };
        }
        session.publish(CONTROL_TRANSMITQ, &mut self.transmit)?;
        session.publish(CONTROL_RECEIVEQ, &mut self.receive)
    }

    /// Asks for a notification when the device says something, or takes what it is told while more waits. `true`: that has
    /// happened already.
    pub fn enable_notifications(&mut self) -> bool {
        let said = self.receive.enable_notifications();
        let taken = !self.unsaid.is_empty() && self.transmit.enable_notifications();
        said || taken
    }
}
