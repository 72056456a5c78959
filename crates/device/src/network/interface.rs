//! The data side of a network interface: frames from and to the backend, and commands (section 5.1.9).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ringwright_memory::Slices;
use ringwright_ring::{ByteOrder, Token};
use ringwright_spec::data::Le16;
use ringwright_spec::network::header::GsoType;
use ringwright_spec::network::{Hdr, features};
use ringwright_spec::{Features, feature};
use zerocopy::IntoBytes;

use super::Shared;
use super::backend::{Backend, MAX_FRAME, RETRY};
use super::control::Control;
use super::numbering::{Numbering, Role};
use super::statistics::Statistics;
use super::steering::Steering;
use crate::{Context, DeviceError, Interest, Loan, Outlet, Session, Source, Virtqueue, Worker};

/// Most frames taken from the backend in one callback.
const SHARE: usize = 64;

/// Most buffers of the driver that one frame is spread over.
const MAX_BUFFERS: usize = 64;

/// With any of these the driver may have several pairs of virtqueues.
const SPREADING: Features = features::MQ.union(features::RSS);

/// Offset of `gso_type` in the header.
const GSO_TYPE: usize = std::mem::offset_of!(Hdr, gso_type);

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
/// Bytes of an Ethernet header with a VLAN tag.
const ETHERNET_WITH_TAG: usize = 18;

/// The timer that has the rest of the frames looked at that nobody waits for.
const AGAIN: u64 = 1;

/// Moves frames between pairs of queues and the backend, in both directions only as fast as the receiver takes them; and does
/// what the driver says by one more.
pub(super) struct Interface {
    backend: Loan<Box<dyn Backend>>,
    shared: Arc<Shared>,
    outlet: Outlet,
    /// The negotiated MTU.
    mtu: Option<u16>,
    numbering: Numbering,
    control: Control,
    steering: Steering,
    statistics: Statistics,
    /// The driver is asked to announce itself as soon as it can hear that.
    announces: bool,
    format: Format,
    /// There are buffers for frames, but no frame yet.
    wants_receive: bool,
    /// By pair: there are frames that the backend does not take yet.
    wants_transmit: Vec<bool>,
    /// Frames have to be dropped while none can be received (dev:net:automatic-receive-steering-in-multiqueue-mode:04).
    drops_homeless: bool,
    /// The buffers of the frame in hand.
    tokens: Vec<Token>,
}

/// How frames lie in buffers.
#[derive(Clone, Copy)]
struct Format {
    /// Frames may be spread over several buffers.
    mergeable: bool,
    header_size: usize,
    /// Of the integers of a frame's header.
    byte_order: ByteOrder,
}

/// What became of a frame for the driver.
enum Placed {
    /// It is in the driver's buffers.
    Yes,
    /// There is no buffer, or no more for this callback.
    Later,
    /// It does not fit the buffers there are.
    Never,
}

impl Interface {
    pub fn new(
        backend: Loan<Box<dyn Backend>>,
        shared: Arc<Shared>,
        mtu: Option<u16>,
        numbering: Numbering,
        session: &Session,
    ) -> Self {
        let features = session.features;
        // Only those that know of it are asked.
        let asked = shared
            .announce
            .fetch_and(features.contains(features::GUEST_ANNOUNCE), Ordering::Relaxed);
        let spreading = shared.spreading().clone();
        Self {
            backend,
            numbering,
            control: Control::new(&shared, session),
            steering: Steering::new(features, numbering.pairs, spreading),
            statistics: Statistics::new(numbering),
            announces: asked && features.contains(features::GUEST_ANNOUNCE),
            shared,
            outlet: session.outlet.clone(),
            mtu,
            format: Format {
                mergeable: features.contains(features::MRG_RXBUF),
                header_size: Hdr::size(features),
                byte_order: session.byte_order,
            },
            wants_receive: false,
            wants_transmit: vec![false; numbering.pairs.into()],
            drops_homeless: features.contains(feature::RING_RESET) && features.intersects(SPREADING),
            tokens: Vec::with_capacity(MAX_BUFFERS),
        }
    }

