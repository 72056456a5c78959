//! An NBD server that says anything, under a disk.
//!
//! Whatever it says, nothing is written beside a request's data, and nobody waits for it for ever. An honest one may still
//! go away at any instant and come back; then each request comes to what it should.

use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ringwright_device::block::backend::{Backend, Lane, Nbd, NbdOptions, Request};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::disk::{MAX_BYTES, Room};
use crate::nbd_server::{self, SIZE};
use crate::pipes;
use crate::place::folder;
use crate::script::Script;

/// More actions than this make an input slow, not interesting.
const MAX_ACTIONS: usize = 40;

/// Whoever has to be waited for so long hangs.
const DEADLINE: Duration = Duration::from_secs(10);

/// How long the client waits for an answer before it goes on.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 300_000,
};

/// Requests that are outstanding at a time. Each has a part of the disk for itself.
const DEPTH: usize = 4;
const PART: u64 = SIZE as u64 / DEPTH as u64;

/// How much of the input says what the client does; the rest is the server's.
const CLIENT: usize = 64;

/// Plays `input` and panics where the client hangs, or a request does not come to what it should.
pub fn run(input: &[u8]) {
    pipes::ignore_broken();
    let honest = input.first().is_some_and(|byte| byte % 4 == 0);
    let (client, server) = input.split_at(input.len().min(CLIENT));
    let folder = folder();
    let path = folder.path().join("nbd");
    let listener = UnixListener::bind(&path).expect("a socket");
    let (over, ended) = UnixStream::pair().expect("a descriptor is left");
    thread::scope(|scope| {
        let mut script = Script::new(server);
        let serving = scope.spawn(move || nbd_server::serve(&mut script, listener, &ended, honest));
        let start = Instant::now();
        let uri = format!("nbd+unix:///export?socket={}", path.display());
        use_export(&mut Script::new(client), &uri, honest);
        drop(over);
        assert!(start.elapsed() < 2 * DEADLINE, "the client hangs");
        serving.join().expect("no panic");
    });
}

fn use_export(script: &mut Script<'_>, uri: &str, honest: bool) {
    let [_, _, patient, read_only] = script.flags();
    let options = NbdOptions {
        read_only: read_only && !honest,
        reconnect: match (honest, patient) {
            (true, _) => 4 * DEADLINE,
            (false, true) => Duration::from_millis(20),
            (false, false) => Duration::ZERO,
        },
        tls: None,
    };
    let read_only = options.read_only;
    let nbd = match Nbd::connect(uri.parse().expect("a URI"), options) {
        Ok(nbd) => Arc::new(nbd),
        Err(error) => {
            assert!(!honest, "an honest server is refused: {error}");
            return;
        }
    };
    let capacity = nbd.capacity();
    assert!(capacity != 0 && capacity.is_multiple_of(512), "{capacity}");
    let mut client = Client {
        lane: nbd.clone().lane(DEPTH as u16).expect("a descriptor is left"),
        tags: Default::default(),
        content: vec![0; SIZE],
        capacity,
        honest,
    };
    for _ in 0..MAX_ACTIONS {
        if script.is_empty() {
            break;
        }
        client.act(script, read_only);
    }
    if honest {
        client.finish();
    }
    let Client { lane, tags, .. } = client;
    let start = Instant::now();
    drop(lane);
    drop(nbd);
    assert!(start.elapsed() < DEADLINE, "the server is waited for");
    for tag in tags {
        tag.room.take(MAX_BYTES);
    }
}

/// One lane's user.
struct Client {
    lane: Box<dyn Lane>,
    tags: [Tag; DEPTH],
    /// What is to be found on the disk, of an honest server.
    content: Vec<u8>,
    capacity: u64,
    honest: bool,
}

#[derive(Default)]
struct Tag {
    room: Room,
    asked: Option<Asked>,
}

/// A request that is outstanding.
struct Asked {
    offset: u64,
    length: usize,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write(u8),
    Zero,
    Other,
}

impl Client {
    fn act(&mut self, script: &mut Script<'_>, read_only: bool) {
        let index = script.index(DEPTH + 1);
        let Some(tag) = self.tags.get_mut(index).filter(|tag| tag.asked.is_none()) else {
            return self.listen();
        };
        let (first, end) = match self.honest {
            true => (index as u64 * PART, (index as u64 + 1) * PART),
            false => (0, self.capacity),
        };
        let sectors = (end - first) / 512;
        let at = script.below(sectors);
        let count = 1 + script.below((sectors - at).min(MAX_BYTES as u64 / 512));
        let (offset, length) = (first + at * 512, count as usize * 512);
        let [stable, unmap] = script.flags();
        let kind = match script.u8() % 8 {
            0..=2 => Kind::Read,
            _ if read_only => Kind::Read,
            3 | 4 => Kind::Write(script.u8()),
            5 => Kind::Zero,
            _ => Kind::Other,
        };
        if let Kind::Write(byte) = kind {
            tag.room.put(&vec![byte; length]);
        }
        let data = tag.room.part(length);
        let request = match kind {
            Kind::Read => Request::Read { offset, into: data },
            Kind::Write(_) => Request::Write {
                offset,
                from: data,
                stable,
            },
            Kind::Zero => Request::WriteZeroes {
                offset,
                length: length as u64,
                unmap,
                stable,
            },
            Kind::Other if unmap => Request::Flush,
            Kind::Other => Request::Discard {
                offset,
                length: length as u64,
            },
        };
        assert!(self.lane.now(&request).is_none(), "a server takes time");
        let taken = self.lane.later(index as u16, &request, tag.room.memory());
        taken.expect("a request that is as it should be");
        self.lane.submit().expect("a thread takes it");
        tag.asked = Some(Asked { offset, length, kind });
    }

    /// Takes what is complete, or comes soon.
    fn listen(&mut self) {
        let descriptor = self.lane.descriptor().expect("it takes time");
        let _ = poll(
            &mut [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)],
            Some(&PATIENCE),
        );
        while let Some((tag, outcome)) = self.lane.completed() {
            let tag = &mut self.tags[usize::from(tag)];
            let asked = tag.asked.take().expect("it is complete once");
            let found = tag.room.take(asked.length);
            if !self.honest {
                continue;
            }
            outcome.expect("an honest server's answer");
            let content = &mut self.content[asked.offset as usize..][..asked.length];
            match asked.kind {
                Kind::Read => assert!(found == content, "what was read at {:#x}", asked.offset),
                Kind::Write(byte) => content.fill(byte),
                Kind::Zero => content.fill(0),
                Kind::Other => {}
            }
        }
    }

    /// Waits for everything that is outstanding.
    fn finish(&mut self) {
        let start = Instant::now();
        while self.tags.iter().any(|tag| tag.asked.is_some()) {
            assert!(start.elapsed() < DEADLINE, "a request is lost");
            self.listen();
        }
    }
}
