//! Console driver (section 5.3), one port: bytes in, bytes out, neither ever waited for.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::iter;
use core::mem::offset_of;

use ringwright_memory::{Area, Buffer, Width};
use ringwright_ring::{AddError, ByteOrder, DriverQueue, Used};
use ringwright_spec::Features;
use ringwright_spec::console::{Config, DEVICE, features, receiveq, transmitq};

use crate::field::Field;
use crate::init::Setup;
use crate::session::Session;
use crate::{DriverError, Options, Transport};

/// Features of the device type that this driver understands.
const UNDERSTOOD: Features = Features(features::SIZE.0 | features::EMERG_WRITE.0);

/// Bytes of each buffer, in both directions.
const BUFFER_BYTES: usize = 1024;

/// Buffers in each direction, if the virtqueues are large enough.
const BUFFERS: u16 = 16;

/// Virtqueues of port 0.
const RECEIVEQ: u16 = receiveq(0).unwrap();
const TRANSMITQ: u16 = transmitq(0).unwrap();

/// Port 0 of a console.
pub struct Console<T: Transport> {
    session: Session<T>,
    receive: DriverQueue<Buffer>,
    transmit: DriverQueue<Buffer>,
    /// Input that has arrived and is not read yet: buffer, bytes in it, bytes of them already read.
    input: VecDeque<(Buffer, usize, usize)>,
    /// Buffers for input that the device gets back with the next publish.
    spent: Vec<Buffer>,
    /// Buffers for output.
    idle: Vec<Buffer>,
}

/// Size of a console, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Width.
    pub columns: u16,
    /// Height.
    pub rows: u16,
}

impl<T: Transport> Console<T> {
    /// Takes the device behind `transport`; its virtqueues and buffers lie in `area`.
    pub fn new(transport: T, area: &Arc<Area>, options: Options) -> Result<Self, DriverError> {
        let mut setup = Setup::begin(transport, area, &DEVICE, UNDERSTOOD, options)?;
        let (mut receive, transmit) = (setup.queue(RECEIVEQ, 1)?, setup.queue(TRANSMITQ, 1)?);
        let session = setup.session();
        let idle = session.buffers(&transmit, 1, BUFFERS, BUFFER_BYTES)?;
        // drv:console:device-operation:01: these are device-writable only.
        let mut spent = session.buffers(&receive, 1, BUFFERS, BUFFER_BYTES)?;
        post(&mut receive, &mut spent);
        let mut session = setup.finish()?;
        session.publish(RECEIVEQ, &mut receive)?;
        let input = VecDeque::with_capacity(BUFFERS.into());
        Ok(Self {
            session,
            receive,
            transmit,
            input,
            spent,
            idle,
        })
    }

    /// The session with the device.
    pub fn session(&mut self) -> &mut Session<T> {
        &mut self.session
    }

    /// Size of the console, if the device says. It can change: look again when the device notifies of a change of its
    /// configuration.
    pub fn size(&mut self) -> Result<Option<Size>, DriverError> {
        if !self.session.has(features::SIZE) {
            return Ok(None);
        }
        // Both at once, so that they belong together.
        let [columns, rows] = self.session.config(offset_of!(Config, cols))?;
        Ok(Some(Size { columns, rows }))
    }

    /// Moves input into the start of `into`; returns how many bytes, 0 if there are none yet.
    pub fn read(&mut self, into: &mut [u8]) -> Result<usize, DriverError> {
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
        post(&mut self.receive, &mut self.spent);
        self.session.publish(RECEIVEQ, &mut self.receive)?;
        Ok(done)
    }

    /// Sends the start of `bytes`; returns how many, fewer than given while the device does not keep up.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, DriverError> {
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
            match self.transmit.add(&[segment], &[], buffer) {
                Ok(_) => done += length,
                Err(AddError { data, .. }) => {
                    self.idle.push(data);
                    break;
                }
            }
        }
        self.session.publish(TRANSMITQ, &mut self.transmit)?;
        Ok(done)
    }

    /// Whether the device has taken all output. Whoever waits for that asks once more between
    /// [`enable_notifications`](Self::enable_notifications) and waiting, because `read` and `write` notice it, too, and no
    /// notification comes then.
    pub fn flushed(&mut self) -> Result<bool, DriverError> {
        self.collect()?;
        Ok(self.transmit.in_flight() == 0)
    }

    /// Asks for a notification when input arrives or output has been taken, before waiting for one. `true`: that has
    /// happened already, so read and write instead of waiting.
    pub fn enable_notifications(&mut self) -> bool {
        let used = [&mut self.receive, &mut self.transmit].map(DriverQueue::enable_notifications);
        used.contains(&true) || !self.input.is_empty()
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

/// Puts `buffers` into `receive`, the receive virtqueue.
fn post(receive: &mut DriverQueue<Buffer>, buffers: &mut Vec<Buffer>) {
    let chains = iter::from_fn(|| buffers.pop()).map(|buffer| ([], [buffer.segment()], buffer));
    // There are never more buffers than descriptors, so only a broken virtqueue refuses one, which says so when it is asked
    // for input.
    if let Err(AddError { data, .. }) = receive.add_all(chains) {
        buffers.push(data);
    }
}

/// Writes one character through the configuration space, which works before and without any initialization
/// (section 5.3.5); `false` if the device does not offer it.
pub fn emergency_write(transport: &mut impl Transport, character: u8) -> Result<bool, DriverError> {
    let offered = transport.device_features()?.contains(features::EMERG_WRITE);
    if offered {
        let order = transport
            .legacy()
            .map_or(ByteOrder::Little, |legacy| legacy.byte_order);
        let value = u32::from(character).in_order(order).to_ne_bytes();
        transport.write_config(offset_of!(Config, emerg_wr), Width::Four, &value)?;
    }
    Ok(offered)
}

#[cfg(test)]
#[path = "console_tests.rs"]
mod tests;
