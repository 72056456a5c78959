//! Requests that the backend completes later, in another order.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ringwright_memory::Memory as GuestMemory;
use ringwright_ring::State;
use ringwright_spec::block::{ReqType, Status};
use rustix::event::{EventfdFlags, eventfd};

use super::backend::{Backend, Lane, Memory, Parcel, Request};
use super::tests::{head, parts, pattern, ranges, read, request, write};
use super::*;
use crate::testing::{Bench, formats, wait_until};

/// Sectors below this are answered at once, the others only when that is allowed, the newest first.
const AT_ONCE: u64 = 64;

/// A disk in memory that takes its time.
struct Late {
    disk: Arc<Memory>,
    event: OwnedFd,
    /// Completing is allowed.
    open: AtomicBool,
    /// What comes late fails.
    fails: AtomicBool,
    waiting: AtomicUsize,
}

struct LateLane {
    late: Arc<Late>,
    disk: Box<dyn Lane>,
    taken: Vec<(u16, Parcel)>,
}

impl Late {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            disk: Arc::new(Memory::new(1 << 20).unwrap()),
            event: eventfd(0, EventfdFlags::NONBLOCK).unwrap(),
            open: AtomicBool::new(false),
            fails: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
        })
    }

    fn block(self: &Arc<Self>) -> Block {
        Block::new(self.clone(), Options::default()).unwrap()
    }

    fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::SeqCst);
        let _ = match open {
            true => rustix::io::write(&self.event, &1u64.to_ne_bytes()),
            false => rustix::io::read(&self.event, &mut [0; 8]),
        };
    }

    fn wait_for(&self, count: usize) {
        wait_until("requests are outstanding", || {
            self.waiting.load(Ordering::SeqCst) == count
        });
    }
}

impl Backend for Late {
    fn capacity(&self) -> u64 {
        self.disk.capacity()
    }

    fn lane(self: Arc<Self>, depth: u16) -> io::Result<Box<dyn Lane>> {
        let disk = self.disk.clone().lane(depth)?;
        Ok(Box::new(LateLane {
            late: self,
            disk,
            taken: Vec::new(),
        }))
    }
}

impl Lane for LateLane {
    fn now(&mut self, request: &Request<'_>) -> Option<io::Result<()>> {
        let offset = match *request {
            Request::Read { offset, .. } | Request::Write { offset, .. } => offset,
            Request::WriteZeroes { offset, .. } | Request::Discard { offset, .. } => offset,
            Request::Flush => return None,
        };
        (offset < AT_ONCE * 512).then(|| self.disk.now(request)).flatten()
    }

    fn later(&mut self, tag: u16, request: &Request<'_>, memory: &Arc<GuestMemory>) -> io::Result<()> {
        assert!(self.taken.iter().all(|(other, _)| *other != tag));
        let mut parcel = Parcel::default();
        parcel.fill(request, memory)?;
        self.taken.push((tag, parcel));
        self.late.waiting.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.late.event.as_fd())
    }

    fn completed(&mut self) -> Option<(u16, io::Result<()>)> {
        if !self.late.open.load(Ordering::SeqCst) {
            return None;
        }
        let (tag, parcel) = self.taken.pop()?;
        self.late.waiting.fetch_sub(1, Ordering::SeqCst);
        if self.late.fails.load(Ordering::SeqCst) {
            return Some((tag, Err(io::Error::from_raw_os_error(5))));
        }
        Some((tag, self.disk.now(&parcel.request())?))
    }
}

impl Drop for LateLane {
    fn drop(&mut self) {
        self.late.waiting.fetch_sub(self.taken.len(), Ordering::SeqCst);
    }
}

