//! One connection to a client: its state, and the way a message takes.
//!
//! A message passes three gates: its form, which command it is and whether that may come now, and its handler. What fails
//! the first ends the connection; what fails later is a refusal, which the client is told if it waits for a reply.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use ringwright_socket::readable;
use zerocopy::{FromBytes, IntoBytes};

use super::dma::DmaTable;
use super::features::Features;
use super::interrupts::Interrupts;
use super::remote::Remote;
use super::shadow::{Far, Shadow};
use super::{PciFunction, ServerError};
use crate::message::{Capabilities, Command, DmaMap, DmaUnmap};
use crate::socket::{Message, Socket, Stop};

/// What a reply carries.
#[derive(Default)]
pub(super) struct Answer {
    pub payload: Vec<u8>,
    pub descriptors: Vec<OwnedFd>,
}

/// The state of one connection.
pub(super) struct Connection<'a> {
    pub(super) function: &'a mut dyn PciFunction,
    pub(super) interrupts: &'a Interrupts,
    /// The shadow of memory that cannot be mapped, if the function can work with one.
    pub(super) shadow: Option<&'a Shadow>,
    socket: Arc<Socket>,
    stop: Stop,
    /// What the client is capable of, once it has said so.
    pub(super) client: Option<Capabilities>,
    /// Its memory, by messages, from then on.
    remote: Option<Arc<Remote>>,
    pub(super) dma: DmaTable,
    pub(super) features: Features,
    /// Readable when the client wants INTx unmasked.
    pub(super) unmask: Option<OwnedFd>,
}

impl<'a> Connection<'a> {
    pub fn new(
        function: &'a mut dyn PciFunction,
        interrupts: &'a Interrupts,
        shadow: Option<&'a Shadow>,
        stream: OwnedFd,
        stop: &Stop,
    ) -> Self {
        Self {
            function,
            interrupts,
            shadow,
            socket: Arc::new(Socket::new(stream).with_stop(stop.clone())),
            stop: stop.clone(),
            client: None,
            remote: None,
            dma: DmaTable::default(),
            features: Features::default(),
            unmask: None,
        }
    }

    /// Serves the client until it goes, does something that cannot be answered, or the stop is raised.
    pub fn run(&mut self) -> Result<(), ServerError> {
        loop {
            self.unmask_while_waiting()?;
            let message = self.socket.receive()?;
            self.answer(message)?;
        }
    }

    /// If INTx is unmasked by an eventfd, heeds it until there is a message.
    fn unmask_while_waiting(&mut self) -> Result<(), ServerError> {
        while let Some(unmask) = &self.unmask {
            let watched = [self.socket.as_fd(), self.stop.as_fd(), unmask.as_fd()];
            let ready = readable(&watched, None).map_err(crate::socket::SocketError::from)?;
            if ready[2] {
                // An eventfd that is not readable any more was read by someone else; one that is broken is not waited for.
                match rustix::io::read(unmask, &mut [0; 8]) {
                    Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                    Ok(8) => self.interrupts.mask_intx(false),
                    _ => self.unmask = None,
                }
            }
            if ready[0] || ready[1] {
                break;
            }
        }
        Ok(())
    }

    fn answer(&mut self, message: Message) -> Result<(), ServerError> {
        let header = message.header;
        if header.is_reply() {
            let awaited = self.remote.as_ref().is_some_and(|remote| remote.deliver(message));
            if !awaited {
                tracing::debug!(id = header.id, "a reply to no command of ours is ignored");
            }
            return Ok(());
        }
        let outcome = self.carry_out(message);
        match outcome {
            Ok(answer) if header.wants_reply() => {
                let descriptors: Vec<_> = answer.descriptors.iter().map(AsFd::as_fd).collect();
                Ok(self.socket.reply(&header, &[&answer.payload], &descriptors)?)
            }
            Ok(_) => Ok(()),
            Err(error) => {
                if !matches!(error, ServerError::Socket(_)) {
                    match error.is_expected() {
                        true => tracing::debug!(%error, "vfio-user command refused"),
                        false => tracing::warn!(%error, "vfio-user command refused"),
                    }
                    if header.wants_reply() {
                        self.socket.reply_error(&header, error.errno())?;
                    }
                }
                if error.is_refusal() { Ok(()) } else { Err(error) }
            }
        }
    }

