//! The connection to an NBD server, and the thread that has it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

use super::channel::Channel;
use super::command::Command;
use super::handshake::Export;
use super::wire::{Reply, Wire};
use super::{Address, NbdOptions, connect};
use crate::block::backend::crew::{Crew, Done, Job, lock};

/// Between two tries to connect.
const PAUSE: Duration = Duration::from_millis(200);

/// `NBD_ESHUTDOWN`: the server is about to end.
const SHUTDOWN: u32 = 108;

/// The lanes' end.
pub(super) struct Connection {
    shared: Arc<Shared>,
    thread: Mutex<Thread>,
}

/// What works on the connection.
enum Thread {
    /// It is there for the first lane, and not sooner: a program that makes a sandbox for its threads has made it by then.
    NotYet(Box<Client>),
    Runs(JoinHandle<()>),
    /// It could not be started.
    Failed,
}

struct Shared {
    inbox: Mutex<Inbox>,
    /// There is something in the inbox.
    event: OwnedFd,
    size: AtomicU64,
    /// Wants to know of a change of the size.
    on_change: Mutex<Option<Box<dyn Fn() + Send + Sync>>>,
}

#[derive(Default)]
struct Inbox {
    jobs: Vec<Job>,
    take_back: Vec<(Arc<Done>, Sender<usize>)>,
    connected: Option<io::Result<(Channel, Export)>>,
    closed: bool,
}

impl Connection {
    pub fn new(address: Address, channel: Channel, export: Export, options: NbdOptions) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            inbox: Mutex::default(),
            event: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
            size: AtomicU64::new(export.size),
            on_change: Mutex::default(),
        });
        let client = Client {
            shared: shared.clone(),
            address,
            options,
            export,
            wire: Some(Wire::new(channel)),
            slots: Vec::new(),
            free: Vec::new(),
            to_send: VecDeque::new(),
            away: None,
        };
        Ok(Self {
            shared,
            thread: Mutex::new(Thread::NotYet(Box::new(client))),
        })
    }

    /// Has the connection worked on from now on.
    pub fn start(&self) -> io::Result<()> {
        let mut thread = lock(&self.thread);
        *thread = match std::mem::replace(&mut *thread, Thread::Failed) {
            Thread::NotYet(client) => Thread::Runs(
                thread::Builder::new()
                    .name("nbd".into())
                    .spawn(move || client.run())?,
            ),
            Thread::Failed => return Err(io::Error::other("the connection's thread could not be started")),
            runs => runs,
        };
        Ok(())
    }

    /// Size of the export in bytes.
    pub fn size(&self) -> u64 {
        self.shared.size.load(Ordering::Relaxed)
    }

    /// From now on `tell` is called when the size has changed.
    pub fn on_change(&self, tell: Box<dyn Fn() + Send + Sync>) {
        *lock(&self.shared.on_change) = Some(tell);
    }
}

impl Crew for Connection {
    fn hand_over(&self, jobs: &mut Vec<Job>) -> io::Result<()> {
        self.shared.tell(|inbox| inbox.jobs.append(jobs));
        Ok(())
    }

    fn take_back(&self, done: &Arc<Done>) -> usize {
        let (sender, answer) = channel();
        self.shared
            .tell(|inbox| inbox.take_back.push((done.clone(), sender)));
        answer.recv().unwrap_or(0)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.tell(|inbox| inbox.closed = true);
        match std::mem::replace(&mut *lock(&self.thread), Thread::Failed) {
            Thread::NotYet(client) => client.end(),
            Thread::Runs(thread) => {
                // A panic has been reported by the thread itself.
                let _ = thread.join();
            }
            Thread::Failed => {}
        }
    }
}

impl Shared {
    fn tell(&self, change: impl FnOnce(&mut Inbox)) {
        change(&mut lock(&self.inbox));
        // The counter cannot be full.
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
    }
}

/// The thread's end.
struct Client {
    shared: Arc<Shared>,
    address: Address,
    options: NbdOptions,
    export: Export,
    wire: Option<Wire>,
    /// The outstanding requests; their cookies are the indices.
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Slots whose command is to be sent.
    to_send: VecDeque<u32>,
    /// Since when there is no server, and what is done about it.
    away: Option<Away>,
}

#[derive(Default)]
struct Slot {
    /// None if nobody wants to know any more.
    job: Option<Job>,
    step: u64,
    command: Command,
    /// An answer is expected.
    sent: Cell<bool>,
}

