//! The data side of a disk: one request queue.

use std::io;
use std::sync::Arc;

use ringwright_memory::{Memory, Slices};
use ringwright_ring::{Chain, Token};
use ringwright_spec::block::{Status, features};

use super::backend::{Backend, Lane, Request};
use super::counters::{Counted, Counters, Tally};
use super::flight::Flights;
use super::request::{Failure, Outcome, Terms, Work, answer, data_of};
use super::zone_file;
use super::zoned::{Given, ZonedDisk};
use crate::{Context, DeviceError, Interest, Source, Virtqueue, Worker};

/// The lane has completed something.
const LANE: Source = Source(0);

/// Serves the requests of one queue: those that the backend answers at once in place, and the others as they come back.
pub(super) struct RequestQueue {
    index: u16,
    backend: Arc<dyn Backend>,
    lane: Box<dyn Lane>,
    terms: Terms,
    flights: Flights,
    zoned: Option<Arc<ZonedDisk>>,
    /// Requests are carried out one after the other: the next begins when the last has ended.
    one_by_one: bool,
    /// What [`Work::Many`] is about.
    many: Vec<Request<'static>>,
    reported: Reported,
    tally: Tally,
    counters: Arc<Counters>,
}

impl Worker for RequestQueue {
    fn start(&mut self, context: &mut Context) -> Result<(), DeviceError> {
        match self.lane.descriptor() {
            Some(descriptor) => context.watch(descriptor, LANE, Interest::Read),
            None => Ok(()),
        }
    }

    fn queue_ready(&mut self, context: &mut Context, queue: u16) -> Result<(), DeviceError> {
        match context.queue(queue) {
            Some(queue) => self.counting(|this| this.serve(queue)),
            None => Ok(()),
        }
    }

    fn source_ready(&mut self, context: &mut Context, _source: Source) -> Result<(), DeviceError> {
        match context.queue(self.index) {
            Some(queue) => self.counting(|this| this.land(queue)),
            None => Ok(()),
        }
    }

    fn stop_queue(&mut self, context: &mut Context, _queue: u16) -> Result<(), DeviceError> {
        self.counting(|this| this.land_all(context))
    }

    fn suspend(&mut self, context: &mut Context) -> Result<(), DeviceError> {
        self.counting(|this| this.land_all(context))
    }
}

impl RequestQueue {
    /// For queue `index`, of at most `depth` outstanding requests.
    pub fn new(
        index: u16,
        depth: u16,
        backend: Arc<dyn Backend>,
        terms: Terms,
        zoned: Option<Arc<ZonedDisk>>,
        counters: Arc<Counters>,
    ) -> Result<Self, DeviceError> {
        let lane = backend
            .clone()
            .lane(depth)
            .map_err(DeviceError::io("preparing the disk's content for a queue"))?;
        Ok(Self {
            index,
            lane,
            // A barrier, too, is nothing else (section 5.2.6.3).
            one_by_one: zoned.is_some() || terms.features.contains(features::BARRIER),
            zoned,
            backend,
            flights: Flights::new(depth),
            many: Vec::with_capacity(terms.discard.ranges as usize),
            terms,
            reported: Reported::default(),
            tally: Tally::default(),
            counters,
        })
    }

    /// Serves what is available.
    fn serve(&mut self, queue: &mut Virtqueue) -> Result<(), DeviceError> {
        self.terms.capacity = self.backend.capacity();
        self.terms.lifetime = self.backend.lifetime();
        if self.one_by_one {
            return self.take_one_by_one(queue);
        }
        let mut put_off = false;
        queue.serve(|chain| {
            let answer = self.answer_now(chain);
            put_off = answer.is_none();
            answer
        });
        match put_off {
            true => self.take(queue),
            false => Ok(()),
        }
    }

    /// Carries out one request and says how many bytes it wrote to the driver; `None` if it takes time.
    #[inline]
    fn answer_now(&mut self, chain: &Chain<'_>) -> Option<u32> {
        let writable = chain.writable();
        let Some(to_driver) = data_of(writable) else {
            return Some(answer(writable, Ok(0)));
        };
        self.many.clear();
        let asked = self.terms.take_apart(chain.readable());
        let counted = match &asked {
            Ok(asked) => Counted::of(asked, to_driver),
            Err(_) => Counted::UNKNOWN,
        };
        let work = asked.and_then(|asked| self.terms.understand(&asked, to_driver, &mut self.many));
        let outcome = match work {
            Ok(Work::Done(written)) => Ok(written),
            Ok(Work::One(request, written)) => {
                self.lane.now(&request)?.map(|()| written).map_err(Failure::Io)
            }
            Ok(Work::Many) => {
                let mut outcome = Ok(0);
                while let (Ok(_), Some(request)) = (&outcome, self.many.pop()) {
                    outcome = self.lane.now(&request)?.map(|()| 0).map_err(Failure::Io);
                }
                outcome
            }
            Err(failure) => Err(failure),
        };
        Some(self.answer(writable, counted, outcome))
    }