    fn carry_out(&mut self, message: Message) -> Result<Answer, ServerError> {
        let number = message.header.command;
        let command = Command::from_number(number).ok_or(ServerError::UnknownCommand(number))?;
        tracing::trace!(%command, size = message.header.size, descriptors = message.descriptors.len());
        if (command == Command::Version) != self.client.is_none() {
            return Err(ServerError::Order(command));
        }
        let most = match command {
            Command::DmaMap => 1,
            Command::DeviceSetIrqs => crate::message::MAX_DESCRIPTORS,
            _ => 0,
        };
        let found = message.descriptors.len();
        if found > most {
            return Err(ServerError::DescriptorCount { command, most, found });
        }
        match command {
            Command::Version => self.negotiate(&message),
            Command::DmaMap => self.map(message),
            Command::DmaUnmap => self.unmap(&message),
            Command::DeviceGetInfo => self.device_info(&message),
            Command::DeviceGetRegionInfo => self.region_info(&message),
            Command::DeviceGetRegionIoFds => self.region_io_fds(&message),
            Command::DeviceGetIrqInfo => self.irq_info(&message),
            Command::DeviceSetIrqs => self.set_irqs(message),
            Command::RegionRead => self.read_region(&message),
            Command::RegionWrite => self.write_region(&message),
            Command::RegionWriteMulti => self.write_regions(&message),
            Command::DeviceReset => self.reset(),
            Command::DeviceFeature => self.device_feature(&message),
            Command::MigDataRead => self.read_state(&message),
            Command::MigDataWrite => self.write_state(&message),
            Command::DmaRead | Command::DmaWrite => Err(ServerError::UnknownCommand(number)),
        }
    }

    fn map(&mut self, mut message: Message) -> Result<Answer, ServerError> {
        let map: DmaMap = exactly(Command::DmaMap, &message)?;
        self.dma.map(map, message.descriptors.pop())?;
        self.give_memory()?;
        Ok(Answer::default())
    }

    /// "The server must release all references to that DMA region before replying": the function has when it has taken the
    /// memory without it.
    fn unmap(&mut self, message: &Message) -> Result<Answer, ServerError> {
        let unmap: DmaUnmap = exactly(Command::DmaUnmap, message)?;
        self.dma.unmap(unmap)?;
        self.give_memory()?;
        Ok(Answer::of(unmap))
    }

    /// The client has said what it is capable of.
    pub(super) fn meet(&mut self, client: Capabilities) {
        let remote = Remote::new(self.socket.clone(), client.data_limit());
        self.remote = Some(Arc::new(remote));
        self.client = Some(client);
    }

    /// Shows the function the memory as it is now.
    pub(super) fn give_memory(&mut self) -> Result<(), ServerError> {
        let shadow = self
            .shadow
            .filter(|shadow| self.dma.is_far() || shadow.is_in_use());
        let memory = Arc::new(self.features.logged(self.dma.memory(shadow.is_some())?));
        let far = shadow.and(self.remote.as_ref()).map(|remote| Far {
            remote: remote.clone(),
            memory: memory.clone(),
            pieces: self.dma.shadows(),
        });
        if let Some(shadow) = self.shadow {
            shadow.set_memory(far);
        }
        self.function.set_memory(memory);
        Ok(())
    }

    fn reset(&mut self) -> Result<Answer, ServerError> {
        self.function.reset();
        self.interrupts.reset();
        self.features.reset();
        Ok(Answer::default())
    }
}

impl Answer {
    /// A structure alone.
    pub fn of(payload: impl IntoBytes + zerocopy::Immutable) -> Self {
        Self {
            payload: payload.as_bytes().to_vec(),
            descriptors: Vec::new(),
        }
    }
}

/// The payload as a structure, and nothing behind it.
pub(super) fn exactly<T: FromBytes>(command: Command, message: &Message) -> Result<T, ServerError> {
    message.read().ok_or(ServerError::PayloadSize {
        command,
        expected: size_of::<T>(),
        found: message.payload.len(),
    })
}

/// The structure at the start of the payload, and what follows it.
pub(super) fn prefix<T: FromBytes>(command: Command, message: &Message) -> Result<(T, &[u8]), ServerError> {
    message.read_prefix().ok_or(ServerError::PayloadSize {
        command,
        expected: size_of::<T>(),
        found: message.payload.len(),
    })
}

/// Refuses a command that allows less than `needed` bytes for the reply's payload.
pub(super) fn room(command: Command, argsz: u32, needed: usize) -> Result<(), ServerError> {
    match argsz as usize >= needed {
        true => Ok(()),
        false => Err(ServerError::PayloadSize {
            command,
            expected: needed,
            found: argsz as usize,
        }),
    }
}
