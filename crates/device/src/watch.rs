//! A file descriptor whose interest changes.

use std::os::fd::BorrowedFd;

use crate::{Context, DeviceError, Interest, Source};

/// Watches one file descriptor, and remembers for what, so that only changes cost a system call. It may go from one worker
/// to the next, as a backend does that has it: the next one's [`Context`] does not watch anything yet.
#[derive(Debug)]
pub struct Watch {
    source: Source,
    /// For what it is watched, and by which poller.
    watched: Option<(Interest, u64)>,
}

impl Watch {
    /// Nothing is watched yet; what will be is reported as `source`.
    pub fn new(source: Source) -> Self {
        Self {
            source,
            watched: None,
        }
    }

    /// Watches `descriptor` for `interest` from now on, or not at all. It must be the same as the last time, unless
    /// [`Watch::forget`] was called.
    ///
    /// A descriptor that cannot be waited for, such as a file, is always ready: reading and writing it never says that
    /// it would block, so its user does not depend on being called.
    pub fn set(
        &mut self,
        context: &mut Context,
        descriptor: BorrowedFd<'_>,
        interest: Option<Interest>,
    ) -> Result<(), DeviceError> {
        let watched = interest.map(|interest| (interest, context.poller.id()));
        if watched == self.watched {
            return Ok(());
        }
        match interest {
            None => context.unwatch(descriptor),
            Some(interest) => match context.watch(descriptor, self.source, interest) {
                Err(DeviceError::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::PermissionDenied => {}
                outcome => outcome?,
            },
        }
        self.watched = watched;
        Ok(())
    }

    /// The descriptor has been closed, which ends its being watched.
    pub fn forget(&mut self) {
        self.watched = None;
    }
}