struct Away {
    deadline: Instant,
    /// When to try again; `None` while a try is going on.
    next_try: Option<Instant>,
    /// It has been too long, which has been said.
    given_up: bool,
}

impl Client {
    fn run(mut self) {
        loop {
            if self.read_inbox() {
                return self.end();
            }
            if let Some(mut wire) = self.wire.take() {
                match self.transfer(&mut wire) {
                    Ok(()) => self.wire = Some(wire),
                    Err(error) => self.lose(&error),
                }
            }
            self.look_for_server();
            if let Err(error) = self.wait() {
                tracing::error!(%error, "the NBD client cannot wait for events");
                return self.end();
            }
        }
    }

    /// Takes in what the lanes say; true if that is the end.
    fn read_inbox(&mut self) -> bool {
        let _ = rustix::io::read(&self.shared.event, &mut [0; 8]);
        let inbox = std::mem::take(&mut *lock(&self.shared.inbox));
        for job in inbox.jobs {
            self.begin(job);
        }
        for (done, answer) in inbox.take_back {
            let _ = answer.send(self.abandon(&done));
        }
        match inbox.connected {
            Some(Ok((channel, export))) => self.return_to(channel, export),
            Some(Err(error)) => {
                tracing::debug!(%error, "{} is still away", self.address);
                if let Some(away) = &mut self.away {
                    away.next_try = Some(Instant::now() + PAUSE);
                }
            }
            None => {}
        }
        inbox.closed
    }

    fn begin(&mut self, job: Job) {
        if self.away.as_ref().is_some_and(|away| away.given_up) {
            return job.finish(Err(gone()));
        }
        match Command::of(&job.parcel.request(), &self.export, 0) {
            Ok(Some(command)) => {
                let index = self.free.pop().unwrap_or_else(|| {
                    self.slots.push(Slot::default());
                    self.slots.len() as u32 - 1
                });
                self.slots[index as usize] = Slot {
                    job: Some(job),
                    step: 0,
                    command,
                    sent: Cell::new(false),
                };
                self.to_send.push_back(index);
            }
            Ok(None) => job.finish(Ok(())),
            Err(error) => job.finish(Err(error)),
        }
    }

    /// Forgets the jobs of a lane, and says how many those were.
    fn abandon(&mut self, done: &Arc<Done>) -> usize {
        let mut count = 0;
        for slot in &mut self.slots {
            if slot.job.as_ref().is_some_and(|job| Arc::ptr_eq(&job.done, done)) {
                count += 1;
                // Data that come in for it are skipped; in the middle of data that go out, the connection ends.
                slot.job = None;
            }
        }
        self.to_send.retain(|index| {
            let slot = &self.slots[*index as usize];
            if slot.job.is_none() {
                self.free.push(*index);
            }
            slot.job.is_some()
        });
        count
    }

    /// Sends and receives what can be without waiting.
    fn transfer(&mut self, wire: &mut Wire) -> io::Result<()> {
        loop {
            let slots = &self.slots;
            wire.send(&mut self.to_send, |index| {
                let slot = slots.get(index as usize)?;
                slot.sent.set(true);
                Some((slot.command, slot.job.as_ref()?.parcel.request()))
            })?;
            let reply = wire.receive(|cookie| {
                let slot = slots.get(usize::try_from(cookie).ok()?)?;
                slot.sent
                    .get()
                    .then_some((slot.command, slot.job.as_ref().map(|job| job.parcel.request())))
            })?;
            match reply {
                None => return Ok(()),
                Some(Reply { error: SHUTDOWN, .. }) => {
                    return Err(io::Error::other("the server is about to end"));
                }
                Some(Reply { index, error }) => self.answered(index, error),
            }
        }
    }

