//! The server: serves a PCI function to clients, one after the other.
//!
//! ```no_run
//! use ringwright_vfio_user::server::Server;
//! use ringwright_vfio_user::socket::Stop;
//! # fn device() -> Box<dyn ringwright_device::Device> { unimplemented!() }
//!
//! let listener = std::os::unix::net::UnixListener::bind("/run/rng.sock")?;
//! let mut server = Server::for_device(device(), Default::default())?;
//! server.serve(&listener, &Stop::new()?)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! One thread serves a connection. It never waits for the client's memory, and the function's own threads never wait for
//! it, so every command is answered at once.

mod access;
mod connection;
mod dma;
mod error;
mod features;
mod function;
mod information;
mod interrupts;
mod irqs;
mod remote;
mod shadow;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod virtio;

use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use ringwright_device::Meter;
use ringwright_memory::Memory;
use ringwright_socket::accept;

pub use error::ServerError;
pub use function::{Doorbell, Mappable, PciFunction};
pub use interrupts::Interrupts;

use crate::socket::Stop;
use connection::Connection;
use shadow::Shadow;

/// A PCI function, for one client at a time.
pub struct Server {
    function: Box<dyn PciFunction>,
    interrupts: Arc<Interrupts>,
    /// Of memory that cannot be mapped, if the function can work with one.
    shadow: Option<Arc<Shadow>>,
    meter: Meter,
}

impl Server {
    /// A server for `function`, whose interrupts go to `interrupts`. The function reaches only such memory as the client lets
    /// be mapped.
    pub fn new(function: Box<dyn PciFunction>, interrupts: Arc<Interrupts>) -> Self {
        interrupts.set_vectors(function.vectors());
        Self {
            function,
            interrupts,
            shadow: None,
            meter: Meter::default(),
        }
    }

    /// The counters of the device's queues; none if the function is not known to have any.
    pub fn meter(&self) -> Meter {
        self.meter.clone()
    }

    /// Accepts one client after the other until `stop` is raised. What a client does wrong ends its connection at most. An
    /// error is one of the listening socket.
    pub fn serve(&mut self, listener: &UnixListener, stop: &Stop) -> Result<(), ServerError> {
        while let Some(stream) = accept(listener, stop).map_err(ServerError::Listen)? {
            tracing::info!("client connected");
            match self.serve_connection(stream, stop) {
                Ok(()) => tracing::info!("client disconnected"),
                Err(error) => tracing::error!(%error, "vfio-user connection closed"),
            }
        }
        Ok(())
    }

    /// Serves one client on a connected stream socket until it goes or `stop` is raised. Then the function is reset: the
    /// text would have its state retained for a client that comes back, but no client does without resetting the device, and
    /// until then it would work on memory that is gone. An error is what ended the connection before that.
    pub fn serve_connection(&mut self, stream: impl Into<OwnedFd>, stop: &Stop) -> Result<(), ServerError> {
        let (function, shadow) = (&mut *self.function, self.shadow.as_deref());
        let outcome = Connection::new(function, &self.interrupts, shadow, stream.into(), stop).run();
        // Told to stop, it ends what it has begun.
        if stop.is_raised()
            && self.function.is_migratable()
            && let Err(error) = self.function.stop()
        {
            tracing::warn!(error, "requests may be left unanswered");
        }
        // Nothing of the client's is kept: not its memory, not its descriptors.
        self.interrupts.forget_client();
        self.function.reset();
        if let Some(shadow) = &self.shadow {
            shadow.set_memory(None);
        }
        self.function.set_memory(Arc::new(Memory::new(Vec::new())?));
        match outcome {
            Err(error) if error.is_end() => Ok(()),
            outcome => outcome,
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("interrupts", &self.interrupts)
            .finish_non_exhaustive()
    }
}
