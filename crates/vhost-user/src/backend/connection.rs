//! One front-end's session: messages in, replies out, and the device in between.
//!
//! A request passes three gates: its form (`Rule`), whether it belongs to an extension in use, and its handler. What fails
//! the first ends the connection; what fails later is a refusal, which is answered where the front-end asked for an
//! answer and ends the connection where it did not.
//!
//! Not offered yet, and refused: IOTLB, shared memory regions, in-band notifications. Each is a handler here plus a bit in [`super::OFFERED`]; their payloads and rules are in
//! [`crate::message`].

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use ringwright_device::Host;
use ringwright_memory::DirtyLog;
use ringwright_spec::Features;
use ringwright_spec::status::Status;
use zerocopy::{FromBytes, IntoBytes};

use super::channel::Channel;
use super::in_flight::InFlight;
use super::memory::MemorySlots;
use super::ring::Ring;
use super::state::Transfer;
use super::{BackendError, BackendOptions};
use crate::message::{Header, LOG_ALL, PROTOCOL_FEATURES, ProtocolFeatures, Request};
use crate::socket::{Message, Socket};

/// How often a ring without kicks is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// How the answer to a request looks.
pub(super) enum Answer {
    /// None of its own: success, if the front-end wants to know.
    Done,
    /// A number.
    Number(u64),
    /// Any payload.
    Payload(Vec<u8>),
    /// A payload and a file.
    File(Vec<u8>, OwnedFd),
}

/// The state of one connection.
pub(super) struct Connection<'a> {
    pub(super) host: &'a mut Host,
    pub(super) channel: &'a Channel,
    pub(super) options: &'a BackendOptions,
    pub(super) socket: Socket,
    /// Protocol features in use.
    pub(super) protocol: ProtocolFeatures,
    pub(super) slots: MemorySlots,
    pub(super) rings: Vec<Ring>,
    /// Where requests in flight are tracked.
    pub(super) in_flight: Option<InFlight>,
    /// The dirty log, and whether it is to be written.
    pub(super) log: Option<Arc<DirtyLog>>,
    pub(super) logging: bool,
    /// The device's state, on its way to or from another back-end.
    pub(super) transfer: Transfer,
    /// The status as the driver wrote it.
    pub(super) status: Status,
    /// Whether the features that the driver acknowledged last were accepted.
    pub(super) features_accepted: bool,
}

impl<'a> Connection<'a> {
    pub fn new(
        host: &'a mut Host,
        channel: &'a Channel,
        options: &'a BackendOptions,
        socket: Socket,
    ) -> Self {
        let rings = host
            .description()
            .queues
            .iter()
            .map(|_| Ring::default())
            .collect();
        Self {
            host,
            channel,
            options,
            socket,
            protocol: ProtocolFeatures::NONE,
            slots: MemorySlots::default(),
            rings,
            in_flight: None,
            log: None,
            logging: false,
            transfer: Transfer::None,
            status: Status::NONE,
            features_accepted: false,
        }
    }

    /// Serves the front-end until it goes, does something that cannot be answered, or the socket's stop is raised.
    pub fn run(&mut self) -> Result<(), BackendError> {
        loop {
            self.work()?;
            let message = self.socket.receive()?;
            self.answer(message)?;
        }
    }

    /// Everything that a driver may negotiate through this connection.
    pub(super) fn offered_features(&self) -> Features {
        let mut offered = self.options.offer(self.host) | PROTOCOL_FEATURES;
        if self
            .options
            .protocol_features
            .contains(ProtocolFeatures::LOG_SHMFD)
        {
            offered = offered | LOG_ALL;
        }
        offered
    }

    /// While rings are to be polled, or the device's state is on its way, does that until there is a message.
    fn work(&mut self) -> Result<(), BackendError> {
        while (self.rings.iter().any(Ring::is_polled) || self.transfer.is_pending())
            && !self.socket.is_readable(POLL_INTERVAL)?
        {
            self.advance_transfer();
            let polled = (0u16..).zip(&self.rings).filter(|(_, ring)| ring.is_polled());
            polled.for_each(|(index, _)| self.host.kick(index));
        }
        Ok(())
    }

    fn answer(&mut self, message: Message) -> Result<(), BackendError> {
        let request = Request(message.header.request);
        let asked = message.header.need_reply();
        tracing::trace!(%request, size = message.header.size, descriptors = message.descriptors.len());
        let outcome = self
            .admit(request, &message)
            .and_then(|()| self.carry_out(request, message));
        // Looked at only now: User Mode Linux waits for the reply to the very message that negotiates REPLY_ACK.
        let wanted = asked && self.protocol.contains(ProtocolFeatures::REPLY_ACK);
        match outcome {
            Ok(Answer::Done) if wanted => self.reply(request, &0u64.to_ne_bytes(), &[]),
            Ok(Answer::Done) => Ok(()),
            Ok(Answer::Number(number)) => self.reply(request, &number.to_ne_bytes(), &[]),
            Ok(Answer::Payload(payload)) => self.reply(request, &payload, &[]),
            Ok(Answer::File(payload, file)) => self.reply(request, &payload, &[file.as_fd()]),
            Err(error) if wanted && error.is_refusal() => {
                tracing::warn!(%error, "vhost-user request refused");
                self.reply(request, &1u64.to_ne_bytes(), &[])
            }
            Err(error) => Err(error),
        }
    }

    fn reply(&self, request: Request, payload: &[u8], files: &[BorrowedFd<'_>]) -> Result<(), BackendError> {
        Ok(self.socket.send(request.0, Header::REPLY, &[payload], files)?)
    }

    /// Checks the form of a message, and that it may come.
    fn admit(&self, request: Request, message: &Message) -> Result<(), BackendError> {
        let rule = request.rule().ok_or(BackendError::UnknownRequest(request.0))?;
        if message.header.is_reply() {
            return Err(BackendError::UnexpectedReply(request));
        }
        if !self.protocol.contains(rule.needs) {
            return Err(BackendError::NotNegotiated {
                request,
                needs: rule.needs,
            });
        }
        let found = message.payload.len();
        if !(rule.smallest..=rule.largest).contains(&found) {
            let (smallest, largest) = (rule.smallest, rule.largest);
            return Err(BackendError::PayloadSize {
                request,
                smallest,
                largest,
                found,
            });
        }
        let found = message.descriptors.len();
        if !(rule.fewest..=rule.most).contains(&found) {
            let (fewest, most) = (rule.fewest, rule.most);
            return Err(BackendError::DescriptorCount {
                request,
                fewest,
                most,
                found,
            });
        }
        Ok(())
    }
}

/// The payload of `request` as a structure; `admit` has seen to its size.
pub(super) fn read<T: FromBytes + IntoBytes>(request: Request, message: &Message) -> Result<T, BackendError> {
    let size = size_of::<T>();
    let found = message.payload.len();
    message.read().ok_or(BackendError::PayloadSize {
        request,
        smallest: size,
        largest: size,
        found,
    })
}

/// The only descriptor of a message; `admit` has seen to there being one.
pub(super) fn single(request: Request, descriptors: Vec<OwnedFd>) -> Result<OwnedFd, BackendError> {
    let found = descriptors.len();
    let mut descriptors = descriptors.into_iter();
    match (descriptors.next(), descriptors.next()) {
        (Some(descriptor), None) => Ok(descriptor),
        _ => Err(BackendError::DescriptorCount {
            request,
            fewest: 1,
            most: 1,
            found,
        }),
    }
}
