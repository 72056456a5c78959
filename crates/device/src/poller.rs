//! Waiting for file descriptors.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

/// A worker's name for something it waits for; the worker chooses the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source(pub u32);

/// What a watched file descriptor is waited for. Errors and hang-ups are always reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// It can be read.
    Read,
    /// It can be written.
    Write,
    /// Either.
    ReadWrite,
}

impl Interest {
    /// The interest in reading, writing, both or nothing.
    pub fn of(read: bool, write: bool) -> Option<Self> {
        match (read, write) {
            (true, true) => Some(Self::ReadWrite),
            (true, false) => Some(Self::Read),
            (false, true) => Some(Self::Write),
            (false, false) => None,
        }
    }
}

/// What a thread can be woken by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A message of the control thread.
    Mailbox,
    /// The available buffer notification of this queue.
    Kick(u16),
    /// A file descriptor of the worker.
    Source(Source),
    /// A short wait is over.
    Clock,
}

/// Largest number of events taken at once.
const BATCH: usize = 64;

/// Shorter waits are ended by a timer: epoll counts in milliseconds.
const SHORT: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
    /// No other has it, now or later.
    id: u64,
    /// The timer that ends short waits, once there was one.
    clock: Option<OwnedFd>,
}

impl Poller {
    pub fn new() -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            clock: None,
        })
    }

    /// What tells it from all others.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Reports `event` at each edge: whenever `descriptor` becomes readable, or is written to once more.
    pub fn add_edge(&self, descriptor: impl AsFd, event: Event) -> io::Result<()> {
        Ok(epoll::add(
            &self.epoll,
            descriptor,
            event.data(),
            EventFlags::IN | EventFlags::ET,
        )?)
    }

    /// Reports `event` as long as `descriptor` is ready. Called again for the same descriptor, it changes the interest.
    pub fn watch(&self, descriptor: BorrowedFd<'_>, event: Event, interest: Interest) -> io::Result<()> {
        let flags = match interest {
            Interest::Read => EventFlags::IN,
            Interest::Write => EventFlags::OUT,
            Interest::ReadWrite => EventFlags::IN | EventFlags::OUT,
        };
        match epoll::add(&self.epoll, descriptor, event.data(), flags) {
            Err(Errno::EXIST) => Ok(epoll::modify(&self.epoll, descriptor, event.data(), flags)?),
            outcome => Ok(outcome?),
        }
    }

    /// Reports nothing of `descriptor` any more. No error if it was not watched.
    pub fn remove(&self, descriptor: impl AsFd) {
        let _ = epoll::delete(&self.epoll, descriptor);
    }

    /// Waits until there is an event, at most `timeout` (for ever if `None`), and appends what there is to `into`.
    pub fn wait(&mut self, mut timeout: Option<Duration>, into: &mut Vec<Event>) -> io::Result<()> {
        if let Some(short) = timeout.filter(|timeout| !timeout.is_zero() && *timeout < SHORT) {
            self.set_clock(short)?;
            timeout = None;
        }
        let timeout = timeout.map(timespec);
        let mut buffer = [const { MaybeUninit::uninit() }; BATCH];
        let events = match epoll::wait(&self.epoll, &mut buffer, timeout.as_ref()) {
            Ok((events, _)) => events,
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        into.extend(
            events
                .iter()
                .filter_map(|event| Event::from_data(event.data.u64())),
        );
        Ok(())
    }

    /// Has [`Event::Clock`] reported after this time.
    fn set_clock(&mut self, after: Duration) -> io::Result<()> {
        let clock = match self.clock.take() {
            Some(clock) => clock,
            None => {
                let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
                let clock = timerfd_create(TimerfdClockId::Monotonic, flags)?;
                self.add_edge(&clock, Event::Clock)?;
                clock
            }
        };
        let once = Itimerspec {
            it_interval: timespec(Duration::ZERO),
            it_value: timespec(after),
        };
        timerfd_settime(self.clock.insert(clock), TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

impl Event {
    fn data(self) -> EventData {
        EventData::new_u64(match self {
            Self::Mailbox => 0,
            Self::Kick(queue) => 1 << 32 | u64::from(queue),
            Self::Source(source) => 2 << 32 | u64::from(source.0),
            Self::Clock => 3 << 32,
        })
    }

    fn from_data(data: u64) -> Option<Self> {
        let value = data as u32;
        match data >> 32 {
            0 => Some(Self::Mailbox),
            1 => Some(Self::Kick(value as u16)),
            2 => Some(Self::Source(Source(value))),
            3 => Some(Self::Clock),
            _ => None,
        }
    }
}