    /// Takes the available requests, and completes each before the next is begun.
    #[cold]
    fn take_one_by_one(&mut self, queue: &mut Virtqueue) -> Result<(), DeviceError> {
        let memory = queue.memory().clone();
        let repeated = queue.repeats();
        if !repeated && let Some(zoned) = &self.zoned {
            // What was completed before is published by now.
            zoned.begin(self.index);
        }
        while let Some(chain) = queue.pop() {
            let writable = chain.writable();
            let outcome = match data_of(writable) {
                Some(to_driver) => self.perform(&chain, repeated, to_driver, &memory),
                None => Ok(0),
            };
            let written = self.answer(writable, self.counted(&chain), outcome);
            let token = chain.into_token();
            queue.complete(token, written);
            if repeated && !queue.repeats() {
                // These are published before others are begun.
                queue.revisit();
                break;
            }
        }
        Ok(())
    }

    /// Carries out one request, however long it takes. `to_driver` is its device-writable data; `repeated` says that it was in
    /// flight when the process before this one ended.
    fn perform(
        &mut self,
        chain: &Chain<'_>,
        repeated: bool,
        to_driver: Slices<'_>,
        memory: &Arc<Memory>,
    ) -> Outcome {
        let asked = self.terms.take_apart(chain.readable())?;
        let (lane, id) = (&mut self.lane, chain.id());
        let mut perform = |request: Request<'_>| carry_out(&mut **lane, id, &request, memory);
        if let Some(zoned) = &self.zoned {
            let given = Given {
                terms: &self.terms,
                asked,
                chain: zone_file::Chain {
                    queue: self.index,
                    id,
                    repeated,
                },
            };
            if let Some(outcome) = zoned.carry_out(&given, to_driver, &mut perform) {
                return outcome;
            }
        }
        self.many.clear();
        match self.terms.understand(&asked, to_driver, &mut self.many)? {
            Work::Done(written) => Ok(written),
            Work::One(request, written) => {
                perform(request)?;
                Ok(written)
            }
            Work::Many => {
                while let Some(request) = self.many.pop() {
                    perform(request)?;
                }
                Ok(0)
            }
        }
    }

    /// Takes the available requests, from one that was found to take time on.
    #[cold]
    fn take(&mut self, queue: &mut Virtqueue) -> Result<(), DeviceError> {
        let memory = queue.memory().clone();
        let mut takes_time = true;
        while let Some(chain) = queue.pop() {
            let answered = match std::mem::take(&mut takes_time) {
                true => None,
                false => self.answer_now(&chain),
            };
            let answered = match answered {
                Some(written) => Some((chain.into_token(), written)),
                None => self.set_out(chain, &memory),
            };
            if let Some((token, written)) = answered {
                queue.complete(token, written);
            }
        }
        self.submit()?;
        self.land(queue)
    }

    /// Hands a request to the lane. Gives it back with the bytes written if it is answered after all.
    fn set_out(&mut self, chain: Chain<'_>, memory: &Arc<Memory>) -> Option<(Token, u32)> {
        let (id, writable) = (chain.id(), chain.writable());
        let outcome = match self.hand_over(&chain, memory) {
            Ok(None) => {
                self.flights.set_out(id, chain.into_token());
                self.tally.set_out();
                return None;
            }
            Ok(Some(written)) => Ok(written),
            Err(failure) => Err(failure),
        };
        let written = self.answer(writable, self.counted(&chain), outcome);
        Some((chain.into_token(), written))
    }

