//! The requests, one handler each: what concerns the device as a whole, memory, and the configuration space.

use std::sync::Arc;

use ringwright_device::ConfigError;
use ringwright_spec::Features;
use ringwright_spec::status::Status;
use zerocopy::IntoBytes;

use super::BackendError;
use super::connection::{Answer, Connection, read, single};
use super::memory::{MAX_SLOTS, MemorySlots};
use super::ring::{Position, Ring};
use crate::message::{
    Config, LOG_ALL, MAX_PAYLOAD, PROTOCOL_FEATURES, ProtocolFeatures, Request, SingleRegion,
};
use crate::socket::Message;

impl Connection<'_> {
    /// Carries out a request whose form has been checked.
    pub(super) fn carry_out(&mut self, request: Request, message: Message) -> Result<Answer, BackendError> {
        match request {
            Request::GET_FEATURES => return Ok(Answer::Number(self.offered_features().0 as u64)),
            Request::SET_FEATURES => self.set_features(Features(read::<u64>(request, &message)?.into()))?,
            // Nothing is owned before; a session starts with the connection.
            Request::SET_OWNER => {}
            Request::RESET_OWNER => self.disable_all()?,
            Request::SET_MEM_TABLE => self.set_mem_table(message)?,
            // "Reply payload: N/A", and yet among those that are replied to.
            Request::SET_LOG_BASE => {
                let description = read(request, &message)?;
                self.set_log_base(description, single(request, message.descriptors)?)?;
                return Ok(Answer::Payload(Vec::new()));
            }
            // It "may be used to inform the front-end that the log has been modified"; it looks by itself.
            Request::SET_LOG_FD => {}
            Request::SET_VRING_NUM => self.set_vring_num(read(request, &message)?)?,
            Request::SET_VRING_ADDR => self.set_vring_addr(read(request, &message)?)?,
            Request::SET_VRING_BASE => self.set_vring_base(read(request, &message)?)?,
            Request::GET_VRING_BASE => {
                let state = self.get_vring_base(read(request, &message)?)?;
                return Ok(Answer::Payload(state.as_bytes().to_vec()));
            }
            Request::SET_VRING_KICK => self.set_vring_kick(message)?,
            Request::SET_VRING_CALL => self.set_vring_call(message)?,
            Request::SET_VRING_ERR => self.set_vring_err(message)?,
            Request::SET_VRING_ENABLE => self.set_vring_enable(read(request, &message)?)?,
            Request::GET_PROTOCOL_FEATURES => return Ok(Answer::Number(self.options.protocol_features.0)),
            Request::SET_PROTOCOL_FEATURES => {
                self.set_protocol_features(ProtocolFeatures(read(request, &message)?))?;
            }
            Request::GET_QUEUE_NUM => return Ok(Answer::Number(self.rings.len() as u64)),
            Request::SET_BACKEND_REQ_FD => {
                self.channel.set_socket(single(request, message.descriptors)?);
            }
            Request::GET_CONFIG => return self.get_config(&message),
            Request::SET_CONFIG => self.set_config(&message)?,
            Request::GET_INFLIGHT_FD => return self.get_inflight_fd(read(request, &message)?),
            Request::SET_INFLIGHT_FD => {
                let description = read(request, &message)?;
                self.set_inflight_fd(description, single(request, message.descriptors)?)?;
            }
            Request::SET_DEVICE_STATE_FD => {
                let parameters = read(request, &message)?;
                return self.set_device_state_fd(parameters, single(request, message.descriptors)?);
            }
            Request::CHECK_DEVICE_STATE => return self.check_device_state(),
            Request::RESET_DEVICE => self.reset_device(),
            Request::GET_MAX_MEM_SLOTS => return Ok(Answer::Number(MAX_SLOTS as u64)),
            Request::ADD_MEM_REG => {
                let SingleRegion { region, .. } = read(request, &message)?;
                let file = single(request, message.descriptors)?;
                self.set_slots(self.slots.with(region, file)?)?;
            }
            Request::REM_MEM_REG => {
                let SingleRegion { region, .. } = read(request, &message)?;
                self.set_slots(self.slots.without(region)?)?;
            }
            Request::SET_STATUS => self.set_status(read(request, &message)?)?,
            Request::GET_STATUS => return Ok(Answer::Number(self.current_status().0.into())),
            _ => return Err(BackendError::Unsupported(request)),
        }
        Ok(Answer::Done)
    }

    /// Takes the acknowledged features. If they differ from those in use, running rings are started anew with them.
    fn set_features(&mut self, features: Features) -> Result<(), BackendError> {
        self.features_accepted = false;
        let offered = self.offered_features();
        // drv:core:feature-bits:01
        if !offered.contains(features) {
            return Err(BackendError::Features {
                offered,
                found: features,
            });
        }
        let negotiated = features - PROTOCOL_FEATURES - LOG_ALL;
        if self.host.features() != Some(negotiated) {
            let (running, packed) = (self.stop_all()?, self.packed());
            self.host.set_features(negotiated)?;
            if self.packed() != packed {
                // What a ring of one format was at means nothing to one of the other.
                self.rings
                    .iter_mut()
                    .for_each(|ring| ring.position = Position::default());
            }
            self.start_each(&running)?;
        }
        if self.logging != features.contains(LOG_ALL) {
            self.set_logging(features.contains(LOG_ALL))?;
        }
        self.features_accepted = true;
        // "upon receiving a SET_FEATURES message from the front-end without PROTOCOL_FEATURES set, the back-end must
        // enable all rings immediately": such a front-end knows no SET_VRING_ENABLE.
        if !features.contains(PROTOCOL_FEATURES) {
            for index in self.indices() {
                self.enable(index, true)?;
            }
        }
        Ok(())
    }

    fn set_protocol_features(&mut self, features: ProtocolFeatures) -> Result<(), BackendError> {
        // "must only be negotiated if INFLIGHT_SHMFD is also negotiated"
        if features.contains(ProtocolFeatures::GET_VRING_BASE_INFLIGHT)
            && !features.contains(ProtocolFeatures::INFLIGHT_SHMFD)
        {
            return Err(BackendError::UntrackedBase);
        }
        let both = ProtocolFeatures::BACKEND_REQ.union(ProtocolFeatures::REPLY_ACK);
        if features.contains(ProtocolFeatures::INBAND_NOTIFICATIONS) && !features.contains(both) {
            return Err(BackendError::InbandAlone);
        }
        let unknown = features.without(self.options.protocol_features);
        if !unknown.is_empty() {
            return Err(BackendError::ProtocolFeatures(unknown));
        }
        self.protocol = features;
        Ok(())
    }

    fn set_mem_table(&mut self, message: Message) -> Result<(), BackendError> {
        self.set_slots(MemorySlots::from_message(message)?)
    }

    /// Makes `slots` the device's memory, while rings run. A ring that the front-end keeps at its user address but that
    /// the guest now sees elsewhere is taken along.
    fn set_slots(&mut self, slots: MemorySlots) -> Result<(), BackendError> {
        let memory = Arc::new(self.logged(slots.memory()?));
        let mut moved = Vec::new();
        for (index, ring) in (0u16..).zip(&self.rings) {
            if ring.running.is_some() && ring.layout(index, &slots)? != ring.running {
                moved.push(index);
            }
        }
        for index in &moved {
            self.stop(*index)?;
        }
        self.slots = slots;
        self.host.set_memory(memory)?;
        self.start_each(&moved)
    }

    /// Bytes beyond the device's configuration space read as 0: front-ends ask for the space of the newest version of
    /// the device type that they know.
    fn get_config(&mut self, message: &Message) -> Result<Answer, BackendError> {
        let (config, _) = config_access(Request::GET_CONFIG, message)?;
        let (offset, length, size) = (config.offset as usize, config.size as usize, self.config_size());
        let mut payload = config.as_bytes().to_vec();
        let outcome = if offset <= size && length <= MAX_PAYLOAD - size_of::<Config>() {
            let mut data = vec![0; length];
            let (known, _) = data.split_at_mut(length.min(size - offset));
            let outcome = self.host.read_config(offset, known);
            payload.extend_from_slice(&data);
            outcome
        } else {
            Err(ConfigError::OutOfBounds { offset, length, size })
        };
        match outcome {
            Ok(()) => Ok(Answer::Payload(payload)),
            // "uses zero length of payload to indicate an error"
            Err(error) => {
                tracing::warn!(%error, "GET_CONFIG refused");
                Ok(Answer::Payload(Vec::new()))
            }
        }
    }

    fn set_config(&mut self, message: &Message) -> Result<(), BackendError> {
        let request = Request::SET_CONFIG;
        let (Config { offset, size, flags }, rest) = config_access(request, message)?;
        let smallest = size_of::<Config>().saturating_add(size as usize);
        let found = message.payload.len();
        let short = BackendError::PayloadSize {
            request,
            smallest,
            largest: smallest,
            found,
        };
        let data = rest.get(..size as usize).ok_or(short)?;
        match flags {
            Config::WRITABLE => Ok(self.host.write_config(offset as usize, data)?),
            // The whole space comes again on the destination; what is read-only is this device's own already.
            Config::MIGRATION => match self.host.write_config(offset as usize, data) {
                Ok(()) | Err(ConfigError::ReadOnly { .. }) => Ok(()),
                Err(error) => Err(error.into()),
            },
            _ => Err(BackendError::Value {
                request,
                expected: "flag",
                found: flags.into(),
            }),
        }
    }

    fn set_status(&mut self, value: u64) -> Result<(), BackendError> {
        let status = u8::try_from(value).map_err(|_| BackendError::Value {
            request: Request::SET_STATUS,
            expected: "device status",
            found: value,
        })?;
        self.status = Status(status);
        if self.status == Status::NONE {
            self.reset_device();
        }
        Ok(())
    }

    /// What the driver wrote, FEATURES_OK only if the features were accepted (`dev:core:feature-bits:02`), and
    /// DEVICE_NEEDS_RESET.
    fn current_status(&self) -> Status {
        let mut status = self.status - Status::DEVICE_NEEDS_RESET;
        if !self.features_accepted {
            status = status - Status::FEATURES_OK;
        }
        if self.channel.needs_reset() {
            status = status | Status::DEVICE_NEEDS_RESET;
        }
        status
    }

    /// Stops and disables all rings and resets the device. The memory and the protocol features stay; nothing is in flight
    /// any more, so the memory to track it in does not.
    fn reset_device(&mut self) {
        self.host.reset();
        self.rings.iter_mut().for_each(Ring::reset);
        self.in_flight = None;
        self.status = Status::NONE;
        self.features_accepted = false;
        self.channel.reset();
        self.channel.set_running(false);
    }

    fn config_size(&self) -> usize {
        let description = self.host.description();
        description.config_size.max(description.device_type.config_size)
    }
}

/// Head of an access to the configuration space, and what follows it.
fn config_access(request: Request, message: &Message) -> Result<(Config, &[u8]), BackendError> {
    let (smallest, found) = (size_of::<Config>(), message.payload.len());
    message.read_prefix().ok_or(BackendError::PayloadSize {
        request,
        smallest,
        largest: MAX_PAYLOAD,
        found,
    })
}
