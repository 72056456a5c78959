//! A pair of virtqueues: frames in, frames out.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::iter;

use ringwright_memory::{Buffer, DmaSegment};
use ringwright_ring::{AddError, ByteOrder, DriverQueue, Used};
use ringwright_spec::network::hash::HashReport;
use ringwright_spec::network::{Hdr, features, receiveq, transmitq};
use ringwright_spec::{Features, feature};
use zerocopy::IntoBytes;

use super::arrival::{Arrival, Checksum};
use super::offload::{self, Offload, Partial};
use super::scaling::Hash;
use super::{BUFFERS, ETHERNET_HEADER, broken};
use crate::field::Field;
use crate::init::Setup;
use crate::session::Session;
use crate::{DriverError, Transport};

/// A pair of virtqueues of a network card. [`Network::publish`](super::Network::publish) shows the device what was done
/// with it.
pub struct Pair {
    /// Indices of receiveq and transmitq.
    indices: [u16; 2],
    receive: DriverQueue<Buffer>,
    transmit: DriverQueue<Buffer>,
    /// Used receive buffers whose frames were not asked for yet.
    arrived: VecDeque<Used<Buffer>>,
    /// Receive buffers that the device gets back with the next publish.
    spent: Vec<Buffer>,
    /// Transmit buffers, and those for frames that are longer than the MTU.
    idle: Vec<Buffer>,
    large: Vec<Buffer>,
    framing: Framing,
    /// That of the packet received last.
    hash: Option<Hash>,
    /// Longest frame that may be sent as it is.
    longest: usize,
    /// Whether frames may be sent by it.
    pub(super) enabled: bool,
}

/// How a frame lies in its buffer.
#[derive(Clone, Copy)]
pub(super) struct Framing {
    /// Length of the header before each frame, in both directions.
    header: usize,
    /// Whether the header has a descriptor of its own (section 5.1.9.13).
    apart: bool,
    /// The features that were negotiated.
    features: Features,
    /// Byte order of the header.
    order: ByteOrder,
}

/// Frames longer than the MTU that may be outstanding.
const LARGE_BUFFERS: u16 = 8;

/// The longest frame for which a buffer is no large one: that of the greatest MTU.
const LARGEST_REGULAR: usize = ETHERNET_HEADER + 0xffff;

/// What became of a frame given to [`Pair::send`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The device has it, or will have it with the next [`Network::publish`](super::Network::publish).
    Queued,
    /// As many frames are outstanding as may be: try again later.
    Full,
    /// It is longer than the MTU allows (`drv:net:device-configuration-layout:08`).
    TooLong,
    /// The device has not been told to use this pair
    /// (`drv:net:automatic-receive-steering-in-multiqueue-mode:03`).
    Disabled,
    /// The device cannot do with it what was left to it.
    Unsuitable,
}

impl Pair {
    /// Sets up the pair of this number, counted from 0, for frames with `mtu` bytes of payload to send and `room` to
    /// receive.
    pub(super) fn new<T: Transport>(
        setup: &mut Setup<T>,
        number: u16,
        framing: Framing,
        mtu: u16,
        room: u16,
    ) -> Result<Self, DriverError> {
        let indices = receiveq(number).zip(transmitq(number));
        let (receiveq, transmitq) =
            indices.ok_or(broken("there are more pairs of virtqueues than indices"))?;
        let each = framing.descriptors();
        let (mut receive, transmit) = (setup.queue(receiveq, each)?, setup.queue(transmitq, each)?);
        let length = |payload: u16| framing.header + ETHERNET_HEADER + usize::from(payload);
        let session = setup.session();
        let idle = session.buffers(&transmit, each, BUFFERS, length(room))?;
        let large = match framing.features.intersects(offload::SEGMENTATION) {
            true => {
                let longest = framing.header + ETHERNET_HEADER + offload::LONGEST;
                session.buffers(&transmit, each, LARGE_BUFFERS, longest)?
            }
            false => Vec::new(),
        };
        let mut spent = session.buffers(&receive, each, BUFFERS, length(room))?;
        let arrived = VecDeque::with_capacity(spent.len());
        framing.post(&mut receive, &mut spent);
        Ok(Self {
            indices: [receiveq, transmitq],
            receive,
            transmit,
            arrived,
            spent,
            idle,
            large,
            framing,
            hash: None,
            longest: usize::from(mtu) + ETHERNET_HEADER,
            enabled: number == 0,
        })
    }

    /// Copies the next frame that has arrived to the start of `frame`; returns its length, of which what does not fit
    /// is lost. `None` if none has arrived.
    pub fn receive(&mut self, frame: &mut [u8]) -> Result<Option<usize>, DriverError> {
        let arrival = self.receive_incomplete(frame)?;
        Ok(arrival.map(|arrival| arrival.length))
    }

