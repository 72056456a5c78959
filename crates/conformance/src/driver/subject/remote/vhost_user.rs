//! A strict device that is a vhost-user back-end.
//!
//! It offers as little of the protocol as front-ends can live with, so that as much as possible is left to the driver. One
//! thread answers the front-end and hears the notifications.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use ringwright_device::{EventNotify, Notify};
use ringwright_ring::Layout;
use ringwright_socket::{Error, Stop, readable};
use ringwright_spec::Features;
use ringwright_vhost_user::backend::MemorySlots;
use ringwright_vhost_user::message::{
    Config, Header, PROTOCOL_FEATURES, ProtocolFeatures, Request, VringAddress, VringState,
};
use ringwright_vhost_user::socket::{Message, Socket, SocketError};
use zerocopy::{FromBytes, IntoBytes};

use super::Served;
use crate::driver::strict::{Shared, Strict, with};

/// Protocol features that are offered. Network cards have several queues only with MQ, disks no configuration without CONFIG;
/// Linux in user mode has no interrupts without BACKEND_REQ.
const OFFERED: ProtocolFeatures = ProtocolFeatures::MQ
    .union(ProtocolFeatures::REPLY_ACK)
    .union(ProtocolFeatures::BACKEND_REQ)
    .union(ProtocolFeatures::CONFIG);

/// How used buffers are notified of, by virtqueue.
type Calls = Arc<Mutex<Vec<Option<EventNotify>>>>;

/// Serves `device` to the front-end at the other end of `stream`.
pub(super) fn serve(device: &Shared, stream: UnixStream, stop: &Stop) -> Served {
    let queues = with(device, |device| device.queues());
    let calls: Calls = Arc::new(Mutex::new((0..queues).map(|_| None).collect()));
    let shared = device.clone();
    let session = Session {
        socket: Socket::new(stream).with_stop(stop.clone()),
        stop: stop.clone(),
        device: device.clone(),
        calls: calls.clone(),
        memory: MemorySlots::default(),
        rings: (0..queues).map(|_| Ring::default()).collect(),
        protocol: ProtocolFeatures::NONE,
        back: None,
    };
    Served {
        settle: Box::new(move || with(&shared, |device| settle(device, &calls))),
        run: Box::new(move || session.run()),
    }
}

/// What the device has to say goes to the front-end: a notification too many is legal.
fn settle(device: &mut Strict, calls: &Calls) {
    if device.take_call() {
        let calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.iter().flatten().for_each(Notify::notify);
    }
}

struct Session {
    socket: Socket,
    stop: Stop,
    device: Shared,
    calls: Calls,
    memory: MemorySlots,
    rings: Vec<Ring>,
    protocol: ProtocolFeatures,
    /// Where the device could send requests of its own: it has none.
    back: Option<OwnedFd>,
}

/// What the front-end has said of a virtqueue.
#[derive(Default)]
struct Ring {
    size: u16,
    addresses: Option<VringAddress>,
    base: u32,
    kick: Option<OwnedFd>,
    enabled: bool,
    running: bool,
}

impl Ring {
    fn is_due(&self) -> bool {
        self.enabled && self.size != 0 && self.addresses.is_some() && self.kick.is_some()
    }
}

impl Session {
    /// Serves the front-end until it goes, or the stop is raised.
    fn run(mut self) -> Result<(), String> {
        let outcome = self.serve();
        with(&self.device, Strict::withdraw);
        match outcome {
            Err(SocketError::Stream(Error::Closed | Error::Stopped)) => Ok(()),
            outcome => outcome.map_err(|error| format!("vhost-user: {error}")),
        }
    }

    fn serve(&mut self) -> Result<(), SocketError> {
        loop {
            let running = (0u16..).zip(&self.rings).filter(|(_, ring)| ring.running);
            let kicks: Vec<_> = running
                .filter_map(|(index, ring)| Some((index, ring.kick.as_ref()?)))
                .collect();
            let mut watched = vec![self.socket.as_fd(), self.stop.as_fd()];
            watched.extend(kicks.iter().map(|(_, kick)| kick.as_fd()));
            let ready = readable(&watched, None)?;
            for ((index, kick), _) in kicks.iter().zip(&ready[2..]).filter(|(_, ready)| **ready) {
                // Whatever is read: there was a notification.
                let _ = rustix::io::read(kick, &mut [0; 8]);
                self.act(|device| device.kicked(*index));
            }
            if ready[0] || ready[1] {
                let message = self.socket.receive()?;
                self.answer(message)?;
            }
        }
    }

    /// Something happens in the device.
    fn act<R>(&self, act: impl FnOnce(&mut Strict) -> R) -> R {
        with(&self.device, |device| {
            let done = act(device);
            settle(device, &self.calls);
            done
        })
    }

    fn answer(&mut self, message: Message) -> Result<(), SocketError> {
        let (request, wanted) = (message.header.request, message.header.need_reply());
        let reply = self.carry_out(message);
        match reply {
            Some(payload) => self.socket.send(request, Header::REPLY, &[&payload], &[]),
            None if wanted && self.protocol.contains(ProtocolFeatures::REPLY_ACK) => {
                self.socket
                    .send(request, Header::REPLY, &[&0u64.to_ne_bytes()], &[])
            }
            None => Ok(()),
        }
    }

