//! What real front-ends do that the text does not say, or not so: dialogues as they were seen, message by message.

mod common;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::*;
use ringwright_driver::Options;
use ringwright_memory::{Area, Buffer, Mapping, Region};
use ringwright_ring::{DriverOptions, DriverQueue, Layout};
use ringwright_spec::{Features, feature};
use ringwright_vhost_user::frontend::{Frontend, FrontendOptions, USED};
use ringwright_vhost_user::message::{
    Header, MemoryRegion, MemoryTable, PROTOCOL_FEATURES, ProtocolFeatures, Request, SingleRegion,
    VringAddress, VringState,
};
use ringwright_vhost_user::socket::Socket;
use rustix::event::{EventfdFlags, eventfd};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A front-end that says what the test tells it to, and a ring in memory that it shares.
struct Dialogue {
    socket: Socket,
    region: Region,
    area: Arc<Area>,
    kick: OwnedFd,
}

impl Dialogue {
    /// Guest and user addresses are the same, as in Linux in user mode and libblkio.
    fn new(server: &Server) -> Self {
        let mapping = Arc::new(Mapping::memfd("dialogue", 1 << 20).unwrap());
        let address = mapping.segment().pointer() as u64;
        let region = Region::new(address, mapping);
        let area = Area::from_region(region.clone()).unwrap();
        let kick = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
        Self {
            socket: Socket::new(server.stream()).with_timeout(DEADLINE),
            region,
            area,
            kick,
        }
    }

    fn say(
        &self,
        request: Request,
        payload: &(impl IntoBytes + Immutable + ?Sized),
        files: &[BorrowedFd<'_>],
    ) {
        self.socket
            .send(request.0, 0, &[payload.as_bytes()], files)
            .unwrap();
    }

    fn ask<T: FromBytes>(&self, request: Request, payload: &(impl IntoBytes + Immutable)) -> T {
        self.say(request, payload, &[]);
        let reply = self.socket.receive().unwrap();
        assert_eq!(
            (Request(reply.header.request), reply.header.is_reply()),
            (request, true)
        );
        reply.read().unwrap()
    }

    fn description(&self) -> MemoryRegion {
        let (guest_address, size) = (self.region.guest_address(), self.region.len());
        MemoryRegion {
            guest_address,
            size,
            user_address: guest_address,
            mmap_offset: 0,
        }
    }

    fn file(&self) -> BorrowedFd<'_> {
        self.region.file().unwrap().0
    }

    fn features(&self, features: Features) {
        self.say(Request::SET_FEATURES, &(features.0 as u64), &[]);
    }

    fn table(&self) {
        let table = [
            MemoryTable { count: 1, padding: 0 }.as_bytes(),
            self.description().as_bytes(),
        ]
        .concat();
        self.say(Request::SET_MEM_TABLE, table.as_slice(), &[self.file()]);
    }

    fn queue(&self, format: Features) -> DriverQueue<Buffer> {
        DriverQueue::new(&self.area, 8, format, DriverOptions::default()).unwrap()
    }

    fn vring(&self, layout: &Layout, base: u32, log: u64) {
        self.say(
            Request::SET_VRING_NUM,
            &VringState {
                index: 0,
                num: layout.size.into(),
            },
            &[],
        );
        self.say(Request::SET_VRING_BASE, &VringState { index: 0, num: base }, &[]);
        let addresses = VringAddress {
            index: 0,
            flags: 0,
            descriptor: layout.descriptor_area,
            used: layout.device_area,
            available: layout.driver_area,
            log,
        };
        self.say(Request::SET_VRING_ADDR, &addresses, &[]);
    }

    fn enable(&self, enabled: bool) {
        self.say(
            Request::SET_VRING_ENABLE,
            &VringState {
                index: 0,
                num: enabled.into(),
            },
            &[],
        );
    }

    fn kick_descriptor(&self) {
        self.say(Request::SET_VRING_KICK, &0u64, &[self.kick.as_fd()]);
    }

    /// Sends `count` requests through the ring and sees that they are answered, without notifications.
    fn check(&self, queue: &mut DriverQueue<Buffer>, count: usize) {
        for _ in 0..count {
            let buffer = self.area.allocate(16, 16).unwrap();
            queue.add(&[], &[buffer.segment()], buffer).unwrap();
            if queue.publish() {
                rustix::io::write(&self.kick, &1u64.to_ne_bytes()).unwrap();
            }
            let deadline = Instant::now() + DEADLINE;
            let used = loop {
                if let Some(used) = queue.pop().unwrap() {
                    break used;
                }
                assert!(Instant::now() < deadline, "the ring is not served");
                std::thread::yield_now();
            };
            assert_eq!(used.written, 16);
        }
    }
}

