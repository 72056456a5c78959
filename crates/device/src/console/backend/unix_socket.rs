//! A Unix stream socket to which one client at a time connects.

use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};

use ringwright_memory::Slices;

use super::{Backend, FarEnd};
use crate::{Context, DeviceError, Interest, Source, Watch};

/// Serves a console on a socket. Output is dropped while no client is connected, as on a line with nothing at its end;
/// input waits in the socket until the driver has buffers. When a client leaves, the next one gets its place.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    client: Option<UnixStream>,
    /// How many clients there were so far.
    clients: u64,
    watch_listener: Watch,
    watch_client: Watch,
}

impl UnixSocket {
    /// Accepts clients from `listener`.
    pub fn new(listener: UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            client: None,
            clients: 0,
            watch_listener: Watch::new(Source(0)),
            watch_client: Watch::new(Source(0)),
        })
    }

    /// The client, or the next one that has connected.
    fn client(&mut self) -> io::Result<&mut UnixStream> {
        let client = match self.client.take() {
            Some(client) => client,
            None => {
                let (client, _) = self.listener.accept()?;
                client.set_nonblocking(true)?;
                self.clients += 1;
                client
            }
        };
        Ok(self.client.insert(client))
    }

    fn disconnect(&mut self) {
        self.client = None;
        self.watch_client.forget();
    }
}

impl Backend for UnixSocket {
    fn read(&mut self, into: Slices<'_>) -> io::Result<usize> {
        loop {
            match into.readv(self.client()?) {
                Ok(0) => self.disconnect(),
                Err(error) if !is_temporary(&error) => self.disconnect(),
                outcome => return outcome,
            }
        }
    }

    fn write(&mut self, from: Slices<'_>) -> io::Result<usize> {
        loop {
            let Ok(client) = self.client() else {
                return Ok(from.len());
            };
            match from.writev(client) {
                Err(error) if !is_temporary(&error) => self.disconnect(),
                outcome => return outcome,
            }
        }
    }

    fn put(&mut self, character: u8) {
        if let Ok(client) = self.client() {
            let _ = client.write(&[character]);
        }
    }

    fn far_end(&mut self) -> FarEnd {
        match self.client() {
            Ok(_) => FarEnd::Client(self.clients),
            Err(_) => FarEnd::Nobody,
        }
    }

    fn report_as(&mut self, source: Source) {
        (self.watch_listener, self.watch_client) = (Watch::new(source), Watch::new(source));
    }

    fn watch(&mut self, context: &mut Context, interest: Option<Interest>) -> Result<(), DeviceError> {
        let accept = self.client.is_none().then_some(Interest::Read);
        self.watch_listener.set(context, self.listener.as_fd(), accept)?;
        match &self.client {
            Some(client) => self.watch_client.set(context, client.as_fd(), interest),
            None => Ok(()),
        }
    }
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
