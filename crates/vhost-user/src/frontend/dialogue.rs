//! Requests and their answers, and the requests that the back-end sends meanwhile.

use std::os::fd::{AsFd, BorrowedFd};

use ringwright_socket::readable;
use zerocopy::{Immutable, IntoBytes};

use super::FrontendError;
use crate::message::{BackendRequest, Header, Request};
use crate::socket::{Message, Socket};

/// Most requests of the back-end that are taken at a time, so that one that never ends does not hold up the driver.
const CHANNEL_SHARE: usize = 16;

/// Both sockets to the back-end.
#[derive(Debug)]
pub(super) struct Dialogue {
    socket: Socket,
    /// Where the back-end's own requests come from.
    pub channel: Option<Socket>,
    /// Whether every request is answered (REPLY_ACK).
    pub acknowledged: bool,
    /// The configuration space has changed since this was last cleared.
    pub config_changed: bool,
    /// How often it has changed.
    pub generation: u32,
}

impl Dialogue {
    pub fn new(socket: Socket) -> Self {
        Self {
            socket,
            channel: None,
            acknowledged: false,
            config_changed: false,
            generation: 0,
        }
    }

    /// Sends a request that needs no answer; with REPLY_ACK the back-end says that it was carried out.
    pub fn tell<P: IntoBytes + Immutable + ?Sized>(
        &mut self,
        request: Request,
        payload: &P,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), FrontendError> {
        if !self.acknowledged {
            return Ok(self
                .socket
                .send(request.0, 0, &[payload.as_bytes()], descriptors)?);
        }
        self.socket
            .send(request.0, Header::NEED_REPLY, &[payload.as_bytes()], descriptors)?;
        match self.reply_number(request)? {
            0 => Ok(()),
            code => Err(FrontendError::Refused { request, code }),
        }
    }

    /// Sends a request that has an answer of its own, and waits for it.
    pub fn ask<P: IntoBytes + Immutable + ?Sized>(
        &mut self,
        request: Request,
        payload: &P,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Message, FrontendError> {
        self.socket
            .send(request.0, 0, &[payload.as_bytes()], descriptors)?;
        self.reply(request)
    }

    /// Asks for a number.
    pub fn number(&mut self, request: Request) -> Result<u64, FrontendError> {
        self.socket.send(request.0, 0, &[], &[])?;
        self.reply_number(request)
    }

    /// Takes the requests that the back-end has sent, answering those that want it.
    pub fn serve_channel(&mut self) -> Result<(), FrontendError> {
        for _ in 0..CHANNEL_SHARE {
            let Some(channel) = &self.channel else {
                return Ok(());
            };
            if !channel.is_readable(std::time::Duration::ZERO)? {
                return Ok(());
            }
            let message = match channel.receive() {
                Ok(message) => message,
                Err(error) => {
                    tracing::debug!(%error, "the back-end's channel is closed");
                    self.channel = None;
                    return Ok(());
                }
            };
            let request = BackendRequest(message.header.request);
            let known = request == BackendRequest::CONFIG_CHANGE_MSG;
            if known {
                self.config_changed = true;
                self.generation = self.generation.wrapping_add(1);
            } else {
                tracing::warn!(%request, "the back-end sends a request that was not agreed on");
            }
            if message.header.need_reply() {
                channel.send(request.0, Header::REPLY, &[&u64::from(!known).to_ne_bytes()], &[])?;
            }
        }
        Ok(())
    }

    fn reply_number(&mut self, request: Request) -> Result<u64, FrontendError> {
        let reply = self.reply(request)?;
        reply.read().ok_or(wrong(request, &reply))
    }

    /// Waits for the answer to `request`. A back-end that waits for an answer of ours first is not left waiting.
    fn reply(&mut self, request: Request) -> Result<Message, FrontendError> {
        while let Some(channel) = &self.channel {
            let ready = readable(&[self.socket.as_fd(), channel.as_fd()], self.socket.timeout())?;
            let (main, channel) = (ready[0], ready[1]);
            if main || !channel {
                break;
            }
            self.serve_channel()?;
        }
        let message = self.socket.receive()?;
        if message.header.request != request.0 || !message.header.is_reply() {
            return Err(wrong(request, &message));
        }
        Ok(message)
    }
}

impl AsFd for Dialogue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn wrong(request: Request, message: &Message) -> FrontendError {
    let Header {
        request: found,
        flags,
        ..
    } = message.header;
    FrontendError::Answer {
        request,
        found: Request(found),
        flags,
        size: message.payload.len(),
    }
}
