//! Where the zones of a disk are kept between one process and the next: a small file beside the disk's content.
//!
//! It has a head of 64 bytes, which says for what disk it is, and eight bytes for each zone: the state in the highest one,
//! and how many sectors are written. All zeroes are a zone that nothing was done to. From the next page on follows the
//! [`Journal`].

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ringwright_spec::block::zoned::ZoneState;
use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate, fdatasync, fstat, ftruncate, open};
use rustix::io::{Errno, pread, pwrite};

use super::zone_journal::{Effect, Journal, Stage};
use super::zones::{Shape, Zone, Zones};

/// Bytes of the head.
const HEAD: usize = 64;

/// The first bytes; the last of them is the version.
const MAGIC: [u8; 8] = *b"RWZONES\x01";

/// Stands in the journal where no zone has changed.
const NO_ZONE: u64 = u64::MAX;

/// What no piece of the journal crosses.
const PAGE: u64 = 4096;

/// The state file of a zoned disk.
#[derive(Debug)]
pub struct ZoneFile {
    file: OwnedFd,
    journal: Mutex<Journal>,
}

/// A request, as it is told from others in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chain {
    pub queue: u16,
    pub id: u16,
    /// It was in flight when the process before this one ended.
    pub repeated: bool,
}

/// Why the zones of a disk are not known.
#[derive(Debug, thiserror::Error)]
pub enum ZoneFileError {
    /// The file is one of something else, or of a disk with other zones.
    #[error("{}: {what}", .path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A zone cannot be what the file says.
    #[error("{}: zone {index} is in state {state} with {written} sectors written, which cannot be", .path.display())]
    Zone {
        /// The file.
        path: PathBuf,
        /// Number of the zone.
        index: usize,
        /// Its state.
        state: u8,
        /// Sectors written.
        written: u64,
    },
    /// Anything else.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
}

impl ZoneFile {
    /// Opens the state file, which is made if there is none, and gives the zones as they were left. The disk has so many
    /// queues of that size.
    pub fn open(
        path: &Path,
        shape: Shape,
        queues: u16,
        queue_size: u16,
    ) -> Result<(Self, Zones), ZoneFileError> {
        let failed = |source: Errno| ZoneFileError::Io {
            path: path.to_owned(),
            source: source.into(),
        };
        let other = |what| ZoneFileError::Other {
            path: path.to_owned(),
            what,
        };
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        let file = open(path, flags, Mode::from_raw_mode(0o600)).map_err(failed)?;
        let length = HEAD as u64 + 8 * shape.count() as u64;
        let found = fstat(&file).map_err(failed)?.st_size as u64;
        let journal = length.next_multiple_of(PAGE);
        let end = journal + Journal::length(queues, queue_size);
        if found != 0 && found != length && found < journal {
            return Err(other("this is the zones' state of another disk, or of none"));
        }
        let head = head_of(&shape);
        let mut kept = [0; HEAD];
        if found != 0 {
            read_all(&file, &mut kept, 0).map_err(failed)?;
            if kept != [0; HEAD] && kept != head {
                return Err(other(
                    "this is the zones' state of a disk with other zones: their number, size, capacity or model differ",
                ));
            }
        }
        if found < end {
            ftruncate(&file, end).map_err(failed)?;
        }
        let mut bytes = vec![0; length as usize];
        read_all(&file, &mut bytes, 0).map_err(failed)?;
        if kept != head {
            write_all(&file, 0, &head).map_err(failed)?;
        }
        // A disk that gets full must not keep its zones from being written to.
        match fallocate(&file, FallocateFlags::empty(), 0, end) {
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(error) => return Err(failed(error)),
        }
        let (journal, newest) = Journal::open(&file, journal, queues, queue_size).map_err(failed)?;
        if let Some(Effect { zone, word, .. }) = newest.filter(|effect| effect.zone < shape.count() as u64) {
            let at = HEAD + 8 * zone as usize;
            bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
            write_all(&file, at as u64, &word.to_le_bytes()).map_err(failed)?;
        }
        let mut zones = Zones::new(shape);
        for (index, word) in bytes[HEAD..].as_chunks::<8>().0.iter().enumerate() {
            let word = u64::from_le_bytes(*word);
            let (state, written) = ((word >> 56) as u8, word & (u64::MAX >> 8));
            if word == 0 {
                continue;
            }
            let zone = Zone {
                state: ZoneState(state),
                written,
            };
            zones.put(index, zone).ok_or_else(|| ZoneFileError::Zone {
                path: path.to_owned(),
                index,
                state,
                written,
            })?;
        }
        zones.take_changed().for_each(drop);
        let journal = Mutex::new(journal);
        Ok((Self { file, journal }, zones))
    }

