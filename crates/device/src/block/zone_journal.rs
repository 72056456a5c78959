//! What requests have done to the zones, as long as their drivers may not have seen it: a part of the zones' state file.
//!
//! A process that takes the place of one that was killed is given the requests that were in flight once more, and some of
//! them have had their effect. An append must not have it twice, and a write would find the write pointer behind itself. So
//! each change of a zone is written down together with the request that it was for, before its data; the process after
//! this one then writes the same data to the same place, if that was not done, and gives the same answer.
//!
//! The part has a head, an entry for what happens without a request, and a block for each queue: which of its entries are still of interest, and an entry for each
//! request that can be in flight, by the id of its chain. Every piece lies within a page, and is written at once.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::zone_file::{read_all, write_all};

/// Bytes of the head, of the head of a queue, and of an entry.
const PIECE: u64 = 64;

/// The first bytes; the last of them is the version.
const MAGIC: [u8; 8] = *b"RWZJRNL\x01";

/// Where in a head of a queue, and in an entry, what is.
const BATCH: usize = 0;
const NUMBER: usize = 8;
const ZONE: usize = 16;
const WORD: usize = 24;
const SECTOR: usize = 32;
const STAGE: usize = 40;

/// The effect of a request on a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Effect {
    /// The zone, and what it has become, as in the state file.
    pub zone: u64,
    pub word: u64,
    /// Where the request's data go.
    pub sector: u64,
    pub stage: Stage,
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It was taken back: what is recorded is only what the zone has become.
    Undone,
    /// Its data are on their way.
    Begun,
    /// Nothing is left to be done.
    Done,
}

/// The journal. The caller keeps others from using it at the same time.
#[derive(Debug)]
pub(super) struct Journal {
    /// Where in the file it begins.
    start: u64,
    /// Entries of each queue.
    depth: u16,
    queues: Vec<QueueHead>,
    /// Number of the next effect.
    next: u64,
}

#[derive(Clone, Copy, Debug)]
struct QueueHead {
    /// Entries with this number are of interest.
    batch: u64,
    /// There may be some.
    used: bool,
    /// What is of no interest any more could not be said.
    stuck: bool,
}

impl Journal {
    /// Bytes of a journal for so many queues of that depth.
    pub fn length(queues: u16, depth: u16) -> u64 {
        2 * PIECE + u64::from(queues) * (PIECE + PIECE * u64::from(depth))
    }

    /// Takes up the journal that begins at `start` of a file that is long enough, or begins one. Also gives the newest effect,
    /// which is the only one that the rest of the state file may not know yet.
    pub fn open(
        file: &OwnedFd,
        start: u64,
        queues: u16,
        depth: u16,
    ) -> rustix::io::Result<(Self, Option<Effect>)> {
        let mut head = [0; PIECE as usize];
        read_all(file, &mut head, start)?;
        let mut bytes = vec![0; (Self::length(queues, depth) - PIECE) as usize];
        if head[..8] == MAGIC && head[8..10] == depth.to_le_bytes() {
            read_all(file, &mut bytes, start + PIECE)?;
        } else {
            // None, or one for queues of another depth, whose driver cannot have been the one that comes now.
            write_all(file, start + PIECE, &bytes)?;
            head[..8].copy_from_slice(&MAGIC);
            head[8..10].copy_from_slice(&depth.to_le_bytes());
            write_all(file, start, &head)?;
        }
        let pieces = bytes.as_chunks::<{ PIECE as usize }>().0;
        let (outside, blocks) = pieces.split_first().ok_or(Errno::IO)?;
        let blocks = blocks.chunks(1 + usize::from(depth));
        let queue = |block: &[[u8; PIECE as usize]]| QueueHead {
            batch: word_at(&block[0], BATCH),
            used: true,
            stuck: false,
        };
        let entries = blocks.clone().flat_map(|block| &block[1..]);
        let newest = entries
            .chain([outside])
            .max_by_key(|entry| word_at(entry, NUMBER));
        let number = newest.map_or(0, |entry| word_at(entry, NUMBER));
        let journal = Self {
            start,
            depth,
            queues: blocks.map(queue).collect(),
            next: number + 1,
        };
        Ok((journal, newest.filter(|_| number != 0).and_then(effect_of)))
    }

