//! Extension DBCN, the debug console: output for the time before there is a console device. There is no input.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use super::{Answer, Arguments, Error};
use crate::Ram;

/// The most bytes that one call writes.
const MOST: u64 = 4096;

/// Extension DBCN.
pub fn call(
    output: &Mutex<Box<dyn Write + Send>>,
    ram: &Ram,
    function: u64,
    arguments: &Arguments,
) -> Answer {
    let [length, low, high, ..] = *arguments;
    let mut buffer = [0; MOST as usize];
    let bytes = &mut buffer[..length.min(MOST) as usize];
    match function {
        0 => {
            fetch(ram, low, high, bytes)?;
            write(output, bytes)?;
            Ok(bytes.len() as u64)
        }
        1 => Ok(0),
        2 => {
            write(output, &[arguments[0] as u8])?;
            Ok(0)
        }
        _ => Err(Error::NotSupported),
    }
}

fn fetch(ram: &Ram, low: u64, high: u64, bytes: &mut [u8]) -> Result<(), Error> {
    if high != 0 {
        return Err(Error::InvalidParameter);
    }
    ram.read(low, bytes).map_err(|_| Error::InvalidParameter)
}

fn write(output: &Mutex<Box<dyn Write + Send>>, bytes: &[u8]) -> Result<(), Error> {
    let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
    output
        .write_all(bytes)
        .and_then(|()| output.flush())
        .map_err(|_| Error::Failed)
}