    /// The same, with what is left to do with the frame, which is nothing unless the user wants
    /// [that](super::Extras::incomplete). Frames of which the device says what cannot be are dropped.
    pub fn receive_incomplete(&mut self, frame: &mut [u8]) -> Result<Option<Arrival>, DriverError> {
        let Framing { features, order, .. } = self.framing;
        while let Some(first) = self.next_arrived()? {
            let (header, length) = self.take(first, frame)?;
            if !features.contains(features::GUEST_CSUM) {
                return Ok(Some(Arrival {
                    length,
                    checksum: Checksum::Unknown,
                    segments: None,
                }));
            }
            let arrival = Arrival::of(&header, order, features, length);
            if arrival.is_some() {
                return Ok(arrival);
            }
        }
        Ok(None)
    }

    /// Copies the frame that begins in the buffer of `first`; returns its header and its length.
    fn take(&mut self, first: Used<Buffer>, frame: &mut [u8]) -> Result<(Hdr, usize), DriverError> {
        let Used {
            data: buffer,
            written,
        } = first;
        let framing = self.framing;
        let mut header = Hdr::default();
        let held = (written as usize)
            .checked_sub(framing.header)
            .ok_or(broken("a frame is shorter than its header"))?;
        read(&buffer, 0, &mut header.as_mut_bytes()[..framing.header]);
        let count = match framing.features.contains(features::MRG_RXBUF) {
            true => u16::from_ne_bytes(header.num_buffers.to_bytes()).in_order(framing.order),
            false => 1,
        };
        if count == 0 {
            return Err(broken("num_buffers of a frame is 0"));
        }
        let report = HashReport(header.hash_report.get());
        let is_reported = framing.features.contains(features::HASH_REPORT);
        self.hash = (is_reported && report != HashReport::NONE).then(|| Hash {
            value: header.hash_value.get(),
            of: report,
        });
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
        Ok((header, length))
    }

    /// The hash of the frame that was received last, if the device has reported one: see
    /// [`Extras::hashes`](super::Extras::hashes).
    pub fn hash(&self) -> Option<Hash> {
        self.hash
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

    /// Queues `frame` for transmission; [`Network::publish`](super::Network::publish) shows it to the device.
    pub fn send(&mut self, frame: &[u8]) -> Result<Sent, DriverError> {
        if !self.enabled {
            return Ok(Sent::Disabled);
        }
        if frame.len() > self.longest {
            return Ok(Sent::TooLong);
        }
        // Nothing is left to the device: drv:net:packet-transmission:02, :03 and :21.
        let mut header = Hdr::default();
        if self.framing.features.intersects(offload::SEGMENTATION) {
            // drv:net:packet-transmission:24: no header is longer than its frame.
            header.hdr_len.set(u16::try_from(frame.len()).unwrap_or(u16::MAX));
        }
        self.queue(frame, &header, None)
    }

    /// The same with a frame of which something is left to the device: [`Sent::Unsuitable`] if it cannot be.
    pub fn send_partial(&mut self, frame: &[u8], offload: Offload) -> Result<Sent, DriverError> {
        if !self.enabled {
            return Ok(Sent::Disabled);
        }
        let Some(partial) = offload::partial(frame, offload, self.framing.features) else {
            return Ok(Sent::Unsuitable);
        };
        // drv:net:device-configuration-layout:08
        if frame.len() > self.longest && partial.header.gso_type == 0 {
            return Ok(Sent::TooLong);
        }
        self.queue(frame, &partial.header, Some(&partial))
    }

    /// Queues `frame` behind `header`.
    fn queue(&mut self, frame: &[u8], header: &Hdr, partial: Option<&Partial>) -> Result<Sent, DriverError> {
        let Framing { header: before, .. } = self.framing;
        let (idle, large) = (&mut self.idle, &mut self.large);
        self.transmit.take_used(u16::MAX, |used| {
            match used.data.len() > before + LARGEST_REGULAR {
                true => large.push(used.data),
                false => idle.push(used.data),
            }
        })?;
        let pool = match frame.len() > self.longest {
            true => large,
            false => idle,
        };
        let Some(buffer) = pool.pop() else {
            return Ok(Sent::Full);
        };
        write(&buffer, 0, &header.as_bytes()[..before]);
        write(&buffer, before, frame);
        for seed in partial.into_iter().flat_map(|partial| &partial.seeds).flatten() {
            write(&buffer, before + seed.field, &seed.sum.to_be_bytes());
        }
        let segments = self.framing.segments(&buffer, before + frame.len());
        match self.transmit.add(segments.as_ref(), &[], buffer) {
            Ok(_) => Ok(Sent::Queued),
            Err(AddError { data, .. }) => {
                pool.push(data);
                Ok(Sent::Full)
            }
        }
    }

    /// Shows the device the frames queued for transmission and the buffers that wait for frames.
    pub(super) fn publish<T: Transport>(&mut self, session: &mut Session<T>) -> Result<(), DriverError> {
        let [receiveq, transmitq] = self.indices;
        self.framing.post(&mut self.receive, &mut self.spent);
        session.publish(transmitq, &mut self.transmit)?;
        session.publish(receiveq, &mut self.receive)
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
    pub fn new(features: Features, order: ByteOrder) -> Self {
        Self {
            header: Hdr::size(features),
            apart: !features.intersects(feature::VERSION_1 | feature::ANY_LAYOUT),
            features,
            order,
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
