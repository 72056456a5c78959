//! A disk: reads its label, writes to it, and reads that back.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use ringwright_driver::Transport;
use ringwright_driver::block::{Block, Completion, Request};
use ringwright_memory::Buffer;

use super::wait::Waiter;
use super::{Drive, Error};

/// The beginning of a disk that may be written to. The key of what is written depends on the whole first sector.
const LABEL: &[u8] = b"ringwright guest disk\n";

const SECTOR: usize = 512;

/// Requests that are outstanding at a time, and sectors of each.
const REQUESTS: usize = 8;
const SECTORS: usize = 8;

pub(super) fn drive(drive: Drive<'_>) -> Result<String, Error> {
    let (options, mut waiter) = (drive.options(), Waiter::new(&drive));
    let time = u64::from(drive.time);
    let mut disk = Block::new(drive.transport, drive.area, 1, options)?;
    let geometry = disk.geometry();
    let label = read(&mut disk, &mut waiter, &[0], 1)?.remove(0);
    waiter.confirm(&mut disk)?;
    if !label.starts_with(LABEL) {
        return Err(Error::Wrong(
            "it does not begin with the label of a disk that may be written to",
        ));
    }
    let key = key(&label);
    // Each time, the next as many sectors.
    let first = time * (REQUESTS * SECTORS) as u64;
    let starts: Vec<u64> = (0..REQUESTS)
        .map(|request| first + (request * SECTORS) as u64)
        .collect();
    let contents: Vec<Vec<u8>> = starts.iter().map(|start| pattern(key, time, *start)).collect();
    write(&mut disk, &mut waiter, &starts, &contents)?;
    if geometry.flush {
        complete(&mut disk, &mut waiter, vec![Request::flush()])?;
    }
    if read(&mut disk, &mut waiter, &starts, SECTORS)? != contents {
        return Err(Error::Wrong("it does not give back what was written"));
    }
    Ok(format!(
        "{} of {} sectors written and read back{}",
        REQUESTS * SECTORS,
        geometry.capacity,
        if geometry.flush { ", flushed" } else { "" }
    ))
}

/// Reads `sectors` sectors from each of `starts` on.
fn read<T: Transport>(
    disk: &mut Block<T>,
    waiter: &mut Waiter,
    starts: &[u64],
    sectors: usize,
) -> Result<Vec<Vec<u8>>, Error> {
    let mut requests = Vec::new();
    for start in starts {
        requests.push(Request::read(*start, disk.session().allocate(sectors * SECTOR)?));
    }
    let buffers = complete(disk, waiter, requests)?;
    let content = |buffer: Option<Buffer>| {
        let buffer = buffer.ok_or(Error::Wrong("a buffer has not come back"))?;
        let mut bytes = vec![0; buffer.len()];
        match buffer.read(0, &mut bytes) {
            Ok(()) => Ok(bytes),
            Err(_) => Err(Error::Wrong("a buffer has another length")),
        }
    };
    buffers.into_iter().map(content).collect()
}

/// Writes each of `contents` from the sector of `starts` on.
fn write<T: Transport>(
    disk: &mut Block<T>,
    waiter: &mut Waiter,
    starts: &[u64],
    contents: &[Vec<u8>],
) -> Result<(), Error> {
    let mut requests = Vec::new();
    for (start, bytes) in starts.iter().zip(contents) {
        let buffer = disk.session().allocate(bytes.len())?;
        if buffer.write(0, bytes).is_err() {
            return Err(Error::Wrong("a buffer has another length"));
        }
        requests.push(Request::write(*start, buffer));
    }
    complete(disk, waiter, requests).map(drop)
}

/// Submits all of `requests`, waits for them, and returns their buffers in the same order.
fn complete<T: Transport>(
    disk: &mut Block<T>,
    waiter: &mut Waiter,
    requests: Vec<Request>,
) -> Result<Vec<Option<Buffer>>, Error> {
    let count = requests.len();
    for (tag, request) in requests.into_iter().enumerate() {
        if disk.submit(0, request, tag as u64).is_err() {
            return Err(Error::Wrong("the driver refuses a request"));
        }
    }
    disk.publish(0)?;
    let mut buffers: Vec<Option<Buffer>> = (0..count).map(|_| None).collect();
    for _ in 0..count {
        let Completion {
            tag, data, result, ..
        } = waiter.until(disk, "a request", |disk| Ok(disk.poll(0)?))?;
        if result.is_err() {
            return Err(Error::Wrong("a request has failed"));
        }
        buffers[tag as usize] = data.into_buffer();
    }
    Ok(buffers)
}

/// What stands for the label: its FNV-1a hash.
fn key(label: &[u8]) -> u64 {
    label.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// What to write to the sectors of one request from `start` on, the `time`th time.
fn pattern(key: u64, time: u64, start: u64) -> Vec<u8> {
    let words =
        (0..SECTORS as u64).flat_map(|sector| (0..SECTOR as u64 / 8).map(move |index| (sector, index)));
    let bytes = words.flat_map(|(sector, index)| {
        let place = time << 48 | (start + sector) << 8 | index;
        key.wrapping_add(place)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .to_le_bytes()
    });
    bytes.collect()
}