#[test]
fn requests_that_are_completed_late_and_backwards_are_each_answered_once() {
    for ring in formats() {
        let late = Late::new();
        let mut bench = Bench::new(late.block(), ring | features::FLUSH);
        let mut queue = bench.start(0, 128);
        for round in 0..4 {
            // Late ones, and among them ones that are answered at once.
            for sector in 0..40 {
                let place = if sector % 4 == 3 { sector } else { AT_ONCE + sector };
                queue.add(
                    &[&head(ReqType::OUT, place), &pattern(512, round + sector as usize)],
                    &[1],
                );
            }
            queue.publish();
            late.wait_for(30);
            late.set_open(true);
            for _ in 0..40 {
                assert_eq!(parts(queue.wait()).0, Status::OK);
            }
            late.wait_for(0);
            late.set_open(false);
            for sector in (0..40).filter(|sector| sector % 4 != 3) {
                queue.add(&[&head(ReqType::IN, AT_ONCE + sector)], &[512, 1]);
            }
            queue.publish();
            late.wait_for(30);
            late.set_open(true);
            let mut found: Vec<Vec<u8>> = (0..30)
                .map(|_| {
                    let (status, data) = parts(queue.wait());
                    assert_eq!(status, Status::OK);
                    data
                })
                .collect();
            late.set_open(false);
            let mut expected: Vec<Vec<u8>> = (0..40)
                .filter(|sector| sector % 4 != 3)
                .map(|sector| pattern(512, round + sector))
                .collect();
            found.sort();
            expected.sort();
            assert!(found == expected);
            assert_eq!(queue.in_flight(), 0);
        }
    }
}

#[test]
fn a_stop_and_a_suspend_wait_for_what_is_outstanding() {
    for ring in formats() {
        for suspend in [false, true] {
            let late = Late::new();
            let mut bench = Bench::new(late.block(), ring | features::FLUSH);
            let mut queue = bench.start(0, 128);
            for sector in 0..8 {
                queue.add(&[&head(ReqType::OUT, AT_ONCE + sector), &[7; 512]], &[1]);
            }
            queue.publish();
            late.wait_for(8);
            std::thread::scope(|scope| {
                let stopped = scope.spawn(|| match suspend {
                    false => bench.host.stop_queue(0).map(drop),
                    true => bench.host.suspend(),
                });
                assert!(!queue.notified(Duration::from_millis(20)));
                assert!(!stopped.is_finished());
                late.set_open(true);
                stopped.join().unwrap().unwrap();
            });
            for _ in 0..8 {
                let completed = queue.poll().expect("completed before the stop");
                assert_eq!(parts(completed).0, Status::OK);
            }
        }
    }
}

#[test]
fn a_reset_leaves_outstanding_requests_behind_and_the_device_usable() {
    let late = Late::new();
    let mut bench = Bench::new(late.block(), formats()[0] | features::FLUSH);
    let mut queue = bench.start(0, 128);
    queue.submit(&[&head(ReqType::IN, AT_ONCE)], &[512, 1]);
    late.wait_for(1);
    bench.host.reset();
    late.wait_for(0);
    assert_eq!(queue.poll(), None);
    late.set_open(true);
    bench.host.set_features(formats()[0] | features::FLUSH).unwrap();
    let mut queue = bench.queue(0, 128);
    bench.start_again(&queue, State::default());
    assert_eq!(write(&mut queue, AT_ONCE, &[3; 512]), Status::OK);
    assert_eq!(read(&mut queue, AT_ONCE, 512), (Status::OK, vec![3; 512]));
}