/// Linux in user mode 6.12: REPLY_ACK, BACKEND_REQ and CONFIG, the table of one region padded to two, all ones as the log's
/// address, a socket to be called by, and a ring base of 0 for packed rings. It never stops a ring.
#[test]
fn linux_in_user_mode() {
    let server = Server::start(counting_entropy());
    for format in [feature::VERSION_1, feature::VERSION_1 | feature::RING_PACKED] {
        let dialogue = Dialogue::new(&server);
        dialogue.say(Request::SET_OWNER, &(), &[]);
        let offered: u64 = dialogue.ask(Request::GET_FEATURES, &());
        assert_eq!(offered & PROTOCOL_FEATURES.0 as u64, PROTOCOL_FEATURES.0 as u64);
        let protocol: u64 = dialogue.ask(Request::GET_PROTOCOL_FEATURES, &());
        let wanted = ProtocolFeatures::REPLY_ACK
            .union(ProtocolFeatures::BACKEND_REQ)
            .union(ProtocolFeatures::CONFIG);
        assert!(ProtocolFeatures(protocol).contains(wanted));
        // The very message that negotiates replies asks for one.
        let (set, need) = (Request::SET_PROTOCOL_FEATURES.0, Header::NEED_REPLY);
        dialogue
            .socket
            .send(set, need, &[wanted.0.as_bytes()], &[])
            .unwrap();
        assert_eq!(dialogue.socket.receive().unwrap().read::<u64>(), Some(0));
        let (_channel, theirs) = UnixStream::pair().unwrap();
        dialogue.say(Request::SET_BACKEND_REQ_FD, &(), &[theirs.as_fd()]);
        dialogue.features(format | PROTOCOL_FEATURES);
        let padded = [
            MemoryTable { count: 1, padding: 0 }.as_bytes(),
            dialogue.description().as_bytes(),
            MemoryRegion::default().as_bytes(),
        ]
        .concat();
        assert_eq!(padded.len(), 72);
        dialogue.say(Request::SET_MEM_TABLE, padded.as_slice(), &[dialogue.file()]);
        let mut queue = dialogue.queue(format);
        let (call, theirs) = UnixStream::pair().unwrap();
        dialogue.say(Request::SET_VRING_CALL, &0u64, &[theirs.as_fd()]);
        dialogue.vring(&queue.layout(), 0, u64::MAX);
        dialogue.kick_descriptor();
        dialogue.enable(true);
        dialogue.check(&mut queue, 20);
        // The notification is 8 bytes on the socket.
        call.set_read_timeout(Some(DEADLINE)).unwrap();
        std::io::Read::read_exact(&mut &call, &mut [0; 8]).unwrap();
        // A second driver takes the device: the ring is only disabled before.
        dialogue.enable(false);
        let mut queue = dialogue.queue(format);
        dialogue.vring(&queue.layout(), 0, u64::MAX);
        dialogue.kick_descriptor();
        dialogue.enable(true);
        dialogue.check(&mut queue, 20);
    }
}

/// virtio_net in user mode Linux acknowledges features a second time, without the protocol's bit, and enables no ring.
#[test]
fn a_front_end_that_forgets_the_protocol_bit() {
    let server = Server::start(counting_entropy());
    let dialogue = Dialogue::new(&server);
    dialogue.features(feature::VERSION_1 | feature::EVENT_IDX | PROTOCOL_FEATURES);
    dialogue.features(feature::VERSION_1);
    dialogue.table();
    let mut queue = dialogue.queue(feature::VERSION_1);
    dialogue.vring(&queue.layout(), 0, 0);
    dialogue.kick_descriptor();
    dialogue.check(&mut queue, 20);
}

/// A ring that is not enabled is not served, whatever else it has; and it goes on where it was when it is enabled again.
#[test]
fn rings_run_while_they_are_enabled() {
    let server = Server::start(counting_entropy());
    for format in [feature::VERSION_1, feature::VERSION_1 | feature::RING_PACKED] {
        let dialogue = Dialogue::new(&server);
        dialogue.features(format | PROTOCOL_FEATURES);
        dialogue.table();
        let mut queue = dialogue.queue(format);
        dialogue.vring(&queue.layout(), 0, 0);
        dialogue.kick_descriptor();
        for _ in 0..10 {
            let buffer = dialogue.area.allocate(16, 16).unwrap();
            queue.add(&[], &[buffer.segment()], buffer).unwrap();
            queue.publish();
            rustix::io::write(&dialogue.kick, &1u64.to_ne_bytes()).unwrap();
            // The answer says that everything before has been carried out.
            let _: u64 = dialogue.ask(Request::GET_FEATURES, &());
            assert!(queue.pop().unwrap().is_none(), "served although disabled");
            dialogue.enable(true);
            let deadline = Instant::now() + DEADLINE;
            while queue.pop().unwrap().is_none() {
                assert!(Instant::now() < deadline, "not served although enabled");
            }
            dialogue.check(&mut queue, 3);
            dialogue.enable(false);
            let _: u64 = dialogue.ask(Request::GET_FEATURES, &());
        }
    }
}

