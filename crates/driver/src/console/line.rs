//! The two virtqueues of a port: bytes in, bytes out.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::iter;

use ringwright_memory::Buffer;
use ringwright_ring::{AddError, DriverQueue, Used};
use ringwright_spec::console::{receiveq, transmitq};

use super::broken;
use crate::init::Setup;
use crate::session::Session;
use crate::{DriverError, Transport};

/// Bytes of each buffer, in both directions.
pub(super) const BUFFER_BYTES: usize = 1024;

/// Buffers in each direction, if the virtqueues are large enough.
pub(super) const BUFFERS: u16 = 16;

/// The virtqueues of one port, and the buffers that go through them.
pub(super) struct Line {
    receiveq: u16,
    transmitq: u16,
    receive: DriverQueue<Buffer>,
    transmit: DriverQueue<Buffer>,
    /// Input that has arrived and is not read yet: buffer, bytes in it, bytes of them already read.
    input: VecDeque<(Buffer, usize, usize)>,
    /// Buffers for input that the device gets with the next publish.
    spent: Vec<Buffer>,
    /// Buffers for output.
    idle: Vec<Buffer>,
}

impl Line {
    /// Sets up the virtqueues of this port. The device has no buffers for input yet.
    pub fn new<T: Transport>(setup: &mut Setup<T>, port: u32) -> Result<Self, DriverError> {
        let (Some(receiveq), Some(transmitq)) = (receiveq(port), transmitq(port)) else {
            return Err(broken("it has more ports than virtqueues"));
        };
        let (receive, transmit) = (setup.queue(receiveq, 1)?, setup.queue(transmitq, 1)?);
        let session = setup.session();
        let idle = session.buffers(&transmit, 1, BUFFERS, BUFFER_BYTES)?;
        // drv:console:device-operation:01: these are device-writable only.
        let spent = session.buffers(&receive, 1, BUFFERS, BUFFER_BYTES)?;
        Ok(Self {
            receiveq,
            transmitq,
            receive,
            transmit,
            input: VecDeque::with_capacity(BUFFERS.into()),
            spent,
            idle,
        })
    }

    /// Makes the spent buffers available.
    pub fn post(&mut self) {
        post(&mut self.receive, &mut self.spent);
    }

    /// Shows the device the buffers for input that were made available.
    pub fn publish<T: Transport>(&mut self, session: &mut Session<T>) -> Result<(), DriverError> {
        session.publish(self.receiveq, &mut self.receive)
    }

    /// Moves input into the start of `into`; returns how many bytes.
    pub fn read<T: Transport>(
        &mut self,
        session: &mut Session<T>,
        into: &mut [u8],
    ) -> Result<usize, DriverError> {
        self.collect()?;
        let mut done = 0;
        while let Some((buffer, filled, read)) = self.input.front_mut()
            && done < into.len()
        {
            let length = (*filled - *read).min(into.len() - done);
            let within = buffer.read(*read, &mut into[done..done + length]);
            within.expect("a device cannot say it wrote more than the buffer holds: the ring refuses that");
            (*read, done) = (*read + length, done + length);
            if read == filled {
                self.spent
                    .extend(self.input.pop_front().map(|(buffer, ..)| buffer));
            }
        }
        self.post();
        self.publish(session)?;
        Ok(done)
    }

    /// Sends the start of `bytes`; returns how many.
    pub fn write<T: Transport>(
        &mut self,
        session: &mut Session<T>,
        bytes: &[u8],
    ) -> Result<usize, DriverError> {
        self.collect()?;
        let mut done = 0;
        while done < bytes.len()
            && let Some(buffer) = self.idle.pop()
        {
            let length = (bytes.len() - done).min(buffer.len());
            let whole = buffer.write(0, &bytes[done..done + length]);
            whole.expect("the length is within the buffer's");
            let Some(segment) = buffer.segment_at(0, length) else {
                break;
            };
            // drv:console:device-operation:02: device-readable only.
            match self.transmit.add(&[segment], &[], buffer) {
                Ok(_) => done += length,
                Err(AddError { data, .. }) => {
                    self.idle.push(data);
                    break;
                }
            }
        }
        session.publish(self.transmitq, &mut self.transmit)?;
        Ok(done)
    }

    /// Whether the device has taken all output.
    pub fn flushed(&mut self) -> Result<bool, DriverError> {
        self.collect()?;
        Ok(self.transmit.in_flight() == 0)
    }

    /// Asks for a notification of either virtqueue; whether there is something to do already.
    pub fn enable_notifications(&mut self) -> bool {
        let used = [&mut self.receive, &mut self.transmit].map(DriverQueue::enable_notifications);
        used.contains(&true) || !self.input.is_empty()
    }

    /// Forgets the input that is not read yet.
    pub fn discard(&mut self) {
        self.spent.extend(self.input.drain(..).map(|(buffer, ..)| buffer));
    }

    /// Takes what the device has used in both directions.
    fn collect(&mut self) -> Result<(), DriverError> {
        let Self {
            receive,
            transmit,
            input,
            spent,
            idle,
            ..
        } = self;
        transmit.take_used(u16::MAX, |used| idle.push(used.data))?;
        receive.take_used(u16::MAX, |Used { data, written }| match written {
            0 => spent.push(data),
            _ => input.push_back((data, written as usize, 0)),
        })?;
        Ok(())
    }
}

/// Puts `buffers` into `receive`, a virtqueue that the device writes to.
pub(super) fn post(receive: &mut DriverQueue<Buffer>, buffers: &mut Vec<Buffer>) {
    let chains = iter::from_fn(|| buffers.pop()).map(|buffer| ([], [buffer.segment()], buffer));
    // There are never more buffers than descriptors, so only a broken virtqueue refuses one, which says so when it is asked
    // for input.
    if let Err(AddError { data, .. }) = receive.add_all(chains) {
        buffers.push(data);
    }
}