    /// Carries out a request; the payload of its reply, if it has one of its own. What is not known is of no consequence.
    fn carry_out(&mut self, mut message: Message) -> Option<Vec<u8>> {
        let number = |number: u64| Some(number.to_ne_bytes().to_vec());
        match Request(message.header.request) {
            Request::GET_FEATURES => {
                let offered = self.act(|device| device.past().offered);
                number((offered | PROTOCOL_FEATURES).0 as u64)
            }
            Request::GET_PROTOCOL_FEATURES => number(OFFERED.0),
            Request::GET_QUEUE_NUM => number(self.rings.len() as u64),
            Request::GET_CONFIG => Some(self.config(&message)),
            Request::GET_VRING_BASE => {
                let state: VringState = message.read()?;
                let num = self.stop(state.index);
                Some(VringState { num, ..state }.as_bytes().to_vec())
            }
            Request::SET_FEATURES => {
                self.accept(Features(message.read::<u64>()?.into()));
                None
            }
            Request::SET_PROTOCOL_FEATURES => {
                self.protocol = ProtocolFeatures(message.read()?);
                None
            }
            Request::SET_BACKEND_REQ_FD => {
                self.back = message.descriptors.pop();
                None
            }
            Request::SET_MEM_TABLE => {
                self.set_memory(message);
                None
            }
            _ => {
                self.set_ring(message);
                None
            }
        }
    }

    fn accept(&mut self, features: Features) {
        if !features.contains(PROTOCOL_FEATURES) {
            // Such a front-end knows no SET_VRING_ENABLE.
            self.rings.iter_mut().for_each(|ring| ring.enabled = true);
        }
        self.act(|device| device.accept_again(features - PROTOCOL_FEATURES));
        self.start_due();
    }

    fn set_memory(&mut self, message: Message) {
        if let Ok(slots) = MemorySlots::from_message(message)
            && let Ok(memory) = slots.memory()
        {
            self.memory = slots;
            self.act(|device| device.set_memory(Arc::new(memory)));
        }
    }

    /// The bytes that a front-end asks for; zeros beyond the end, as it may know a longer configuration.
    fn config(&self, message: &Message) -> Vec<u8> {
        let Some((config, _)) = message.read_prefix::<Config>() else {
            return Vec::new();
        };
        let (offset, size) = (config.offset as usize, config.size as usize);
        let mut payload = config.as_bytes().to_vec();
        self.act(|device| {
            let bytes = device.config().iter().copied().chain(std::iter::repeat(0));
            payload.extend(bytes.skip(offset).take(size.min(message.payload.len())));
        });
        payload
    }

    /// A request that sets a part of a virtqueue.
    fn set_ring(&mut self, mut message: Message) {
        let request = Request(message.header.request);
        let Some((word, _)) = message.read_prefix::<u64>() else {
            return;
        };
        // The index of a state, of addresses, and of a message with a descriptor.
        let index = (word & VringState::INDEX_MASK) as u32;
        let num = (word >> 32) as u32;
        if request == Request::SET_VRING_CALL {
            let call = message
                .descriptors
                .pop()
                .and_then(|call| EventNotify::new(call).ok());
            let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(place) = calls.get_mut(index as usize) {
                // What was notified by the one before may not have been seen.
                call.iter().for_each(Notify::notify);
                *place = call;
            }
            return;
        }
        // The front-end replaces the parts of a virtqueue one by one: it goes on with its next kick descriptor.
        if matches!(
            request,
            Request::SET_VRING_NUM | Request::SET_VRING_ADDR | Request::SET_VRING_BASE
        ) && self.rings.get(index as usize).is_some_and(|ring| ring.running)
        {
            self.halt(index, Strict::stop_queue);
            self.rings[index as usize].kick = None;
        }
        let Some(ring) = self.rings.get_mut(index as usize) else {
            return;
        };
        match request {
            Request::SET_VRING_NUM => ring.size = num.try_into().unwrap_or(0),
            Request::SET_VRING_ADDR => ring.addresses = VringAddress::read_from_bytes(&message.payload).ok(),
            Request::SET_VRING_BASE => ring.base = num,
            Request::SET_VRING_KICK => ring.kick = message.descriptors.pop(),
            Request::SET_VRING_ENABLE => ring.enabled = num == 1,
            _ => return,
        }
        if !self.rings[index as usize].is_due() {
            self.halt(index, Strict::stop_queue);
        }
        self.start_due();
    }

    /// Starts what is to run and does not.
    fn start_due(&mut self) {
        for index in 0..self.rings.len() {
            let ring = &mut self.rings[index];
            let Some(addresses) = ring.addresses.filter(|_| ring.is_due() && !ring.running) else {
                continue;
            };
            ring.running = true;
            // What is in no region has no address for the device either.
            let guest = |address| self.memory.guest_address(address).unwrap_or(u64::MAX);
            let layout = Layout {
                size: ring.size,
                descriptor_area: guest(addresses.descriptor),
                driver_area: guest(addresses.available),
                device_area: guest(addresses.used),
            };
            let base = ring.base;
            self.act(|device| {
                device.start_queue(index as u16, layout, base);
                // What has become available before it was started.
                device.kicked(index as u16);
            });
        }
    }

    /// Stops a virtqueue until its next kick descriptor comes; says where.
    fn stop(&mut self, index: u32) -> u32 {
        self.halt(index, Strict::finish_queue);
        let ring = self.rings.get_mut(index as usize);
        ring.map_or(0, |ring| {
            ring.kick = None;
            ring.base
        })
    }

    /// A virtqueue does not run any more, and goes on later where it was.
    fn halt(&mut self, index: u32, how: fn(&mut Strict, u16) -> u32) {
        let ring = self.rings.get_mut(index as usize);
        if ring.is_some_and(|ring| std::mem::take(&mut ring.running)) {
            let base = self.act(|device| how(device, index as u16));
            self.rings[index as usize].base = base;
        }
    }
}