/// DPDK's virtio-user: of a packed ring's base only the driver's half, fresh and after some laps.
#[test]
fn half_a_base_for_packed_rings() {
    let server = Server::start(counting_entropy());
    let format = feature::VERSION_1 | feature::RING_PACKED;
    let dialogue = Dialogue::new(&server);
    dialogue.features(format | PROTOCOL_FEATURES);
    dialogue.table();
    let mut queue = dialogue.queue(format);
    dialogue.vring(&queue.layout(), 0x8000, 0);
    dialogue.kick_descriptor();
    dialogue.enable(true);
    for count in 1..30 {
        dialogue.check(&mut queue, count);
        let state: VringState = dialogue.ask(Request::GET_VRING_BASE, &VringState { index: 0, num: 0 });
        assert_eq!(state.num >> 16, state.num & 0xffff, "nothing is in flight");
        dialogue.vring(&queue.layout(), state.num & 0xffff, 0);
        dialogue.kick_descriptor();
    }
}

/// No kick descriptor: the ring is polled. And a kick descriptor that comes later takes over.
#[test]
fn a_ring_without_kicks_is_polled() {
    let server = Server::start(counting_entropy());
    let dialogue = Dialogue::new(&server);
    dialogue.features(feature::VERSION_1 | feature::EVENT_IDX);
    dialogue.table();
    let mut queue = dialogue.queue(feature::VERSION_1 | feature::EVENT_IDX);
    dialogue.vring(&queue.layout(), 0, 0);
    dialogue.say(Request::SET_VRING_CALL, &VringState::NO_DESCRIPTOR, &[]);
    dialogue.say(Request::SET_VRING_KICK, &VringState::NO_DESCRIPTOR, &[]);
    for _ in 0..20 {
        let buffer = dialogue.area.allocate(16, 16).unwrap();
        queue.add(&[], &[buffer.segment()], buffer).unwrap();
        queue.publish();
        let deadline = Instant::now() + DEADLINE;
        while queue.pop().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the ring is not polled");
            std::thread::sleep(Duration::from_micros(100));
        }
    }
    dialogue.kick_descriptor();
    dialogue.check(&mut queue, 20);
}

/// libblkio and QEMU add regions one by one; the ring's region may be taken away only once the ring is stopped.
#[test]
fn the_region_of_a_running_ring_stays() {
    let server = Server::start(counting_entropy());
    let dialogue = Dialogue::new(&server);
    let protocol = ProtocolFeatures::CONFIGURE_MEM_SLOTS.union(ProtocolFeatures::REPLY_ACK);
    dialogue.say(Request::SET_PROTOCOL_FEATURES, &protocol.0, &[]);
    dialogue.features(feature::VERSION_1 | PROTOCOL_FEATURES);
    let single = SingleRegion {
        padding: 0,
        region: dialogue.description(),
    };
    dialogue.say(Request::ADD_MEM_REG, &single, &[dialogue.file()]);
    let mut queue = dialogue.queue(feature::VERSION_1);
    dialogue.vring(&queue.layout(), 0, 0);
    dialogue.kick_descriptor();
    dialogue.enable(true);
    let remove = || {
        dialogue
            .socket
            .send(
                Request::REM_MEM_REG.0,
                Header::NEED_REPLY,
                &[single.as_bytes()],
                &[],
            )
            .unwrap();
        dialogue.socket.receive().unwrap().read::<u64>().unwrap()
    };
    assert_ne!(remove(), 0);
    dialogue.check(&mut queue, 10);
    let _: VringState = dialogue.ask(Request::GET_VRING_BASE, &VringState { index: 0, num: 0 });
    assert_eq!(remove(), 0);
}

