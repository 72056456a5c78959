//! A switch that ends whatever watches it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

use crate::{Error, os, readable};

/// Tells whoever serves or waits on a socket to end. Clones are the same switch, and it stays raised.
#[derive(Clone, Debug)]
pub struct Stop(Arc<OwnedFd>);

impl Stop {
    /// A switch that is not raised. Fails if the system has no descriptor left.
    pub fn new() -> Result<Self, Error> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        eventfd(0, flags)
            .map(|fd| Self(Arc::new(fd)))
            .map_err(os("eventfd"))
    }

    /// Ends what watches this switch, now and from now on.
    pub fn raise(&self) {
        // The only failure is a counter that is full, hence raised already.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }

    /// Whether it is raised.
    pub fn is_raised(&self) -> bool {
        readable(&[self.0.as_fd()], Some(Duration::ZERO)).is_ok_and(|ready| ready == [true])
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