    /// `None` if the lane has the request, else how many bytes were written at once.
    fn hand_over(&mut self, chain: &Chain<'_>, memory: &Arc<Memory>) -> Result<Option<usize>, Failure> {
        let Some(to_driver) = data_of(chain.writable()) else {
            return Ok(Some(0));
        };
        self.many.clear();
        let asked = self.terms.take_apart(chain.readable())?;
        let (request, written) = match self.terms.understand(&asked, to_driver, &mut self.many)? {
            Work::Done(written) => return Ok(Some(written)),
            Work::One(request, written) => (request, written),
            Work::Many => match self.many.pop() {
                Some(request) => (request, 0),
                None => return Ok(Some(0)),
            },
        };
        let flight = self.flights.prepare(chain.id())?;
        flight.hold(chain.writable(), memory, written)?;
        flight.follow(&self.many);
        flight.count_as(Counted::of(&asked, to_driver));
        match self.lane.later(chain.id(), &request, memory) {
            Ok(()) => Ok(None),
            Err(error) => {
                flight.release();
                Err(error.into())
            }
        }
    }

    /// Gives back what the lane has completed.
    fn land(&mut self, queue: &mut Virtqueue) -> Result<(), DeviceError> {
        let mut handed_over = false;
        while let Some((id, mut result)) = self.lane.completed() {
            let Some(flight) = self.flights.get(id) else {
                continue;
            };
            if result.is_ok()
                && let Some(next) = flight.next()
            {
                result = self.lane.later(id, &next, queue.memory());
                if result.is_ok() {
                    handed_over = true;
                    continue;
                }
            }
            let outcome = result.map(|()| flight.written()).map_err(Failure::Io);
            let outcome = outcome.map_err(|failure| self.reported.status(failure));
            self.tally.answered(flight.counted(), outcome.is_ok());
            let written = answer(flight.writable(), outcome);
            if let Some(token) = self.flights.land(id) {
                queue.complete(token, written);
            }
        }
        match handed_over {
            true => self.submit(),
            false => Ok(()),
        }
    }

    /// Waits for everything that is outstanding, and gives it back.
    fn land_all(&mut self, context: &mut Context) -> Result<(), DeviceError> {
        let Some(queue) = context.queue(self.index) else {
            return Ok(());
        };
        loop {
            self.land(queue)?;
            if self.flights.is_empty() {
                return Ok(());
            }
            self.lane
                .wait()
                .map_err(DeviceError::io("waiting for outstanding block requests"))?;
        }
    }

    fn submit(&mut self) -> Result<(), DeviceError> {
        self.lane
            .submit()
            .map_err(DeviceError::io("submitting block requests"))
    }

    #[inline]
    fn answer(&mut self, writable: Slices<'_>, counted: Counted, outcome: Outcome) -> u32 {
        self.tally.answered(counted, outcome.is_ok());
        answer(writable, outcome.map_err(|failure| self.reported.status(failure)))
    }

    /// What a request is counted as that is not in a hurry.
    fn counted(&self, chain: &Chain<'_>) -> Counted {
        match (self.terms.take_apart(chain.readable()), data_of(chain.writable())) {
            (Ok(asked), Some(to_driver)) => Counted::of(&asked, to_driver),
            _ => Counted::UNKNOWN,
        }
    }

    /// Does what a callback does, and counts it.
    fn counting<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let outcome = work(self);
        self.tally.settle(&self.counters, self.flights.outstanding());
        outcome
    }
}

/// Carries a request out on a lane that has no others.
fn carry_out(lane: &mut dyn Lane, tag: u16, request: &Request<'_>, memory: &Arc<Memory>) -> io::Result<()> {
    if let Some(result) = lane.now(request) {
        return result;
    }
    lane.later(tag, request, memory)?;
    lane.submit()?;
    loop {
        if let Some((_, result)) = lane.completed() {
            return result;
        }
        lane.wait()?;
    }
}

/// The kinds of errors that were logged: each once, because a disk that fails tends to fail often.
#[derive(Default)]
struct Reported(Vec<(io::ErrorKind, Option<i32>)>);

impl Reported {
    /// Logs a failure and gives the status that the driver is told.
    #[cold]
    fn status(&mut self, failure: Failure) -> Status {
        match failure {
            Failure::Unsupported => Status::UNSUPP,
            Failure::Zone(status) => status,
            Failure::Refused(reason) => {
                tracing::debug!(reason, "block request refused");
                Status::IOERR
            }
            Failure::Io(error) => {
                let kind = (error.kind(), error.raw_os_error());
                if self.0.contains(&kind) {
                    tracing::debug!(%error, "block request failed");
                } else {
                    self.0.push(kind);
                    tracing::warn!(%error, "block request failed; others that fail so are not mentioned");
                }
                Status::IOERR
            }
        }
    }
}
