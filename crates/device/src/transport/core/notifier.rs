//! Available buffer notifications from any thread.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::kick::Kick;

/// Sends available buffer notifications to a device's virtqueues, past the model of its registers and without a lock.
/// Clones lead to the same device.
#[derive(Clone)]
pub struct Notifier(Arc<[Door]>);

/// The event descriptor of one virtqueue. It stays the same for the life of the device.
struct Door {
    kick: Kick,
    /// The queue runs.
    open: AtomicBool,
}

impl Notifier {
    /// Notifies the device of buffers in `queue`. `false` if that queue does not run: then the driver's write is for the
    /// model itself, because the driver of a legacy device may begin like that.
    pub fn notify(&self, queue: u16) -> bool {
        match self.0.get(usize::from(queue)) {
            Some(door) if door.open.load(Ordering::Relaxed) => {
                door.kick.ring();
                true
            }
            _ => false,
        }
    }

    /// The event descriptor (eventfd) that notifies the device of buffers in `queue` when it is written to, for those who
    /// have another process or a kernel do that. It is never read, and never non-empty for long enough to matter.
    pub fn event(&self, queue: u16) -> Option<BorrowedFd<'_>> {
        self.0.get(usize::from(queue)).map(|door| door.kick.as_fd())
    }

    pub(super) fn new(queues: usize) -> io::Result<Self> {
        let door = |_| {
            Ok(Door {
                kick: Kick::eventfd()?,
                open: AtomicBool::new(false),
            })
        };
        let doors = (0..queues).map(door).collect::<io::Result<Vec<_>>>()?;
        Ok(Self(doors.into()))
    }

    /// A duplicate of a queue's descriptor, for the thread that serves it.
    pub(super) fn kick(&self, queue: u16) -> io::Result<OwnedFd> {
        let event = self.event(queue).ok_or(io::ErrorKind::NotFound)?;
        event.try_clone_to_owned()
    }

    pub(super) fn set_open(&self, queue: u16, open: bool) {
        if let Some(door) = self.0.get(usize::from(queue)) {
            door.open.store(open, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifier").field("queues", &self.0.len()).finish()
    }
}