/// A new call descriptor is signalled at once: what the old one said a moment ago may not have been heard.
#[test]
fn a_call_descriptor_that_changes_under_load() {
    let server = Server::start(counting_entropy());
    let dialogue = Dialogue::new(&server);
    dialogue.features(feature::VERSION_1);
    dialogue.table();
    let mut queue = dialogue.queue(feature::VERSION_1);
    dialogue.vring(&queue.layout(), 0, 0);
    dialogue.kick_descriptor();
    for _ in 0..20 {
        dialogue.check(&mut queue, 3);
        let call = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
        dialogue.say(Request::SET_VRING_CALL, &0u64, &[call.as_fd()]);
        let _: u64 = dialogue.ask(Request::GET_FEATURES, &());
        rustix::io::read(&call, &mut [0; 8]).expect("the new descriptor is silent");
    }
}

/// A reset stops rings that run, and the device can be set up again.
#[test]
fn a_reset_stops_rings() {
    let server = Server::start(counting_entropy());
    let dialogue = Dialogue::new(&server);
    let protocol = ProtocolFeatures::RESET_DEVICE.union(ProtocolFeatures::STATUS);
    dialogue.say(Request::SET_PROTOCOL_FEATURES, &protocol.0, &[]);
    for by_status in [true, false] {
        dialogue.features(feature::VERSION_1 | PROTOCOL_FEATURES);
        dialogue.table();
        let mut queue = dialogue.queue(feature::VERSION_1);
        dialogue.vring(&queue.layout(), 0, 0);
        dialogue.kick_descriptor();
        dialogue.enable(true);
        dialogue.check(&mut queue, 5);
        match by_status {
            true => dialogue.say(Request::SET_STATUS, &0u64, &[]),
            false => dialogue.say(Request::RESET_DEVICE, &(), &[]),
        }
        // The answer says that the reset is done; what is made available now is nobody's business.
        let _: u64 = dialogue.ask(Request::GET_FEATURES, &());
        let buffer = dialogue.area.allocate(16, 16).unwrap();
        queue.add(&[], &[buffer.segment()], buffer).unwrap();
        queue.publish();
        rustix::io::write(&dialogue.kick, &1u64.to_ne_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        assert!(queue.pop().unwrap().is_none(), "served after a reset");
        rustix::io::read(&dialogue.kick, &mut [0; 8]).unwrap();
    }
}

/// Nothing of a front-end's memory stays mapped once it has gone.
#[test]
fn memory_is_given_back() {
    let server = Server::start(counting_entropy());
    let mapped = || {
        std::fs::read_to_string("/proc/self/maps")
            .unwrap()
            .matches("memfd:given-back")
            .count()
    };
    for running in [false, true] {
        let mapping = Arc::new(Mapping::memfd("given-back", 1 << 20).unwrap());
        let region = Region::new(mapping.segment().pointer() as u64, mapping);
        let area = Area::from_region(region.clone()).unwrap();
        let dialogue = Dialogue {
            region,
            area,
            ..Dialogue::new(&server)
        };
        dialogue.features(feature::VERSION_1);
        dialogue.table();
        let mut queue = dialogue.queue(feature::VERSION_1);
        if running {
            dialogue.vring(&queue.layout(), 0, 0);
            dialogue.kick_descriptor();
            dialogue.check(&mut queue, 5);
        }
        let _: u64 = dialogue.ask(Request::GET_FEATURES, &());
        assert_eq!(mapped(), 2);
        drop((queue, dialogue));
        // The next front-end is answered when the last one has been cleared away.
        let _: u64 = Dialogue::new(&server).ask(Request::GET_FEATURES, &());
        assert_eq!(mapped(), 0);
    }
}

/// As DPDK's vhost device does.
#[test]
fn features_of_a_configuration_space_that_cannot_be_read_are_not_seen() {
    use ringwright_device::network::{self, backend::Stream};
    use ringwright_driver::network::Network;
    use ringwright_spec::network::features::{MAC, MTU, STATUS};

    let options = network::Options {
        mac: Some([2, 0, 0, 0, 0, 1]),
        mtu: Some(1500),
        ..network::Options::default()
    };
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let stream = Stream::connected(ours).unwrap();
    let server = Server::start(network::Network::new(Box::new(stream), options).unwrap());
    for (without, expected) in [
        (ProtocolFeatures::NONE, MAC | MTU | STATUS),
        (ProtocolFeatures::CONFIG, Features::NONE),
    ] {
        let options = FrontendOptions {
            protocol_features: USED.without(without),
            ..FrontendOptions::new(1)
        };
        let frontend = Frontend::connect(&server.path, options).unwrap();
        let area = frontend.area().clone();
        let mut network = Network::new(frontend, &area, Options::default()).unwrap();
        assert_eq!(network.session().features() & (MAC | MTU | STATUS), expected);
    }
}
