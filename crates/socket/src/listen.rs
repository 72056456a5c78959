//! Waiting for one client after another.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::io::Errno;

use crate::{Error, Stop, os, readable};

/// The next client of `listener`, or `None` once `stop` is raised. Leaves the listener in non-blocking mode.
pub fn accept(listener: &UnixListener, stop: &Stop) -> Result<Option<UnixStream>, Error> {
    let failed = |operation: &'static str| {
        move |error: std::io::Error| {
            let source = error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error);
            os(operation)(source)
        }
    };
    listener
        .set_nonblocking(true)
        .map_err(failed("setting non-blocking mode"))?;
    while !stop.is_raised() {
        match listener.accept() {
            Ok((stream, _)) => return Ok(Some(stream)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                readable(&[listener.as_fd(), stop.as_fd()], None)?;
            }
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(failed("accept")(error)),
        }
    }
    Ok(None)
}