    /// A driver has seen the answers to everything that queue `queue` was given before. If that cannot be written down, the
    /// queue's requests are refused until it can.
    pub fn begin(&mut self, file: &OwnedFd, queue: u16) {
        let start = self.start_of(queue);
        if let Some(head) = self.queues.get_mut(usize::from(queue))
            && head.used
        {
            let batch = head.batch + 1;
            match write_all(file, start + BATCH as u64, &batch.to_le_bytes()) {
                Ok(()) => {
                    *head = QueueHead {
                        batch,
                        used: false,
                        stuck: false,
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the zones' state cannot be written");
                    head.stuck = true;
                }
            }
        }
    }

    /// What the request that has chain `id` of `queue` had done when the process before this one ended, if anything.
    pub fn effect(&self, file: &OwnedFd, queue: u16, id: u16) -> io::Result<Option<Effect>> {
        let (place, head) = self.place(queue, id)?;
        let mut entry = [0; PIECE as usize];
        read_all(file, &mut entry, place)?;
        let current = word_at(&entry, NUMBER) != 0 && word_at(&entry, BATCH) == head.batch;
        Ok(effect_of(&entry).filter(|effect| current && effect.stage != Stage::Undone))
    }

    /// Writes down what a request does, before it does it.
    pub fn record(&mut self, file: &OwnedFd, queue: u16, id: u16, effect: Effect) -> io::Result<()> {
        let (place, head) = self.place(queue, id)?;
        if head.stuck {
            return Err(io::Error::other("the zones' state cannot be written"));
        }
        self.queues[usize::from(queue)].used = true;
        self.write(file, place, head.batch, effect)
    }

    /// Writes down what happens to a zone without a request.
    pub fn record_from_outside(&mut self, file: &OwnedFd, effect: Effect) -> io::Result<()> {
        self.write(file, self.start + PIECE, 0, effect)
    }

    fn write(&mut self, file: &OwnedFd, place: u64, batch: u64, effect: Effect) -> io::Result<()> {
        let mut entry = [0; PIECE as usize];
        for (at, word) in [
            (BATCH, batch),
            (NUMBER, self.next),
            (ZONE, effect.zone),
            (WORD, effect.word),
            (SECTOR, effect.sector),
            (STAGE, effect.stage as u64),
        ] {
            entry[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        self.next += 1;
        Ok(write_all(file, place, &entry)?)
    }

    /// The request's data are where they belong.
    pub fn finish(&self, file: &OwnedFd, queue: u16, id: u16) -> io::Result<()> {
        let (place, _) = self.place(queue, id)?;
        let stage = (Stage::Done as u64).to_le_bytes();
        Ok(write_all(file, place + STAGE as u64, &stage)?)
    }

    fn start_of(&self, queue: u16) -> u64 {
        self.start + Self::length(queue, self.depth)
    }

    /// Where an entry is, and the head of its queue.
    fn place(&self, queue: u16, id: u16) -> io::Result<(u64, QueueHead)> {
        let head = self.queues.get(usize::from(queue)).filter(|_| id < self.depth);
        let head = head.ok_or_else(|| io::Error::other("a chain id that the queue cannot have"))?;
        Ok((self.start_of(queue) + PIECE + PIECE * u64::from(id), *head))
    }
}

/// What an entry says. `None` if that cannot be.
fn effect_of(entry: &[u8; PIECE as usize]) -> Option<Effect> {
    let stage = match word_at(entry, STAGE) {
        0 => Stage::Undone,
        1 => Stage::Begun,
        2 => Stage::Done,
        _ => return None,
    };
    Some(Effect {
        zone: word_at(entry, ZONE),
        word: word_at(entry, WORD),
        sector: word_at(entry, SECTOR),
        stage,
    })
}

fn word_at(piece: &[u8; PIECE as usize], at: usize) -> u64 {
    let bytes = piece.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u64::from_le_bytes)
}
