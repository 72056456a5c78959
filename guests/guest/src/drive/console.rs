//! A console: greets whoever is at the other end, and repeats the answer, of any length.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use ringwright_driver::Transport;
use ringwright_driver::console::Console;

use super::wait::Waiter;
use super::{Drive, Error};

pub(super) fn drive(drive: Drive<'_>) -> Result<String, Error> {
    let (options, mut waiter) = (drive.options(), Waiter::new(&drive));
    let time = drive.time;
    let mut console = Console::new(drive.transport, drive.area, options)?;
    write(&mut console, &mut waiter, format!("ready {time}\n").as_bytes())?;
    let answer = read_line(&mut console, &mut waiter)?;
    waiter.confirm(&mut console)?;
    if !answer.starts_with(format!("hello {time} ").as_bytes()) {
        return Err(Error::Wrong("the answer is not the one to this greeting"));
    }
    write(
        &mut console,
        &mut waiter,
        &[b"heard ", answer.as_slice()].concat(),
    )?;
    waiter.until(&mut console, "the output to be taken", |console| {
        Ok(console.flushed()?.then_some(()))
    })?;
    Ok(format!("an answer of {} bytes repeated", answer.len()))
}

fn write<T: Transport>(console: &mut Console<T>, waiter: &mut Waiter, bytes: &[u8]) -> Result<(), Error> {
    let mut rest = bytes;
    waiter.until(console, "output to be taken", |console| {
        rest = &rest[console.write(rest)?..];
        Ok(rest.is_empty().then_some(()))
    })
}

/// Reads to the end of a line.
fn read_line<T: Transport>(console: &mut Console<T>, waiter: &mut Waiter) -> Result<Vec<u8>, Error> {
    let mut line = Vec::new();
    waiter.until(console, "an answer", |console| {
        let mut bytes = [0; 256];
        let length = console.read(&mut bytes)?;
        line.extend_from_slice(&bytes[..length]);
        Ok(line.ends_with(b"\n").then_some(()))
    })?;
    Ok(line)
}
