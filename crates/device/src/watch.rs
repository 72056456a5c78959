//! A file descriptor whose interest changes.

use std::os::fd::BorrowedFd;

use crate::{Context, DeviceError, Interest, Source};

/// Watches one file descriptor, and remembers for what, so that only changes cost a system call.
#[derive(Debug)]
pub struct Watch {
    source: Source,
    interest: Option<Interest>,
}

impl Watch {
    /// Nothing is watched yet; what will be is reported as `source`.
    pub fn new(source: Source) -> Self {
        Self {
            source,
            interest: None,
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
        if interest == self.interest {
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
        self.interest = interest;
        Ok(())
    }

    /// The descriptor has been closed, which ends its being watched.
    pub fn forget(&mut self) {
        self.interest = None;
    }
}
