//! Used buffer notifications.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

/// Sends the used buffer notification of one virtqueue (section 2.3).
pub trait Notify: Send {
    /// Sends it. Called on the thread that serves the queue; does not block.
    fn notify(&self);
}

impl<F: Fn() + Send> Notify for F {
    fn notify(&self) {
        self();
    }
}

/// Notifies by writing an 8-byte 1 to a descriptor: an eventfd, or a stream socket or pipe as User Mode Linux has it.
#[derive(Debug)]
pub struct EventNotify(OwnedFd);

impl EventNotify {
    /// Takes the descriptor and makes it non-blocking, so that a reader who does not read cannot hold up the device.
    pub fn new(descriptor: OwnedFd) -> std::io::Result<Self> {
        rustix::io::ioctl_fionbio(&descriptor, true)?;
        Ok(Self(descriptor))
    }
}

impl Notify for EventNotify {
    fn notify(&self) {
        loop {
            match rustix::io::write(&self.0, &1u64.to_ne_bytes()) {
                Err(Errno::INTR) => {}
                // A full descriptor is one whose reader has notifications waiting already.
                Ok(_) | Err(Errno::AGAIN) => return,
                // The other end is gone; its transport will find out in its own way.
                Err(error) => return tracing::debug!(%error, "used buffer notification not sent"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{EventfdFlags, eventfd};
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    #[test]
    fn an_eventfd_counts() {
        let event = eventfd(0, EventfdFlags::empty()).unwrap();
        let notify = EventNotify::new(event.try_clone().unwrap()).unwrap();
        notify.notify();
        notify.notify();
        let mut count = [0; 8];
        rustix::io::read(&event, &mut count).unwrap();
        assert_eq!(u64::from_ne_bytes(count), 2);
    }

    #[test]
    fn a_full_or_closed_descriptor_does_not_block() {
        let full = eventfd(0, EventfdFlags::empty()).unwrap();
        rustix::io::write(&full, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        EventNotify::new(full).unwrap().notify();

        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let notify = EventNotify::new(ours).unwrap();
        for _ in 0..1_000_000 {
            notify.notify();
        }
        drop(theirs);
        notify.notify();
    }
}