    /// The driver has the answers to everything that was taken from this queue before.
    pub(super) fn begin(&self, queue: u16) {
        self.journal().begin(&self.file, queue);
    }

    /// What a request has done, if it was in flight when the process before this one ended.
    pub(super) fn effect(&self, chain: Chain) -> io::Result<Option<Effect>> {
        match chain.repeated {
            true => self.journal().effect(&self.file, chain.queue, chain.id),
            false => Ok(None),
        }
    }

    /// Writes down what zones have become by a request, whose data go to `sector`. It is stable after a later
    /// [`ZoneFile::flush`], and survives the end of this process at once: all of it, or nothing but what matters to no
    /// request.
    pub(super) fn record(
        &self,
        chain: Chain,
        changed: &[(usize, Zone)],
        sector: u64,
        stage: Stage,
    ) -> io::Result<()> {
        let (main, others) = match changed.split_last() {
            Some((main, others)) => (Some(main), others),
            None => (None, changed),
        };
        for (other, state) in others {
            self.put(*other, word_of(*state))?;
        }
        let effect = Effect {
            zone: main.map_or(NO_ZONE, |(zone, _)| *zone as u64),
            word: main.map_or(0, |(_, state)| word_of(*state)),
            sector,
            stage,
        };
        // The order matters: who comes next puts the newest effect's word himself.
        self.journal().record(&self.file, chain.queue, chain.id, effect)?;
        match main {
            Some((zone, _)) => self.put(*zone, effect.word),
            None => Ok(()),
        }
    }

    /// Writes down what has become of a zone without a request.
    pub(super) fn put_from_outside(&self, index: usize, zone: Zone) -> io::Result<()> {
        let word = word_of(zone);
        let effect = Effect {
            zone: index as u64,
            word,
            sector: 0,
            stage: Stage::Done,
        };
        self.journal().record_from_outside(&self.file, effect)?;
        self.put(index, word)
    }

    /// The data of a request that was recorded are where they belong.
    pub(super) fn finish(&self, chain: Chain) -> io::Result<()> {
        self.journal().finish(&self.file, chain.queue, chain.id)
    }

    /// Makes everything stable that was written before.
    pub(super) fn flush(&self) -> io::Result<()> {
        Ok(fdatasync(&self.file)?)
    }

    fn put(&self, index: usize, word: u64) -> io::Result<()> {
        Ok(write_all(
            &self.file,
            (HEAD + 8 * index) as u64,
            &word.to_le_bytes(),
        )?)
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn word_of(zone: Zone) -> u64 {
    u64::from(zone.state.0) << 56 | zone.written
}

/// What the file says of its disk. Limits on open and active zones are not part of that: they may be other ones each time.
fn head_of(shape: &Shape) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(&MAGIC);
    head[8..16].copy_from_slice(&shape.capacity.to_le_bytes());
    head[16..20].copy_from_slice(&shape.zone_sectors.to_le_bytes());
    head[20..24].copy_from_slice(&shape.zone_capacity.to_le_bytes());
    head[24..28].copy_from_slice(&shape.conventional.to_le_bytes());
    head[28] = shape.model.0;
    head
}

pub(super) fn read_all(file: &OwnedFd, mut into: &mut [u8], mut offset: u64) -> rustix::io::Result<()> {
    while !into.is_empty() {
        match pread(file, &mut *into, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(length) => {
                offset += length as u64;
                into = &mut into[length..];
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub(super) fn write_all(file: &OwnedFd, mut offset: u64, mut from: &[u8]) -> rustix::io::Result<()> {
    #[cfg(test)]
    super::zone_journal_tests::crash_point();
    while !from.is_empty() {
        match pwrite(file, from, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(length) => {
                offset += length as u64;
                from = &from[length..];
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    #[cfg(test)]
    super::zone_journal_tests::crash_point();
    Ok(())
}
