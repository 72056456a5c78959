//! Limits on the requests and the bytes per second of any backend, with bursts.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringwright_memory::Memory;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use super::{Backend, Lane, Lifetime, Parcel, Request};

/// A limit: a bucket that holds `burst` and is filled with `per_second`. Each request waits until the bucket has what it takes;
/// one that takes more than the bucket holds waits until it is full, and leaves a debt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What there may be in a second, in the long run. Not 0.
    pub per_second: u64,
    /// What there may be at once, after a pause. Not 0.
    pub burst: u64,
}

impl Limit {
    /// With a burst of a tenth of a second.
    pub fn new(per_second: u64) -> Self {
        Self {
            per_second,
            burst: (per_second / 10).max(1),
        }
    }
}

/// A backend within limits that all its queues share. What writes and reads nothing is not limited.
pub struct Limited {
    backend: Arc<dyn Backend>,
    buckets: Arc<Buckets>,
}

impl Limited {
    /// `backend` within limits on its requests and on their bytes.
    pub fn new(backend: Arc<dyn Backend>, requests: Option<Limit>, bytes: Option<Limit>) -> Self {
        Self {
            backend,
            buckets: Arc::new(Buckets {
                start: Instant::now(),
                requests: requests.map(Bucket::new),
                bytes: bytes.map(Bucket::new),
            }),
        }
    }
}

impl Backend for Limited {
    fn capacity(&self) -> u64 {
        self.backend.capacity()
    }

    fn refresh(&self) -> io::Result<()> {
        self.backend.refresh()
    }

    fn resize(&self, size: u64) -> io::Result<()> {
        self.backend.resize(size)
    }

    fn on_change(&self, tell: Box<dyn Fn() + Send + Sync>) {
        self.backend.on_change(tell);
    }

    fn read_only(&self) -> bool {
        self.backend.read_only()
    }

    fn block_size(&self) -> u32 {
        self.backend.block_size()
    }

    fn lifetime(&self) -> Option<Lifetime> {
        self.backend.lifetime()
    }

    fn lane(self: Arc<Self>, depth: u16) -> io::Result<Box<dyn Lane>> {
        let lane = self.backend.clone().lane(depth)?;
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        // One descriptor that is ready when either is.
        let either = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&either, &timer, EventData::new_u64(0), EventFlags::IN)?;
        if let Some(descriptor) = lane.descriptor() {
            epoll::add(&either, descriptor, EventData::new_u64(1), EventFlags::IN)?;
        }
        Ok(Box::new(LimitedLane {
            lane,
            buckets: self.buckets.clone(),
            delayed: VecDeque::new(),
            spare: Vec::new(),
            paid: false,
            timer,
            either,
        }))
    }
}

struct LimitedLane {
    lane: Box<dyn Lane>,
    buckets: Arc<Buckets>,
    /// What waits for its turn.
    delayed: VecDeque<(u16, Parcel, Arc<Memory>)>,
    spare: Vec<Parcel>,
    /// The next request has had its turn already.
    paid: bool,
    timer: OwnedFd,
    either: OwnedFd,
}

impl LimitedLane {
    /// Lets requests go whose turn it is. The first that is complete by that is given back.
    fn release(&mut self) -> Option<(u16, io::Result<()>)> {
        let mut released = false;
        let mut outcome = None;
        while let Some((_, parcel, _)) = self.delayed.front() {
            if let Err(wait) = self.buckets.take(&parcel.request()) {
                self.set_timer(wait);
                break;
            }
            let Some((tag, mut parcel, memory)) = self.delayed.pop_front() else {
                break;
            };
            let request = parcel.request();
            let result = self.lane.now(&request).or_else(|| {
                released = true;
                self.lane.later(tag, &request, &memory).err().map(Err)
            });
            parcel.release();
            self.spare.push(parcel);
            if let Some(result) = result {
                outcome = Some((tag, result));
                break;
            }
        }
        if released && let Err(error) = self.lane.submit() {
            tracing::error!(%error, "submitting delayed block requests");
        }
        outcome
    }

    fn set_timer(&self, wait: Duration) {
        let zero = Timespec::default();
        let after = Itimerspec {
            it_interval: zero,
            it_value: Timespec {
                tv_sec: wait.as_secs().cast_signed(),
                // None at all would stop the timer.
                tv_nsec: i64::from(wait.subsec_nanos()).max(1),
            },
        };
        if let Err(error) = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &after) {
            tracing::error!(%error, "setting the timer of a limit");
        }
    }
}

impl Lane for LimitedLane {
    fn now(&mut self, request: &Request<'_>) -> Option<io::Result<()>> {
        // First come, first served.
        if !self.delayed.is_empty() && size_of(request).is_some() {
            return None;
        }
        self.buckets.take(request).ok()?;
        let result = self.lane.now(request);
        self.paid = result.is_none();
        result
    }

    fn later(&mut self, tag: u16, request: &Request<'_>, memory: &Arc<Memory>) -> io::Result<()> {
        if std::mem::take(&mut self.paid) || size_of(request).is_none() {
            return self.lane.later(tag, request, memory);
        }
        let mut parcel = self.spare.pop().unwrap_or_default();
        parcel.fill(request, memory)?;
        self.delayed.push_back((tag, parcel, memory.clone()));
        Ok(())
    }

    fn submit(&mut self) -> io::Result<()> {
        self.lane.submit()
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.either.as_fd())
    }

    fn completed(&mut self) -> Option<(u16, io::Result<()>)> {
        if let Some(completed) = self.lane.completed() {
            return Some(completed);
        }
        if self.delayed.is_empty() {
            return None;
        }
        let _ = rustix::io::read(&self.timer, &mut [0; 8]);
        self.release()
    }
}

