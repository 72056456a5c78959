//! Counters of what a disk is asked for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringwright_memory::Slices;
use ringwright_spec::block::ReqType;

use super::request::Asked;

/// Requests of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KindCounters {
    /// Requests answered, whatever with.
    pub requests: u64,
    /// Those of them that failed.
    pub errors: u64,
    /// Bytes of data of those that did not: read into the driver's memory, or written from it.
    pub bytes: u64,
}

/// What one request queue has been asked for since the disk was made. A reset does not clear it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestCounters {
    /// Reads.
    pub reads: KindCounters,
    /// Writes.
    pub writes: KindCounters,
    /// Flushes.
    pub flushes: KindCounters,
    /// Discards.
    pub discards: KindCounters,
    /// Zeroes to be written.
    pub write_zeroes: KindCounters,
    /// All others.
    pub others: KindCounters,
    /// Requests that the disk's content could not answer at once.
    pub late: u64,
    /// The sum of the times that these took, so that divided by their number it is their mean.
    pub late_time: Duration,
}

/// The kinds, as places in [`Tally`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
    Flush,
    Discard,
    WriteZeroes,
    Other,
}

const KINDS: usize = Kind::Other as usize + 1;

/// The shared form: written by the thread of the queue, read by any.
#[derive(Debug, Default)]
pub(super) struct Counters {
    kinds: [[AtomicU64; 3]; KINDS],
    late: AtomicU64,
    late_nanoseconds: AtomicU64,
}

/// What the shared form does not know yet, and the clock of what is outstanding.
#[derive(Debug, Default)]
pub(super) struct Tally {
    kinds: [KindCounters; KINDS],
    late: u64,
    /// How many were outstanding from when on.
    since: Option<(Instant, usize)>,
}

/// What a request is counted as.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    pub kind: Kind,
    /// Bytes of data that it has.
    pub bytes: usize,
}

impl Counted {
    /// What nothing is known of.
    pub const UNKNOWN: Self = Self {
        kind: Kind::Other,
        bytes: 0,
    };

    #[inline]
    pub fn of(asked: &Asked<'_>, to_driver: Slices<'_>) -> Self {
        let (kind, bytes) = match asked.kind {
            ReqType::IN => (Kind::Read, to_driver.len()),
            ReqType::OUT | ReqType::ZONE_APPEND => (Kind::Write, asked.to_device.len()),
            ReqType::FLUSH => (Kind::Flush, 0),
            ReqType::DISCARD => (Kind::Discard, 0),
            ReqType::WRITE_ZEROES => (Kind::WriteZeroes, 0),
            _ => (Kind::Other, 0),
        };
        Self { kind, bytes }
    }
}

impl Tally {
    /// A request is answered.
    #[inline]
    pub fn answered(&mut self, request: Counted, well: bool) {
        let counters = &mut self.kinds[request.kind as usize];
        counters.requests += 1;
        match well {
            true => counters.bytes += request.bytes as u64,
            false => counters.errors += 1,
        }
    }

    /// A request is outstanding.
    pub fn set_out(&mut self) {
        self.late += 1;
    }

    /// Counts all that, at the end of a callback that leaves so many requests outstanding. The clock is looked at only if
    /// there are any, or were; between two looks as many are taken to be outstanding as at the first.
    pub fn settle(&mut self, counters: &Counters, outstanding: usize) {
        for (kind, shared) in self.kinds.iter_mut().zip(&counters.kinds) {
            if kind.requests != 0 {
                let KindCounters {
                    requests,
                    errors,
                    bytes,
                } = std::mem::take(kind);
                shared
                    .iter()
                    .zip([requests, errors, bytes])
                    .for_each(|(counter, more)| add(counter, more));
            }
        }
        add(&counters.late, std::mem::take(&mut self.late));
        if outstanding == 0 && self.since.is_none() {
            return;
        }
        let now = Instant::now();
        if let Some((since, count)) = self.since {
            let passed = now.duration_since(since).as_nanos() as u64;
            add(&counters.late_nanoseconds, passed.saturating_mul(count as u64));
        }
        self.since = (outstanding != 0).then_some((now, outstanding));
    }
}

impl Counters {
    pub fn snapshot(&self) -> RequestCounters {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let [reads, writes, flushes, discards, write_zeroes, others] =
            self.kinds
                .each_ref()
                .map(|[requests, errors, bytes]| KindCounters {
                    requests: load(requests),
                    errors: load(errors),
                    bytes: load(bytes),
                });
        RequestCounters {
            reads,
            writes,
            flushes,
            discards,
            write_zeroes,
            others,
            late: load(&self.late),
            late_time: Duration::from_nanos(load(&self.late_nanoseconds)),
        }
    }
}

/// One thread adds at a time, so no read-modify-write is needed.
fn add(counter: &AtomicU64, more: u64) {
    if more != 0 {
        counter.store(
            counter.load(Ordering::Relaxed).wrapping_add(more),
            Ordering::Relaxed,
        );
    }
}
