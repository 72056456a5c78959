//! A source of random bytes: two requests at a time, and no two answers are the same.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use ringwright_driver::entropy::Entropy;

use super::wait::Waiter;
use super::{Drive, Error};

/// Bytes of one request.
const BYTES: usize = 64;

pub(super) fn drive(drive: Drive<'_>) -> Result<String, Error> {
    let (options, mut waiter) = (drive.options(), Waiter::new(&drive));
    let mut entropy = Entropy::new(drive.transport, drive.area, options)?;
    for _ in 0..2 {
        let buffer = entropy.session().allocate(BYTES)?;
        if entropy.request(buffer)?.is_err() {
            return Err(Error::Wrong("its virtqueue does not take two requests"));
        }
    }
    let mut answers = Vec::new();
    for _ in 0..2 {
        let (buffer, length) = waiter.until(&mut entropy, "random bytes", |entropy| Ok(entropy.poll()?))?;
        let mut bytes = [0; BYTES];
        let part = bytes
            .get_mut(..length)
            .ok_or(Error::Wrong("more bytes than asked for"))?;
        if buffer.read(0, part).is_err() || part.is_empty() {
            return Err(Error::Wrong("an answer without bytes"));
        }
        answers.push((bytes, length));
    }
    waiter.confirm(&mut entropy)?;
    if answers[0].0 == answers[1].0 {
        return Err(Error::Wrong("two answers are the same"));
    }
    Ok(format!("{} and {} bytes", answers[0].1, answers[1].1))
}
