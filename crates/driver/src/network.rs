//! Network driver (section 5.1), one pair of virtqueues: Ethernet frames in, Ethernet frames out, neither waited for.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::iter;
use core::mem::offset_of;

use ringwright_memory::{Area, Buffer, DmaSegment};
use ringwright_ring::{AddError, DriverQueue, Used};
use ringwright_spec::network::config::Status;
use ringwright_spec::network::{Config, DEVICE, Hdr, features, receiveq, transmitq};
use ringwright_spec::{Features, feature};
use zerocopy::IntoBytes;

use crate::field::Field;
use crate::init::Setup;
use crate::session::Session;
use crate::{DriverError, Options, Transport};

/// Features of the device type that this driver understands.
const UNDERSTOOD: Features =
    Features(features::MAC.0 | features::STATUS.0 | features::MTU.0 | features::MRG_RXBUF.0);

/// Virtqueues of the first pair.
const RECEIVEQ: u16 = receiveq(0).unwrap();
const TRANSMITQ: u16 = transmitq(0).unwrap();

/// Link-layer header with one VLAN tag, which the MTU does not count.
const ETHERNET_HEADER: usize = 18;

/// The MTU where the device does not say; with the headers it gives the 1534 bytes that section 5.1.6.3 asks for,
/// and four for a VLAN tag.
const DEFAULT_MTU: u16 = 1504;

/// Frames that may be outstanding in each direction, if the virtqueues are large enough.
const BUFFERS: u16 = 256;

/// A network card.
pub struct Network<T: Transport> {
    session: Session<T>,
    receive: DriverQueue<Buffer>,
    transmit: DriverQueue<Buffer>,
    /// Used receive buffers whose frames were not asked for yet.
    arrived: VecDeque<Used<Buffer>>,
    /// Receive buffers that the device gets back with the next publish.
    spent: Vec<Buffer>,
    /// Transmit buffers.
    idle: Vec<Buffer>,
    framing: Framing,
    mac: Option<[u8; 6]>,
    mtu: u16,
}

/// How a frame lies in its buffer.
#[derive(Clone, Copy)]
struct Framing {
    /// Length of the header before each frame, in both directions.
    header: usize,
    /// Whether the header has a descriptor of its own (section 5.1.9.13).
    apart: bool,
}

/// What became of a frame given to [`Network::send`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The device has it, or will have it with the next [`Network::publish`].
    Queued,
    /// As many frames are outstanding as may be: try again later.
    Full,
    /// It is longer than the MTU allows (`drv:net:device-configuration-layout:08`).
    TooLong,
}

impl<T: Transport> Network<T> {
    /// Takes the device behind `transport`; its virtqueues and buffers lie in `area`.
    pub fn new(transport: T, area: &Arc<Area>, options: Options) -> Result<Self, DriverError> {
        let mut setup = Setup::begin(transport, area, &DEVICE, UNDERSTOOD, options)?;
        let session = setup.session();
        let mac = match session.has(features::MAC) {
            true => Some(session.config(offset_of!(Config, mac))?),
            false => None,
        };
        let mtu = match session.has(features::MTU) {
            true => session.config(offset_of!(Config, mtu))?,
            false => DEFAULT_MTU,
        };
        let framing = Framing::new(session.features());
        let each = framing.descriptors();
        let (mut receive, transmit) = (setup.queue(RECEIVEQ, each)?, setup.queue(TRANSMITQ, each)?);
        // drv:net:device-configuration-layout:07: each receive buffer holds a frame of the MTU.
        let length = framing.header + ETHERNET_HEADER + usize::from(mtu.max(DEFAULT_MTU));
        let session = setup.session();
        let idle = session.buffers(&transmit, each, BUFFERS, length)?;
        let mut spent = session.buffers(&receive, each, BUFFERS, length)?;
        let arrived = VecDeque::with_capacity(spent.len());
        framing.post(&mut receive, &mut spent);
        let mut session = setup.finish()?;
        session.publish(RECEIVEQ, &mut receive)?;
        Ok(Self {
            session,
            receive,
            transmit,
            arrived,
            spent,
            idle,
            framing,
            mac,
            mtu,
        })
    }

    /// The session with the device.
    pub fn session(&mut self) -> &mut Session<T> {
        &mut self.session
    }

    /// The MAC address, if the device has one; else the driver's user chooses a locally administered one.
    pub fn mac(&self) -> Option<[u8; 6]> {
        self.mac
    }

    /// Longest payload of a frame in bytes, without the Ethernet header.
    pub fn mtu(&self) -> u16 {
        self.mtu
    }

    /// Whether the link is up; always, if the device does not say.
    pub fn link_up(&mut self) -> Result<bool, DriverError> {
        if !self.session.has(features::STATUS) {
            return Ok(true);
        }
        let status = Status(self.session.config(offset_of!(Config, status))?);
        Ok(status.contains(Status::LINK_UP))
    }

    /// Copies the next frame that has arrived to the start of `frame`; returns its length, of which what does not fit
    /// is lost. `None` if none has arrived.
    pub fn receive(&mut self, frame: &mut [u8]) -> Result<Option<usize>, DriverError> {
        let Some(Used {
            data: buffer,
            written,
        }) = self.next_arrived()?
        else {
            return Ok(None);
        };
        let framing = self.framing;
        let mut header = Hdr::default();
        let held = (written as usize)
            .checked_sub(framing.header)
            .ok_or(broken("a frame is shorter than its header"))?;
        read(&buffer, 0, &mut header.as_mut_bytes()[..framing.header]);
        let count = if self.session.has(features::MRG_RXBUF) {
            u16::from_ne_bytes(header.num_buffers.to_bytes()).in_order(self.session.byte_order())
        } else {
            1
        };
        if count == 0 {
            return Err(broken("num_buffers of a frame is 0"));
        }
        let mut length = copy(&buffer, framing.header, held, frame);
        self.spent.push(buffer);
        for _ in 1..count {
            // dev:net:processing-of-incoming-packets:04: all buffers of a frame are used together.
            let next = self
                .next_arrived()?
                .ok_or(broken("fewer buffers are used than num_buffers says"))?;
            let rest = frame.get_mut(length..).unwrap_or_default();
            length += copy(&next.data, 0, next.written as usize, rest);
            self.spent.push(next.data);
        }
        Ok(Some(length))
    }