    /// A command is complete.
    fn answered(&mut self, index: u32, error: u32) {
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return;
        };
        slot.sent.set(false);
        if let Some(job) = &slot.job
            && error == 0
        {
            match Command::of(&job.parcel.request(), &self.export, slot.step + 1) {
                Ok(Some(command)) => {
                    slot.step += 1;
                    slot.command = command;
                    return self.to_send.push_back(index);
                }
                Ok(None) => {}
                Err(error) => return self.finish(index, Err(error)),
            }
        }
        // The protocol's numbers are Linux's.
        self.finish(
            index,
            match error {
                0 => Ok(()),
                error => Err(io::Error::from_raw_os_error(error.cast_signed())),
            },
        );
    }

    fn finish(&mut self, index: u32, result: io::Result<()>) {
        if let Some(slot) = self.slots.get_mut(index as usize) {
            if let Some(job) = slot.job.take() {
                job.finish(result);
            }
            self.free.push(index);
        }
    }

    /// The connection is lost: everything that has not been answered is to be sent again.
    fn lose(&mut self, error: &io::Error) {
        tracing::warn!(%error, "{}: connection lost, looking for the server", self.address);
        self.wire = None;
        self.away = Some(Away {
            deadline: Instant::now() + self.options.reconnect,
            next_try: Some(Instant::now()),
            given_up: false,
        });
        for index in 0..self.slots.len() as u32 {
            let slot = &mut self.slots[index as usize];
            if !slot.sent.replace(false) {
                continue;
            }
            match slot.job {
                Some(_) => self.to_send.push_back(index),
                None => self.free.push(index),
            }
        }
    }

    fn look_for_server(&mut self) {
        let Some(away) = &mut self.away else { return };
        let now = Instant::now();
        if now >= away.deadline && !away.given_up {
            away.given_up = true;
            tracing::error!(
                "{}: the server is gone for too long; requests fail until it is back",
                self.address
            );
            for index in std::mem::take(&mut self.to_send) {
                self.finish(index, Err(gone()));
            }
        }
        let Some(away) = &mut self.away else { return };
        if away.next_try.is_some_and(|at| now >= at) {
            away.next_try = None;
            let (shared, address) = (self.shared.clone(), self.address.clone());
            let tls = self.options.tls.clone();
            // Connecting may take a while, in which requests can still be dropped.
            let thread = thread::Builder::new().name("nbd-connect".into()).spawn(move || {
                let connected = connect(&address, tls.as_ref());
                shared.tell(|inbox| inbox.connected = Some(connected));
            });
            if thread.is_err() {
                away.next_try = Some(now + PAUSE);
            }
        }
    }

    fn return_to(&mut self, channel: Channel, export: Export) {
        if self.away.is_none() {
            return;
        }
        let usable = if export.has(Export::READ_ONLY) && !self.options.read_only {
            Err(io::Error::other("the server does not let it be written any more"))
        } else if export.size == 0 || !export.size.is_multiple_of(512) {
            Err(io::Error::other(
                "its size is no whole number of sectors any more",
            ))
        } else {
            Ok(Wire::new(channel))
        };
        match usable {
            Ok(wire) => {
                tracing::info!("{}: connected again", self.address);
                if export.size != self.export.size {
                    tracing::info!(
                        "{}: {} bytes now, {} before",
                        self.address,
                        export.size,
                        self.export.size
                    );
                    self.shared.size.store(export.size, Ordering::Relaxed);
                    if let Some(tell) = &*lock(&self.shared.on_change) {
                        tell();
                    }
                }
                self.export = export;
                self.wire = Some(wire);
                self.away = None;
            }
            Err(error) => {
                tracing::warn!(%error, "{}", self.address);
                if let Some(away) = &mut self.away {
                    away.next_try = Some(Instant::now() + PAUSE);
                }
            }
        }
    }

    fn wait(&self) -> io::Result<()> {
        let mut descriptors = vec![PollFd::new(&self.shared.event, PollFlags::IN)];
        if let Some(wire) = &self.wire {
            let mut interest = PollFlags::IN;
            interest.set(PollFlags::OUT, wire.wants_to_send() || !self.to_send.is_empty());
            descriptors.push(PollFd::new(wire, interest));
        }
        let now = Instant::now();
        let timeout = self.away.as_ref().and_then(|away| {
            let deadline = (!away.given_up).then_some(away.deadline);
            let next = [deadline, away.next_try].into_iter().flatten().min()?;
            let left = next.saturating_duration_since(now);
            Some(Timespec {
                tv_sec: left.as_secs().cast_signed(),
                tv_nsec: left.subsec_nanos().into(),
            })
        });
        match poll(&mut descriptors, timeout.as_ref()) {
            Err(Errno::INTR) | Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Nobody has a use for the connection any more.
    fn end(mut self) {
        for slot in &mut self.slots {
            if let Some(job) = slot.job.take() {
                job.finish(Err(gone()));
            }
        }
        if let Some(wire) = self.wire {
            wire.disconnect();
        }
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the NBD server is gone")
}