    /// Frames for which the driver has no buffer stay where they come from.
    fn receive(&mut self, context: &mut Context) {
        self.wants_receive = false;
        for _ in 0..SHARE {
            if self.steering.is_closed() && !self.drops_homeless {
                return;
            }
            let Some(frame) = self.backend.frame() else {
                self.wants_receive = true;
                return;
            };
            if self.control.passes(frame, &self.shared) {
                let pair = self.steering.destination(frame);
                let queue = pair.and_then(|pair| context.queue(Numbering::receive(pair)));
                let placed = match queue {
                    Some(queue) if frame.len() >= ETHERNET && !exceeds(frame, self.mtu) => {
                        place(queue, frame, self.format, &mut self.tokens)
                    }
                    _ => Placed::Never,
                };
                let statistics = self.statistics.received(pair.unwrap_or_default());
                match placed {
                    Placed::Yes => statistics.passed(frame.len()),
                    Placed::Later => return,
                    Placed::Never => {
                        statistics.dropped();
                        count(&self.shared.dropped_receive);
                    }
                }
            }
            self.backend.consume();
        }
        context.set_timer(AGAIN, Instant::now());
    }

    fn transmit(&mut self, context: &mut Context, pair: u16) {
        let Some(queue) = context.queue(Numbering::transmit(pair)) else {
            return;
        };
        let (statistics, mut waits) = (self.statistics.sent(pair), false);
        while !waits && let Some(chain) = queue.pop() {
            match frame(chain.readable(), self.format.header_size) {
                Some(frame) if self.backend.connected() => {
                    waits = !self.backend.send(frame);
                    if !waits {
                        statistics.passed(frame.len());
                        self.steering.sent(frame, pair);
                    }
                }
                frame => {
                    match frame {
                        Some(_) => statistics.dropped(),
                        None => statistics.malformed(),
                    }
                    count(&self.shared.dropped_transmit);
                }
            }
            let token = chain.into_token();
            match waits {
                true => queue.push_back(token),
                false => queue.complete(token, 0),
            }
        }
        self.set_wants_transmit(pair, waits);
        self.backend.flush();
    }

    fn execute(&mut self, context: &mut Context) {
        for pair in 0..self.numbering.pairs {
            for (index, counters) in [Numbering::receive(pair), Numbering::transmit(pair)]
                .into_iter()
                .zip(self.statistics.queues(pair))
            {
                if let Some(queue) = context.queue(index) {
                    *counters = queue.counters();
                }
            }
        }
        let Some(queue) = context.queue(self.numbering.control()) else {
            return;
        };
        while let Some(chain) = queue.pop() {
            let (command, answer) = (chain.readable(), chain.writable());
            let written = self.control.execute(
                command,
                answer,
                &self.shared,
                &mut self.steering,
                &mut self.statistics,
            );
            let token = chain.into_token();
            queue.complete(token, written);
        }
    }

    fn set_wants_transmit(&mut self, pair: u16, wants: bool) {
        if let Some(place) = self.wants_transmit.get_mut(usize::from(pair)) {
            *place = wants;
        }
    }

    /// What follows every callback: the link may have changed, and so what is waited for.
    fn settle(&mut self, context: &mut Context) -> Result<(), DeviceError> {
        let connected = self.backend.connected();
        if self.shared.link_up.swap(connected, Ordering::Relaxed) != connected {
            tracing::info!(connected, "network link");
            self.outlet.config_changed();
        }
        let wants_transmit = self.wants_transmit.contains(&true);
        self.backend
            .watch(context, Interest::of(self.wants_receive, wants_transmit))
    }
}

impl Worker for Interface {
    fn start(&mut self, context: &mut Context) -> Result<(), DeviceError> {
        if std::mem::take(&mut self.announces) {
            self.outlet.config_changed();
        }
        self.settle(context)
    }

    fn queue_ready(&mut self, context: &mut Context, queue: u16) -> Result<(), DeviceError> {
        match self.numbering.role(queue) {
            Some(Role::Receive(pair)) => {
                self.steering.set_running(pair, true);
                self.receive(context);
            }
            Some(Role::Transmit(pair)) => self.transmit(context, pair),
            Some(Role::Control) => self.execute(context),
            None => {}
        }
        self.settle(context)
    }