    /// The next used receive buffer; all there are come out of the virtqueue together.
    fn next_arrived(&mut self) -> Result<Option<Used<Buffer>>, DriverError> {
        if self.arrived.is_empty() {
            let arrived = &mut self.arrived;
            let taken = self.receive.take_used(u16::MAX, |used| arrived.push_back(used));
            // What came before an error is good, and the error comes again.
            if self.arrived.is_empty() {
                taken?;
            }
        }
        Ok(self.arrived.pop_front())
    }

    /// Queues `frame` for transmission; [`publish`](Self::publish) shows it to the device.
    pub fn send(&mut self, frame: &[u8]) -> Result<Sent, DriverError> {
        if frame.len() > usize::from(self.mtu) + ETHERNET_HEADER {
            return Ok(Sent::TooLong);
        }
        let idle = &mut self.idle;
        self.transmit.take_used(u16::MAX, |used| idle.push(used.data))?;
        let Some(buffer) = self.idle.pop() else {
            return Ok(Sent::Full);
        };
        // Without offloads every field is 0: drv:net:packet-transmission:02, :03 and :21.
        let Framing { header, .. } = self.framing;
        write(&buffer, 0, &Hdr::default().as_bytes()[..header]);
        write(&buffer, header, frame);
        let segments = self.framing.segments(&buffer, header + frame.len());
        match self.transmit.add(segments.as_ref(), &[], buffer) {
            Ok(_) => Ok(Sent::Queued),
            Err(AddError { data, .. }) => {
                self.idle.push(data);
                Ok(Sent::Full)
            }
        }
    }

    /// Shows the device the frames queued for transmission and the buffers that wait for frames.
    pub fn publish(&mut self) -> Result<(), DriverError> {
        self.framing.post(&mut self.receive, &mut self.spent);
        self.session.publish(TRANSMITQ, &mut self.transmit)?;
        self.session.publish(RECEIVEQ, &mut self.receive)
    }

    /// Asks for a notification when a frame arrives, before waiting for one. `true`: one has arrived already.
    pub fn enable_notifications(&mut self) -> bool {
        self.receive.enable_notifications() || !self.arrived.is_empty()
    }

    /// Asks for a notification when the device has sent frames, before waiting because of [`Sent::Full`]. `true`: it has
    /// sent some already.
    pub fn enable_send_notifications(&mut self) -> bool {
        self.transmit.enable_notifications()
    }
}

impl Framing {
    fn new(features: Features) -> Self {
        Self {
            header: Hdr::size(features),
            apart: !features.intersects(feature::VERSION_1 | feature::ANY_LAYOUT),
        }
    }

    /// Descriptors of each buffer.
    fn descriptors(self) -> u16 {
        1 + u16::from(self.apart)
    }

    /// The first `length` bytes of `buffer`, which include the header.
    fn segments(self, buffer: &Buffer, length: usize) -> Elements {
        let segment = |offset, length| buffer.segment_at(offset, length).expect(FITS);
        match self.apart && length > self.header {
            false => Elements::One([segment(0, length)]),
            true => Elements::Two([
                segment(0, self.header),
                segment(self.header, length - self.header),
            ]),
        }
    }

    /// Puts `buffers` into `receive`, the receive virtqueue.
    fn post(self, receive: &mut DriverQueue<Buffer>, buffers: &mut Vec<Buffer>) {
        let chains = iter::from_fn(|| buffers.pop()).map(|buffer| {
            let segments = self.segments(&buffer, buffer.len());
            ([], segments, buffer)
        });
        // There are never more buffers than there is room for, so only a broken virtqueue refuses one, which says so when
        // it is asked for frames.
        if let Err(AddError { data, .. }) = receive.add_all(chains) {
            buffers.push(data);
        }
    }
}

/// The elements of a frame's buffer.
enum Elements {
    One([DmaSegment; 1]),
    Two([DmaSegment; 2]),
}

impl AsRef<[DmaSegment]> for Elements {
    fn as_ref(&self) -> &[DmaSegment] {
        match self {
            Self::One(elements) => elements,
            Self::Two(elements) => elements,
        }
    }
}

/// Every buffer is allocated for the longest frame, and the ring refuses a longer one.
const FITS: &str = "the length of a frame is within that of its buffer";

/// Copies `length` bytes from `offset` of `buffer` to the start of `into`, as far as they fit; returns `length`.
fn copy(buffer: &Buffer, offset: usize, length: usize, into: &mut [u8]) -> usize {
    let fits = length.min(into.len());
    read(buffer, offset, &mut into[..fits]);
    length
}

fn read(buffer: &Buffer, offset: usize, into: &mut [u8]) {
    buffer.read(offset, into).expect(FITS);
}

fn write(buffer: &Buffer, offset: usize, from: &[u8]) {
    buffer.write(offset, from).expect(FITS);
}

fn broken(what: &'static str) -> DriverError {
    DriverError::Device {
        device: "network",
        what,
    }
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
