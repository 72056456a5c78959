//! Where the zones of a disk are kept between one process and the next: a small file beside the disk's content.
//!
//! It has a head of 64 bytes, which says for what disk it is, and eight bytes for each zone: the state in the highest one,
//! and how many sectors are written. All zeroes are a zone that nothing was done to.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use ringwright_spec::block::zoned::ZoneState;
use rustix::fs::{Mode, OFlags, fdatasync, fstat, ftruncate, open};
use rustix::io::{pread, pwrite};

use super::zones::{Shape, Zone, Zones};

/// Bytes of the head.
const HEAD: usize = 64;

/// The first bytes; the last of them is the version.
const MAGIC: [u8; 8] = *b"RWZONES\x01";

/// The state file of a zoned disk.
#[derive(Debug)]
pub struct ZoneFile(OwnedFd);

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
    /// Opens the state file, which is made if there is none, and gives the zones as they were left.
    pub fn open(path: &Path, shape: Shape) -> Result<(Self, Zones), ZoneFileError> {
        let failed = |source: rustix::io::Errno| ZoneFileError::Io {
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
        if found == 0 {
            ftruncate(&file, length).map_err(failed)?;
        } else if found != length {
            return Err(other("this is the zones' state of another disk, or of none"));
        }
        let mut bytes = vec![0; length as usize];
        read_all(&file, &mut bytes).map_err(failed)?;
        let head = head_of(&shape);
        if bytes[..HEAD].iter().all(|byte| *byte == 0) {
            write_all(&file, 0, &head).map_err(failed)?;
        } else if bytes[..HEAD] != head {
            return Err(other(
                "this is the zones' state of a disk with other zones: their number, size, capacity or model differ",
            ));
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
        Ok((Self(file), zones))
    }

    /// Writes what a zone has become. It is stable after a later [`ZoneFile::flush`], and survives the end of this process
    /// at once.
    pub fn put(&self, index: usize, zone: Zone) -> io::Result<()> {
        let word = u64::from(zone.state.0) << 56 | zone.written;
        Ok(write_all(
            &self.0,
            (HEAD + 8 * index) as u64,
            &word.to_le_bytes(),
        )?)
    }

    /// Makes everything stable that was put before.
    pub fn flush(&self) -> io::Result<()> {
        Ok(fdatasync(&self.0)?)
    }
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

fn read_all(file: &OwnedFd, mut into: &mut [u8]) -> rustix::io::Result<()> {
    let mut offset = 0;
    while !into.is_empty() {
        match pread(file, &mut *into, offset) {
            Ok(0) => return Err(rustix::io::Errno::IO),
            Ok(length) => {
                offset += length as u64;
                into = &mut into[length..];
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn write_all(file: &OwnedFd, mut offset: u64, mut from: &[u8]) -> rustix::io::Result<()> {
    while !from.is_empty() {
        match pwrite(file, from, offset) {
            Ok(0) => return Err(rustix::io::Errno::IO),
            Ok(length) => {
                offset += length as u64;
                from = &from[length..];
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