    fn source_ready(&mut self, context: &mut Context, _source: Source) -> Result<(), DeviceError> {
        self.backend.ready();
        if self.wants_receive {
            self.receive(context);
        }
        for pair in 0..self.numbering.pairs {
            if self.wants_transmit.get(usize::from(pair)) == Some(&true) {
                self.transmit(context, pair);
            }
        }
        self.settle(context)
    }

    fn timer(&mut self, context: &mut Context, timer: u64) -> Result<(), DeviceError> {
        if timer == RETRY {
            self.backend.reconnect();
        }
        self.receive(context);
        self.settle(context)
    }

    fn stop_queue(&mut self, context: &mut Context, queue: u16) -> Result<(), DeviceError> {
        match self.numbering.role(queue) {
            Some(Role::Receive(pair)) => {
                self.steering.set_running(pair, false);
                // What waits for this virtqueue goes elsewhere.
                self.receive(context);
            }
            Some(Role::Transmit(pair)) => self.set_wants_transmit(pair, false),
            _ => {}
        }
        self.settle(context)
    }
}

/// Whether a frame is larger than the driver has agreed to (`dev:net:device-configuration-layout:05`).
fn exceeds(frame: &[u8], mtu: Option<u16>) -> bool {
    let tagged = frame.get(12..14) == Some(&[0x81, 0]);
    let header = if tagged { ETHERNET_WITH_TAG } else { ETHERNET };
    mtu.is_some_and(|mtu| frame.len() > usize::from(mtu) + header)
}

/// The frame in a chain of the driver, which a header precedes. `None` if it is none, or needs what was not negotiated.
/// Flags that were not negotiated are ignored (`dev:net:packet-transmission:01`).
fn frame(readable: Slices<'_>, header_size: usize) -> Option<Slices<'_>> {
    let [gso_type] = readable.read_array(GSO_TYPE).ok()?;
    let length = readable.len().checked_sub(header_size)?;
    if gso_type != GsoType::NONE.0 || !(ETHERNET..=MAX_FRAME).contains(&length) {
        return None;
    }
    readable.part(header_size, length).ok()
}

/// Puts a frame with its header into as many of the driver's buffers as it needs, if there are as many. `tokens` is
/// scratch space.
fn place(queue: &mut Virtqueue, mut frame: &[u8], format: Format, tokens: &mut Vec<Token>) -> Placed {
    let Format {
        mergeable,
        header_size,
        byte_order,
    } = format;
    let needed = header_size + frame.len();
    let most = if mergeable { MAX_BUFFERS } else { 1 };

    // The header comes first and says how many buffers there are, so they are counted before anything is written.
    let mut room = 0;
    while room < needed && tokens.len() < most {
        let chain = match tokens.is_empty() {
            true => queue.pop(),
            false => queue.pop_more(),
        };
        let Some(chain) = chain else {
            break;
        };
        let length = chain.writable().len();
        // Every buffer has room for the header (drv:net:setting-up-receive-buffers:03).
        room += if length < header_size { 0 } else { length };
        tokens.push(chain.into_token());
    }
    let buffers = tokens.len();
    while let Some(token) = tokens.pop() {
        queue.push_back(token);
    }
    if room < needed {
        return match buffers {
            0 => Placed::Later,
            _ => Placed::Never,
        };
    }

    // With one buffer only, as it always is without MRG_RXBUF, num_buffers is 1
    // (dev:net:processing-of-incoming-packets:01, dev:net:processing-of-incoming-packets:02).
    let header = Hdr {
        num_buffers: Le16::from_bytes(byte_order.bytes16(buffers as u16)),
        ..Hdr::default()
    };
    let mut header = &header.as_bytes()[..header_size];
    for _ in 0..buffers {
        // A driver that has changed its buffers meanwhile gets what fits.
        let Some(chain) = queue.pop_more() else {
            break;
        };
        let mut buffer = chain.writable().writer();
        header = &header[buffer.write(header)..];
        frame = &frame[buffer.write(frame)..];
        let written = buffer.written() as u32;
        let token = chain.into_token();
        queue.complete(token, written);
    }
    Placed::Yes
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
