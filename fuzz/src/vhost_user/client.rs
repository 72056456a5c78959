//! The front-end's end of the connection.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use ringwright_socket::Error;
use ringwright_vhost_user::message::{Header, Request};
use ringwright_vhost_user::socket::{Socket, SocketError};
use rustix::net::{SendFlags, send};

use crate::script::Script;

/// The front-end's end of the connection, until that is closed.
pub(super) struct Client {
    pub socket: Option<Socket>,
    /// Whether the back-end may be waiting for the rest of a message.
    adrift: bool,
}

impl Client {
    pub fn new(socket: Socket) -> Self {
        Self {
            socket: Some(socket),
            adrift: false,
        }
    }

    pub fn send_raw(&mut self, bytes: &[u8]) {
        if let Some(socket) = &self.socket {
            // An error is found again when the next message is sent.
            let _error = send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
            self.adrift = true;
        }
    }

    pub fn send(&mut self, request: Request, flags: u32, payload: &[&[u8]], descriptors: &[BorrowedFd<'_>]) {
        if let Some(socket) = &self.socket {
            let outcome = socket.send(request.0, flags, payload, descriptors);
            self.note(outcome);
        }
    }

    /// Takes what answers there are.
    pub fn drain(&mut self) {
        while let Some(socket) = &self.socket {
            match socket.is_readable(Duration::ZERO) {
                Ok(false) => return,
                _ => {
                    let outcome = socket.receive().map(|_| ());
                    self.note(outcome);
                }
            }
        }
    }

    /// Waits until everything sent was carried out. False if the back-end has closed the connection.
    pub fn sync(&mut self) -> bool {
        self.send(Request::GET_FEATURES, 0, &[], &[]);
        if self.adrift {
            return false;
        }
        while let Some(socket) = &self.socket {
            match socket.receive() {
                Ok(answer) if answer.header.request == Request::GET_FEATURES.0 => return true,
                outcome => self.note(outcome.map(|_| ())),
            }
        }
        false
    }

    pub fn note(&mut self, outcome: Result<(), SocketError>) {
        match outcome {
            Ok(()) => {}
            Err(SocketError::Stream(Error::Closed | Error::Truncated { .. } | Error::Os { .. })) => {
                self.socket = None;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Flags of a message: often such that an answer is wanted.
pub(super) fn flags(script: &mut Script<'_>) -> u32 {
    match script.u8() {
        odd @ 0xf0.. => odd.into(),
        even if even % 2 == 0 => 0,
        _ => Header::NEED_REPLY,
    }
}
