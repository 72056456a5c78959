//! The crates `vhost` and `vhost-user-backend` as strangers: the first one's front-end before our back-end, our front-end
//! before the second one's back-end, and the protocol's numbers compared with theirs.

mod common;

use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, RwLock};

use common::*;
use ringwright_device::{ConfigError, Description, Device, DeviceError, Session, Worker};
use ringwright_driver::entropy::Entropy;
use ringwright_memory::{Area, Buffer, Mapping, Region};
use ringwright_ring::{DriverOptions, DriverQueue};
use ringwright_spec::{Features, feature};
use ringwright_vhost_user::message::{BackendRequest, PROTOCOL_FEATURES, ProtocolFeatures, Request};
use vhost::vhost_user::message::{
    BackendReq, FrontendReq, VhostUserConfigFlags, VhostUserHeaderFlag, VhostUserProtocolFeatures,
};
use vhost::vhost_user::{Frontend, FrontendReqHandler, VhostUserFrontend, VhostUserFrontendReqHandlerMut};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vhost_user_backend::{VhostUserBackendMut, VhostUserDaemon, VringRwLock, VringT};
use virtio_queue::QueueOwnedT;
use vm_memory::{Bytes, GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::event::{EventConsumer, EventFlag, EventNotifier, new_event_consumer_and_notifier};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

#[test]
fn the_numbers_are_the_same() {
    for (request, name) in Request::ALL {
        let theirs = FrontendReq::try_from(request.0).map(|theirs| format!("{theirs:?}"));
        assert_eq!(theirs.unwrap_or_default(), *name);
        assert!(request.rule().is_some(), "{request} has no rule");
    }
    let last = Request::ALL.iter().map(|(request, _)| request.0).max().unwrap();
    assert!(FrontendReq::try_from(last + 1).is_err());
    for (request, name) in BackendRequest::ALL {
        let theirs = BackendReq::try_from(request.0).map(|theirs| format!("{theirs:?}"));
        assert_eq!(theirs.unwrap_or_default(), *name);
    }
    let all = ProtocolFeatures::ALL.iter().fold(0, |all, (bit, _)| all | bit.0);
    assert_eq!(VhostUserProtocolFeatures::all().bits(), all);
    for (bit, name) in ProtocolFeatures::ALL {
        let theirs =
            VhostUserProtocolFeatures::from_name(name).unwrap_or_else(|| panic!("they have no {name}"));
        assert_eq!(theirs.bits(), bit.0, "{name}");
    }
}

/// A device whose configuration space changes by itself, each time a worker is made for it.
struct Fickle {
    entropy: ringwright_device::entropy::Entropy,
    config: [u8; 8],
}

impl Device for Fickle {
    fn description(&self) -> Description {
        Description {
            config_size: self.config.len(),
            ..self.entropy.description()
        }
    }

    fn config(&self) -> Vec<u8> {
        self.config.to_vec()
    }

    fn write_config(&mut self, offset: usize, data: &[u8]) -> Result<(), ConfigError> {
        self.config[offset..][..data.len()].copy_from_slice(data);
        Ok(())
    }

    fn worker(&mut self, group: usize, session: &Session) -> Result<Box<dyn Worker>, DeviceError> {
        self.config[0] += 1;
        session.outlet.config_changed();
        self.entropy.worker(group, session)
    }
}

/// Counts the messages that the back-end sends.
#[derive(Default)]
struct Changes(u32);

impl VhostUserFrontendReqHandlerMut for Changes {
    fn handle_config_change(&mut self) -> vhost::vhost_user::HandlerResult<u64> {
        self.0 += 1;
        Ok(0)
    }
}

/// Where a test's rings and buffers lie, for the crate's front-end.
struct Shared {
    region: Region,
    area: Arc<Area>,
}

impl Shared {
    fn new() -> Self {
        let region = Region::new(0x5000_0000, Arc::new(Mapping::memfd("shared", 1 << 20).unwrap()));
        let area = Area::from_region(region.clone()).unwrap();
        Self { region, area }
    }

    fn info(&self) -> VhostUserMemoryRegionInfo {
        let (file, mmap_offset) = self.region.file().unwrap();
        VhostUserMemoryRegionInfo {
            guest_phys_addr: self.region.guest_address(),
            memory_size: self.region.len(),
            userspace_addr: self.region.pointer() as u64,
            mmap_offset,
            mmap_handle: file.as_raw_fd(),
        }
    }

    fn addresses(&self, queue: &DriverQueue<Buffer>) -> VringConfigData {
        let layout = queue.layout();
        let user = |address: u64| address - self.region.guest_address() + self.region.pointer() as u64;
        VringConfigData {
            queue_max_size: layout.size,
            queue_size: layout.size,
            flags: 0,
            desc_table_addr: user(layout.descriptor_area),
            used_ring_addr: user(layout.device_area),
            avail_ring_addr: user(layout.driver_area),
            log_addr: None,
        }
    }
}

fn wait(event: &EventFd) {
    let epoll = Epoll::new().unwrap();
    epoll
        .ctl(
            ControlOperation::Add,
            event.as_raw_fd(),
            EpollEvent::new(EventSet::IN, 0),
        )
        .unwrap();
    let timeout = DEADLINE.as_millis() as i32;
    assert_eq!(
        epoll.wait(timeout, &mut [EpollEvent::default()]).unwrap(),
        1,
        "no notification came"
    );
    event.read().unwrap();
}

/// A whole life of a device, by every request that their front-end has and our back-end offers.
#[test]
fn their_front_end_before_our_back_end() {
    let server = Server::start(Fickle {
        entropy: counting_entropy(),
        config: [1, 2, 3, 4, 5, 6, 7, 8],
    });
    let both = feature::EVENT_IDX | feature::INDIRECT_DESC;
    let packed = feature::RING_PACKED;
    for (round, format) in [Features::NONE, both, packed, packed | both]
        .into_iter()
        .enumerate()
    {
        for slots in [false, true] {
            let first = 1 + 2 * round as u8 + u8::from(slots);
            converse(&server, format | feature::VERSION_1, slots, first);
        }
    }
}

fn converse(server: &Server, format: Features, slots: bool, first: u8) {
    let mut frontend = Frontend::connect(&server.path, 1).unwrap();
    let offered = frontend.get_features().unwrap();
    assert_eq!(offered & PROTOCOL_FEATURES.0 as u64, PROTOCOL_FEATURES.0 as u64);
    let protocol = frontend.get_protocol_features().unwrap();
    frontend.set_protocol_features(protocol).unwrap();
    frontend.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
    frontend.set_owner().unwrap();
    assert_eq!(frontend.get_queue_num().unwrap(), 1);
    assert_eq!(frontend.get_max_mem_slots().unwrap(), 512);
    let changes = Arc::new(Mutex::new(Changes::default()));
    let mut channel = FrontendReqHandler::new(changes.clone()).unwrap();
    frontend.set_backend_request_fd(&channel.get_tx_raw_fd()).unwrap();
    frontend
        .set_features((format | PROTOCOL_FEATURES).0 as u64)
        .unwrap();

    let writable = VhostUserConfigFlags::WRITABLE;
    let (_, config) = frontend.get_config(0, 8, writable, &[0; 8]).unwrap();
    assert_eq!(config, [first, 2, 3, 4, 5, 6, 7, 8]);
    frontend.set_config(7, writable, &[8]).unwrap();

    let shared = Shared::new();
    match slots {
        true => drop(frontend.add_mem_region(&shared.info()).unwrap()),
        false => drop(frontend.set_mem_table(&[shared.info()]).unwrap()),
    }
    let mut queue = DriverQueue::new(&shared.area, 8, format, DriverOptions { indirect: 2 }).unwrap();
    let event = || EventFd::new(EFD_NONBLOCK).unwrap();
    let (kick, call, error) = (event(), event(), event());
    frontend.set_vring_err(0, &error).unwrap();
    start(&frontend, &shared, &queue, 0, &kick, &call);
    frontend.set_vring_enable(0, true).unwrap();
    // A change of the configuration space came with the ring's start.
    channel.handle_request().unwrap();
    assert_eq!(changes.lock().unwrap().0, 1);
    let (_, config) = frontend.get_config(0, 1, writable, &[0]).unwrap();
    assert_eq!(config, [first + 1]);

    let mut next = None;
    for round in 0..40 {
        for _ in 0..3 {
            let buffer = shared.area.allocate(5, 1).unwrap();
            queue.add(&[], &[buffer.segment()], buffer).unwrap();
        }
        if queue.publish() {
            kick.write(1).unwrap();
        }
        let mut taken = 0;
        while taken < 3 {
            while let Some(used) = queue.pop().unwrap() {
                let mut bytes = [0; 5];
                used.data.read(0, &mut bytes).unwrap();
                for byte in bytes {
                    assert_eq!(byte, *next.get_or_insert(byte));
                    next = Some(byte.wrapping_add(1));
                }
                taken += 1;
            }
            if taken < 3 && !queue.enable_notifications() {
                wait(&call);
            }
        }
        if round % 7 == 6 {
            let stopped = frontend.get_vring_base(0).unwrap();
            start(&frontend, &shared, &queue, stopped, &kick, &call);
        }
    }
    assert!(error.read().is_err(), "an error was signalled");
    frontend.get_vring_base(0).unwrap();
    if slots {
        frontend.remove_mem_region(&shared.info()).unwrap();
    }
    frontend.reset_device().unwrap();
    // What our back-end does not have is refused by a decent answer, or by theirs before it is sent.
    assert!(frontend.get_shmem_config().is_err());
    assert!(frontend.check_device_state().is_err());
}

/// Sets the vring up. Their front-end has 16 bits for the base, so of a packed ring's only the driver's half.
fn start(
    frontend: &Frontend,
    shared: &Shared,
    queue: &DriverQueue<Buffer>,
    base: u32,
    kick: &EventFd,
    call: &EventFd,
) {
    frontend.set_vring_num(0, 8).unwrap();
    frontend.set_vring_addr(0, &shared.addresses(queue)).unwrap();
    frontend.set_vring_base(0, base as u16).unwrap();
    frontend.set_vring_call(0, call).unwrap();
    frontend.set_vring_kick(0, kick).unwrap();
}

/// An entropy device that counts, on their rings.
#[derive(Clone)]
struct Theirs {
    memory: GuestMemoryAtomic<GuestMemoryMmap>,
    count: u8,
    event_idx: bool,
}

impl VhostUserBackendMut for Theirs {
    type Bitmap = ();
    type Vring = VringRwLock;

    fn num_queues(&self) -> usize {
        1
    }

    fn max_queue_size(&self) -> usize {
        256
    }

    fn features(&self) -> u64 {
        let ring = feature::VERSION_1 | feature::EVENT_IDX | feature::INDIRECT_DESC;
        (ring | PROTOCOL_FEATURES).0 as u64
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::BACKEND_REQ
            | VhostUserProtocolFeatures::RESET_DEVICE
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
    }

    fn set_event_idx(&mut self, enabled: bool) {
        self.event_idx = enabled;
    }

    fn update_memory(&mut self, memory: GuestMemoryAtomic<GuestMemoryMmap>) -> std::io::Result<()> {
        self.memory = memory;
        Ok(())
    }

    fn exit_event(&self, _thread: usize) -> Option<(EventConsumer, EventNotifier)> {
        new_event_consumer_and_notifier(EventFlag::NONBLOCK).ok()
    }

    fn handle_event(
        &mut self,
        _event: u16,
        _set: EventSet,
        vrings: &[VringRwLock],
        _thread: usize,
    ) -> std::io::Result<()> {
        let vring = &vrings[0];
        loop {
            vring.disable_notification().unwrap();
            let memory = self.memory.memory();
            let chains: Vec<_> = vring
                .get_mut()
                .get_queue_mut()
                .iter(memory.clone())
                .unwrap()
                .collect();
            for chain in chains {
                let (head, mut written) = (chain.head_index(), 0);
                for descriptor in chain {
                    for at in 0..descriptor.len() {
                        let address = descriptor.addr().0 + u64::from(at);
                        memory
                            .write_obj(self.count, vm_memory::GuestAddress(address))
                            .unwrap();
                        self.count = self.count.wrapping_add(1);
                    }
                    written += descriptor.len();
                }
                vring.add_used(head, written).unwrap();
            }
            if vring.needs_notification().unwrap() {
                vring.signal_used_queue().unwrap();
            }
            if !vring.enable_notification().unwrap() {
                return Ok(());
            }
        }
    }
}

#[test]
fn our_front_end_before_their_back_end() {
    for (number, format) in formats().into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("theirs.sock");
        let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
        let device = Theirs {
            memory: memory.clone(),
            count: 0,
            event_idx: false,
        };
        let device = Arc::new(RwLock::new(device));
        let mut daemon = VhostUserDaemon::new("theirs".into(), device, memory).unwrap();
        let mut listener = vhost::vhost_user::Listener::new(&path, true).unwrap();
        let client = path.clone();
        let driver = std::thread::spawn(move || {
            let mut options = ringwright_vhost_user::frontend::FrontendOptions::new(ENTROPY);
            if number % 2 == 0 {
                let without = ProtocolFeatures::CONFIGURE_MEM_SLOTS;
                options.protocol_features = options.protocol_features.without(without);
            }
            let frontend = ringwright_vhost_user::frontend::Frontend::connect(&client, options).unwrap();
            let area = frontend.area().clone();
            let mut driver = Entropy::new(frontend, &area, accepting(format)).unwrap();
            // They have split rings only, used in any order.
            let refused = feature::RING_PACKED | feature::IN_ORDER;
            assert_eq!(driver.session().features(), format - refused);
            check_counting(&mut driver, &area, 100, 20, Some(0), nap);
        });
        daemon.start(&mut listener).unwrap();
        driver.join().unwrap();
        // Their daemon says that the front-end went.
        let _ = daemon.wait();
    }
}
