//! Unix stream sockets as vhost-user and vfio-user use them: bytes with file descriptors, deadlines, and a switch that
//! ends every wait.
//!
//! What the bytes mean is the protocols' affair. The socket is never blocked on without also watching for [`Stop`], and
//! every descriptor that arrives is owned from the first moment, so that no error path leaks one.
#![forbid(unsafe_code)]

mod listen;
mod stop;
mod stream;

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

pub use listen::accept;
pub use stop::Stop;
pub use stream::{MOST_DESCRIPTORS, Stream};

/// Why nothing could be received or sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The other end is gone, between two messages.
    #[error("the other end closed the connection")]
    Closed,
    /// The other end is gone, in the midst of a message.
    #[error("the connection ended after {found} of {expected} bytes of a message")]
    Truncated {
        /// Bytes the message has.
        expected: usize,
        /// Bytes that came.
        found: usize,
    },
    /// [`Stop::raise`] was called.
    #[error("told to stop")]
    Stopped,
    /// Nothing came in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// More file descriptors than a message may have.
    #[error("a message carries more than {most} file descriptors")]
    TooManyDescriptors {
        /// How many it may have.
        most: usize,
    },
    /// The system refused.
    #[error("{operation} on the socket: {source}")]
    Os {
        /// What was tried.
        operation: &'static str,
        /// The system's reason.
        source: Errno,
    },
}

/// Which of `descriptors` become readable, or have lost their other end, within `timeout`; for ever without one. None
/// is if the time is up.
pub fn readable(descriptors: &[BorrowedFd<'_>], timeout: Option<Duration>) -> Result<Vec<bool>, Error> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let mut polled: Vec<PollFd<'_>> = descriptors
        .iter()
        .map(|descriptor| PollFd::new(descriptor, PollFlags::IN))
        .collect();
    wait(&mut polled, deadline)?;
    Ok(polled.iter().map(|one| !one.revents().is_empty()).collect())
}

/// Waits until one of `polled` is ready or `deadline` has passed.
fn wait(polled: &mut [PollFd<'_>], deadline: Option<Instant>) -> Result<(), Error> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match poll(polled, left.map(timespec).as_ref()) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(source) => return Err(os("poll")(source)),
        }
    }
}

fn os(operation: &'static str) -> impl Fn(Errno) -> Error {
    move |source| Error::Os { operation, source }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs().min(i32::MAX as u64) as _,
        tv_nsec: duration.subsec_nanos() as _,
    }
}

#[cfg(test)]
mod tests;
