//! Our own devices, each in the simplest way it can be had.

use std::any::Any;
use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use ringwright_device::{Device, block, console, entropy, network};

use super::{Bus, InProcess, SubjectError};

/// Bytes of the disk.
const DISK: u32 = 8 << 20;

/// Our device types, by the document's names.
pub const OURS: &[&str] = &["block", "network", "console", "entropy"];

/// Our device of the type of that name on `bus`; `None` if there is none.
pub fn ours(name: &str, bus: Bus) -> Option<InProcess> {
    let make: fn() -> Result<Made, SubjectError> = match name {
        "block" => disk,
        "network" => card,
        "console" => terminal,
        "entropy" => source,
        _ => return None,
    };
    Some(InProcess::new(format!("our {name}"), bus, Box::new(make)))
}

/// A device, and what it needs to go on working.
pub type Made = (Box<dyn Device>, Box<dyn Any + Send>);

fn disk() -> Result<Made, SubjectError> {
    let memory = block::backend::Memory::new(DISK).map_err(system("memory for a disk"))?;
    let options = block::Options {
        serial: "conformance".into(),
        ..block::Options::default()
    };
    let disk = block::Block::new(Arc::new(memory), options).map_err(|error| SubjectError::System {
        what: "a disk".into(),
        source: io::Error::other(error),
    })?;
    Ok((Box::new(disk), Box::new(())))
}

/// A network card whose cable leads to a socket that nobody reads.
fn card() -> Result<Made, SubjectError> {
    let (near, far) = UnixStream::pair().map_err(system("a cable"))?;
    let backend = network::backend::Stream::connected(near).map_err(system("a network card"))?;
    let options = network::Options {
        mac: Some([2, 0, 0, 0, 0, 1]),
        mtu: None,
    };
    let card = network::Network::new(Box::new(backend), options).map_err(|error| SubjectError::System {
        what: "a network card".into(),
        source: io::Error::other(error),
    })?;
    Ok((Box::new(card), Box::new(far)))
}

/// A console that nobody writes to, and whose output goes nowhere.
fn terminal() -> Result<Made, SubjectError> {
    let (input, silent) = UnixStream::pair().map_err(system("a terminal"))?;
    let output = File::options()
        .write(true)
        .open("/dev/null")
        .map_err(system("/dev/null"))?;
    let backend =
        console::backend::Descriptors::new(input.into(), output.into()).map_err(system("a terminal"))?;
    let size = console::Size {
        columns: 80,
        rows: 25,
    };
    Ok((
        Box::new(console::Console::new(Box::new(backend), Some(size))),
        Box::new(silent),
    ))
}

fn source() -> Result<Made, SubjectError> {
    let backend = Arc::new(entropy::backend::Os);
    Ok((Box::new(entropy::Entropy::new(backend)), Box::new(())))
}

fn system(what: &str) -> impl FnOnce(io::Error) -> SubjectError {
    let what = what.to_owned();
    move |source| SubjectError::System { what, source }
}