/// The buckets of one backend.
struct Buckets {
    start: Instant,
    requests: Option<Bucket>,
    bytes: Option<Bucket>,
}

impl Buckets {
    /// Takes what a request costs; if it is not its turn yet, says how long to wait.
    fn take(&self, request: &Request<'_>) -> Result<(), Duration> {
        let Some(size) = size_of(request) else {
            return Ok(());
        };
        let now = self.start.elapsed().as_nanos() as u64;
        if let Some(requests) = &self.requests {
            requests.take(now, 1)?;
        }
        if let Some(bytes) = &self.bytes
            && let Err(wait) = bytes.take(now, size)
        {
            if let Some(requests) = &self.requests {
                requests.give_back(1);
            }
            return Err(wait);
        }
        Ok(())
    }
}

/// A bucket, as the time at which it is full again: later than now by what was taken from it.
struct Bucket {
    limit: Limit,
    /// In nanoseconds.
    full_at: AtomicU64,
}

impl Bucket {
    fn new(limit: Limit) -> Self {
        Self {
            limit: Limit {
                per_second: limit.per_second.max(1),
                burst: limit.burst.max(1),
            },
            full_at: AtomicU64::new(0),
        }
    }

    /// Takes `amount`, if the bucket has that at time `now`, or is full; else says how long that takes.
    fn take(&self, now: u64, amount: u64) -> Result<(), Duration> {
        let (cost, capacity) = (self.time(amount), self.time(self.limit.burst));
        let mut full_at = self.full_at.load(Ordering::Relaxed);
        loop {
            let then = full_at.saturating_add(cost.min(capacity));
            let wait = then.saturating_sub(capacity).saturating_sub(now);
            if wait != 0 {
                return Err(Duration::from_nanos(wait));
            }
            let next = full_at.max(now).saturating_add(cost);
            match self
                .full_at
                .compare_exchange_weak(full_at, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return Ok(()),
                Err(other) => full_at = other,
            }
        }
    }

    fn give_back(&self, amount: u64) {
        let cost = self.time(amount);
        // It has been taken before, so there is as much.
        self.full_at.fetch_sub(cost, Ordering::Relaxed);
    }

    /// How long it takes to fill in `amount`, in nanoseconds.
    fn time(&self, amount: u64) -> u64 {
        let time = u128::from(amount) * 1_000_000_000 / u128::from(self.limit.per_second);
        u64::try_from(time).unwrap_or(u64::MAX / 4).min(u64::MAX / 4)
    }
}

/// The bytes that a request reads or writes; `None` if it is not limited.
fn size_of(request: &Request<'_>) -> Option<u64> {
    match request {
        Request::Read { into, .. } => Some(into.len() as u64),
        Request::Write { from, .. } => Some(from.len() as u64),
        Request::Flush | Request::WriteZeroes { .. } | Request::Discard { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::backend::Null;
    use crate::block::tests::{head, parts, request};
    use crate::block::{Block, Options};
    use crate::testing::{Bench, DEADLINE, formats};
    use ringwright_spec::block::{ReqType, Status, features};

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let bucket = Bucket::new(Limit {
            per_second: 1000,
            burst: 5,
        });
        let ms = 1_000_000;
        for _ in 0..5 {
            bucket.take(0, 1).unwrap();
        }
        let wait = bucket.take(0, 1).unwrap_err();
        assert!(
            wait <= Duration::from_millis(1) && wait > Duration::from_micros(990),
            "{wait:?}"
        );
        assert!(bucket.take(ms - 1, 1).is_err());
        bucket.take(ms, 1).unwrap();
        assert!(bucket.take(ms, 1).is_err());
        // A pause fills it, and no more than that.
        for _ in 0..5 {
            bucket.take(1000 * ms, 1).unwrap();
        }
        assert!(bucket.take(1000 * ms, 1).is_err());
        // What is larger than the bucket leaves a debt.
        bucket.take(2000 * ms, 50).unwrap();
        assert!(bucket.take(2045 * ms - 1, 1).is_err());
        bucket.take(2046 * ms, 1).unwrap();
        bucket.give_back(1);
        bucket.take(2046 * ms, 1).unwrap();
    }

    /// The seconds that `count` reads of `size` bytes take.
    fn seconds(requests: Option<Limit>, bytes: Option<Limit>, count: usize, size: usize) -> f64 {
        let null = Arc::new(Null { capacity: 1 << 20 });
        let limited = Arc::new(Limited::new(null, requests, bytes));
        let block = Block::new(limited, Options::default()).unwrap();
        let mut bench = Bench::new(block, formats()[1] | features::FLUSH);
        let mut queue = bench.start(0, 128);
        let begin = Instant::now();
        for _ in 0..count {
            queue.add(&[&head(ReqType::IN, 0)], &[size, 1]);
        }
        queue.publish();
        // It is not limited, so it comes at once.
        assert_eq!(request(&mut queue, ReqType::FLUSH, 0, &[], 0).0, Status::OK);
        while queue.in_flight() > 0 {
            assert_eq!(parts(queue.wait()).0, Status::OK);
        }
        let took = begin.elapsed();
        assert!(took < DEADLINE, "{took:?}");
        took.as_secs_f64()
    }

    #[test]
    fn requests_wait_for_their_turn_and_all_have_one() {
        let requests = Limit {
            per_second: 100,
            burst: 10,
        };
        let bytes = Limit {
            per_second: 400 * 1024,
            burst: 4096,
        };
        // 30 beyond the burst; 36 KiB of 40.
        assert!(seconds(Some(requests), None, 40, 512) >= 0.29);
        assert!(seconds(None, Some(bytes), 10, 4096) >= 0.08);
        assert!(seconds(Some(requests), Some(bytes), 10, 4096) >= 0.08);
    }
}
