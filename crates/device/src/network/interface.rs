//! The data side of a network interface: frames from and to the backend, and commands (section 5.1.9).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ringwright_memory::Slices;
use ringwright_ring::Token;
use ringwright_spec::network::{Hdr, features};
use ringwright_spec::{Features, feature};

use super::Shared;
use super::backend::{Backend, Frame, RETRY};
use super::control::Control;
use super::framing::{ETHERNET, Format, MAX_BUFFERS, Placed, Sent, exceeds, place, received_header};
use super::numbering::{Numbering, Role};
use super::offload::{Cutter, Partial};
use super::statistics::Statistics;
use super::steering::Steering;
use crate::{Context, DeviceError, Interest, Loan, Outlet, Session, Source, Worker};

/// Most frames taken from the backend in one callback.
const SHARE: usize = 64;

/// With any of these the driver may have several pairs of virtqueues.
const SPREADING: Features = features::MQ.union(features::RSS);

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
    /// Frames for the driver of which it does not take what is left to do.
    arriving: Cutter,
    /// Those of the driver of which the backend does not.
    leaving: Cutter,
}

impl Interface {
    pub fn new(
        mut backend: Loan<Box<dyn Backend>>,
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
        let control = Control::new(&shared, session);
        backend.accept(control.accepted());
        Self {
            backend,
            numbering,
            control,
            steering: Steering::new(features, numbering.pairs, spreading),
            statistics: Statistics::new(numbering),
            announces: asked && features.contains(features::GUEST_ANNOUNCE),
            shared,
            outlet: session.outlet.clone(),
            mtu,
            format: Format::of(session),
            wants_receive: false,
            wants_transmit: vec![false; numbering.pairs.into()],
            drops_homeless: features.contains(feature::RING_RESET) && features.intersects(SPREADING),
            tokens: Vec::with_capacity(MAX_BUFFERS),
            arriving: Cutter::new(),
            leaving: Cutter::new(),
        }
    }

    /// Frames for which the driver has no buffer stay where they come from.
    fn receive(&mut self, context: &mut Context) {
        self.wants_receive = false;
        let accepted = self.control.accepted();
        for _ in 0..SHARE {
            if self.steering.is_closed() && !self.drops_homeless {
                return;
            }
            let cut = self.arriving.frame();
            let is_cut = cut.is_some();
            let next = match cut {
                Some(frame) => Some(Frame::whole(frame)),
                None => match self.backend.frame() {
                    Some(Frame {
                        bytes,
                        partial: Some(partial),
                        ..
                    }) if !accepted.contains(partial.guest()) => {
                        let copy = |into: &mut [u8]| into.copy_from_slice(bytes);
                        self.arriving.load(bytes.len(), copy, |_| Some(partial));
                        self.backend.consume();
                        continue;
                    }
                    next => next,
                },
            };
            let Some(frame) = next else {
                self.wants_receive = true;
                return;
            };
            let length = frame.bytes.len();
            if self.control.passes(frame.bytes, &self.shared) {
                let (pair, hash) = self.steering.destination(frame.bytes);
                let queue = pair.and_then(|pair| context.queue(Numbering::receive(pair)));
                let placed = match queue {
                    Some(queue) if length >= ETHERNET && !exceeds(&frame, self.mtu) => {
                        let header = Hdr {
                            hash_value: hash.value.into(),
                            hash_report: hash.report.0.into(),
                            ..received_header(&frame, accepted, self.format.byte_order)
                        };
                        place(queue, header, frame.bytes, self.format, &mut self.tokens)
                    }
                    _ => Placed::Never,
                };
                let statistics = self.statistics.received(pair.unwrap_or_default());
                match placed {
                    Placed::Yes => statistics.passed(length),
                    Placed::Later => return,
                    Placed::Never => {
                        statistics.dropped();
                        count(&self.shared.dropped_receive);
                    }
                }
            }
            match is_cut {
                true => self.arriving.consume(),
                false => self.backend.consume(),
            }
        }
        context.set_timer(AGAIN, Instant::now());
    }

    fn transmit(&mut self, context: &mut Context, pair: u16) {
        let Some(queue) = context.queue(Numbering::transmit(pair)) else {
            return;
        };
        let mut waits = !self.send_cut(pair);
        while !waits && let Some(chain) = queue.pop() {
            match self.format.sent(chain.readable()) {
                Some(frame) if self.backend.connected() => match frame {
                    Sent::Whole(frame) => waits = !self.send(frame, None, pair),
                    Sent::Partial(header, frame) => waits = !self.send_partial(&header, frame, pair),
                },
                frame => {
                    let statistics = self.statistics.sent(pair);
                    match frame {
                        Some(_) => statistics.dropped(),
                        None => statistics.malformed(),
                    }
                    count(&self.shared.dropped_transmit);
                }
            }
            let token = chain.into_token();
            if waits {
                queue.push_back(token);
                break;
            }
            queue.complete(token, 0);
            waits = !self.send_cut(pair);
        }
        self.set_wants_transmit(pair, waits);
        self.backend.flush();
    }

    /// Sends a frame of a pair. `false` if the backend does not take it now.
    fn send(&mut self, frame: Slices<'_>, partial: Option<&Partial>, pair: u16) -> bool {
        let taken = self.backend.send(frame, partial);
        if taken {
            self.statistics.sent(pair).passed(frame.len());
            self.steering.sent(frame, pair);
        }
        taken
    }

    /// Sends a frame with which something is left to do, or takes it to be cut. `false` if the backend takes nothing now.
    fn send_partial(&mut self, header: &Hdr, frame: Slices<'_>, pair: u16) -> bool {
        let Format {
            byte_order, offloads, ..
        } = self.format;
        let partial = Partial::of(header, byte_order, offloads, &frame);
        let is_one = match &partial {
            Some(partial) if self.backend.offloads().contains(partial.host()) => {
                return self.send(frame, Some(partial), pair);
            }
            // The driver may change it as long as it is not copied.
            Some(_) => self.leaving.load(
                frame.len(),
                |copy| frame.read(0, copy).unwrap_or_default(),
                |copy| Partial::of(header, byte_order, offloads, copy),
            ),
            None => false,
        };
        match is_one {
            true => self.steering.sent(frame, pair),
            false => {
                self.statistics.sent(pair).malformed();
                count(&self.shared.dropped_transmit);
            }
        }
        true
    }

    /// Sends what there is of a frame that was cut. `false` if the backend does not take all of it now.
    fn send_cut(&mut self, pair: u16) -> bool {
        while let Some(frame) = self.leaving.frame() {
            if self.backend.connected() {
                if !self.backend.send_copy(frame) {
                    return false;
                }
                self.statistics.sent(pair).passed(frame.len());
            }
            self.leaving.consume();
        }
        true
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
        let accepted = self.control.accepted();
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
        if self.control.accepted() != accepted {
            self.backend.accept(self.control.accepted());
        }
        if self.control.takes_notifies_anew() {
            for (queue, coalescing) in self.shared.coalescing().enabled() {
                if let Some(queue) = context.queue(queue) {
                    queue.coalesce(coalescing);
                }
            }
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

    fn start_queue(&mut self, context: &mut Context, queue: u16) -> Result<(), DeviceError> {
        if let Some(Role::Receive(_) | Role::Transmit(_)) = self.numbering.role(queue)
            && let Some(started) = context.queue(queue)
        {
            started.coalesce(self.shared.coalescing().enable(queue));
        }
        Ok(())
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
        self.shared.coalescing().disable(queue);
        self.settle(context)
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