#[test]
fn late_failures_are_answered_as_such_and_show_no_memory() {
    let late = Late::new();
    let more = features::FLUSH | features::WRITE_ZEROES;
    let mut bench = Bench::new(late.block(), formats()[0] | more);
    let mut queue = bench.start(0, 128);
    late.set_open(true);
    let data = pattern(8 * 512, 5);
    assert_eq!(write(&mut queue, AT_ONCE, &data), Status::OK);
    // Several ranges, the first of which is answered at once.
    let several = ranges(&[(0, 1, 0), (AT_ONCE + 1, 2, 0), (AT_ONCE + 6, 1, 1)]);
    let zeroes = request(&mut queue, ReqType::WRITE_ZEROES, 0, &several, 0);
    assert_eq!(zeroes.0, Status::OK);
    let mut expected = data;
    expected[512..3 * 512].fill(0);
    expected[6 * 512..7 * 512].fill(0);
    assert_eq!(read(&mut queue, AT_ONCE, 8 * 512), (Status::OK, expected.clone()));

    late.fails.store(true, Ordering::SeqCst);
    assert_eq!(
        read(&mut queue, AT_ONCE, 8 * 512),
        (Status::IOERR, vec![0; 8 * 512])
    );
    assert_eq!(write(&mut queue, AT_ONCE, &[1; 512]), Status::IOERR);
    assert_eq!(request(&mut queue, ReqType::FLUSH, 0, &[], 0).0, Status::IOERR);
    assert_eq!(
        request(&mut queue, ReqType::WRITE_ZEROES, 0, &several, 0).0,
        Status::IOERR
    );
    late.fails.store(false, Ordering::SeqCst);
    assert_eq!(read(&mut queue, AT_ONCE, 8 * 512), (Status::OK, expected));
    assert!(bench.events.resets().is_empty());
}

#[test]
fn requests_are_counted_by_kind_and_late_ones_by_their_time() {
    let late = Late::new();
    let more = features::FLUSH | features::WRITE_ZEROES | features::DISCARD;
    let block = late.block();
    let handle = block.handle();
    let mut bench = Bench::new(block, formats()[0] | more);
    let mut queue = bench.start(0, 128);
    assert_eq!(handle.counters(), [RequestCounters::default()]);
    assert_eq!(write(&mut queue, 0, &[1; 1024]), Status::OK);
    assert_eq!(read(&mut queue, 0, 512).0, Status::OK);
    assert_eq!(read(&mut queue, 1 << 40, 512).0, Status::IOERR);
    let range = ranges(&[(0, 1, 0)]);
    assert_eq!(request(&mut queue, ReqType::DISCARD, 0, &range, 0).0, Status::OK);
    assert_eq!(
        request(&mut queue, ReqType::WRITE_ZEROES, 0, &range, 0).0,
        Status::OK
    );
    assert_eq!(request(&mut queue, ReqType::GET_ID, 0, &[], 20).0, Status::OK);
    assert_eq!(request(&mut queue, ReqType(77), 0, &[], 0).0, Status::UNSUPP);
    let kind = |requests, errors, bytes| KindCounters {
        requests,
        errors,
        bytes,
    };
    let expected = RequestCounters {
        reads: kind(2, 1, 512),
        writes: kind(1, 0, 1024),
        discards: kind(1, 0, 0),
        write_zeroes: kind(1, 0, 0),
        others: kind(2, 1, 0),
        ..RequestCounters::default()
    };
    assert_eq!(handle.counters(), [expected]);

    let start = std::time::Instant::now();
    for sector in 0..3 {
        queue.add(&[&head(ReqType::IN, AT_ONCE + sector)], &[512, 1]);
    }
    queue.publish();
    late.wait_for(3);
    wait_until("they are counted", || bench.host.counters()[0].in_flight == 3);
    late.fails.store(true, Ordering::SeqCst);
    late.set_open(true);
    for _ in 0..3 {
        assert_eq!(parts(queue.wait()).0, Status::IOERR);
    }
    let most = start.elapsed() * 3;
    wait_until("they are not any more", || {
        bench.host.counters()[0].in_flight == 0
    });
    let counters = handle.counters()[0];
    assert_eq!((counters.reads, counters.late), (kind(5, 4, 512), 3));
    assert!(!counters.late_time.is_zero() && counters.late_time <= most);
    let meter = bench.host.meter();
    drop(bench);
    assert_eq!(meter.read()[0].chains, 10);
}
