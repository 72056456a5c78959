//! A driver that says anything about the ports of a console, which come and go meanwhile, and a count of what it is told.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use ringwright_device::console::backend::Log;
use ringwright_device::console::{Console, Handle, Port, Size};
use ringwright_device::{EventNotify, Host, HostEvents, HostOptions, QueueSetup};
use ringwright_memory::{Area, Buffer, Mapping, Memory, Region};
use ringwright_ring::{DriverOptions, DriverQueue, State};
use ringwright_spec::console::{CONTROL_RECEIVEQ, CONTROL_TRANSMITQ, Event, features::MULTIPORT};
use ringwright_spec::{Features, feature};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::script::Script;

/// More actions than this make an input slow, not interesting.
const MAX_ACTIONS: usize = 60;
/// Most ports of the device.
const MOST: u32 = 4;
/// The device takes no longer for a message.
const DEADLINE: Timespec = Timespec {
    tv_sec: 8,
    tv_nsec: 0,
};

/// Plays `input` and panics where a port is added that is there, removed or spoken of that is not, or the device hangs.
pub fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let [packed] = script.flags();
    let mut play = Play::new(packed);
    for _ in 0..MAX_ACTIONS {
        if script.is_empty() {
            break;
        }
        play.act(&mut script);
        play.hear();
    }
    // The next driver meets the ports that there are now.
    play.reset();
    play.listen(2 * MOST, 256);
    play.say(&message(0, Event::DEVICE_READY, 1));
    // What is said to the device second has been answered after all that the first one was told.
    play.say(&[]);
    play.hear();
    let there: BTreeSet<u32> = play
        .handle
        .ports()
        .into_iter()
        .map(|(number, _)| number)
        .collect();
    assert_eq!(play.known, there);
}

struct Play {
    host: Host,
    handle: Handle,
    features: Features,
    region: Region,
    area: Arc<Area>,
    receive: Queue,
    transmit: Queue,
    /// Ports that the device has added.
    known: BTreeSet<u32>,
    /// A message was lost, so that nobody knows what was in it.
    lost: bool,
    /// Ports that were ever added, for their names.
    names: u32,
}

struct Queue {
    ring: DriverQueue<Buffer>,
    kick: OwnedFd,
    call: OwnedFd,
}

struct Deaf;

impl HostEvents for Deaf {
    fn config_changed(&self) {}

    fn needs_reset(&self, reason: &str) {
        panic!("the driver has kept to the rules of its virtqueues: {reason}");
    }
}

fn log() -> Box<Log> {
    Box::new(Log::append("/dev/null").expect("it is there"))
}

fn message(port: u32, event: Event, value: u16) -> Vec<u8> {
    let mut bytes = port.to_le_bytes().to_vec();
    bytes.extend(event.0.to_le_bytes());
    bytes.extend(value.to_le_bytes());
    bytes
}

impl Play {
    fn new(packed: bool) -> Self {
        let others = vec![Port::generic("first", log())];
        let console = Console::with_ports(Port::console(log(), None), others, MOST).expect("two ports");
        let handle = console.handle();
        let host = Host::new(Box::new(console), HostOptions::default(), Arc::new(Deaf)).expect("a console");
        let mut features = feature::VERSION_1 | MULTIPORT;
        if packed {
            features = features | feature::RING_PACKED;
        }
        let mapping = Arc::new(Mapping::anonymous(1 << 16).expect("memory is left"));
        let region = Region::new(0x1_0000, mapping);
        let area = Area::from_region(region.clone()).expect("it is writable");
        let mut play = Self {
            receive: Queue::new(&area, features),
            transmit: Queue::new(&area, features),
            host,
            handle,
            features,
            region,
            area,
            known: BTreeSet::new(),
            lost: false,
            names: 0,
        };
        play.start();
        play
    }

    fn start(&mut self) {
        self.host.set_features(self.features).expect("what it offers");
        let memory = Memory::new(vec![self.region.clone()]).expect("one region");
        self.host.set_memory(Arc::new(memory)).expect("nothing runs");
        self.receive = Queue::new(&self.area, self.features);
        self.transmit = Queue::new(&self.area, self.features);
        for (index, queue) in [
            (CONTROL_RECEIVEQ, &self.receive),
            (CONTROL_TRANSMITQ, &self.transmit),
        ] {
            self.host
                .start_queue(index, queue.setup(State::default()))
                .expect("a thread");
        }
    }

    fn reset(&mut self) {
        self.host.reset();
        self.known.clear();
        self.lost = false;
        self.start();
    }

    fn act(&mut self, script: &mut Script<'_>) {
        match script.u8() % 16 {
            0 => self.reset(),
            1 => {
                // Whatever comes of it: there may be no room, or no such port.
                let name = self.names.to_string();
                self.names += 1;
                let _ = match script.u8() % 2 {
                    0 => self.handle.add(Port::generic(name, log())),
                    _ => self.handle.add(Port::console(log(), None)),
                };
            }
            2 => {
                let _ = self.handle.remove(script.below(MOST.into()) as u32);
            }
            3 => {
                let size = Size {
                    columns: script.u16(),
                    rows: script.u16(),
                };
                let _ = self.handle.resize(script.below(MOST.into()) as u32, size);
            }
            4 => self.rest(script),
            5 | 6 => self.listen(1, 1 + script.index(160)),
            7..=9 => self.listen(4, 160),
            10 => {
                let length = script.index(12);
                let bytes: Vec<u8> = (0..length).map(|_| script.u8()).collect();
                self.say(&bytes);
            }
            11 => self.say(&message(script.u32(), Event(script.u16()), script.u16())),
            _ => {
                let event = Event(u16::from(script.u8() % 9));
                let value = u16::from(script.u8() % 3);
                self.say(&message(script.below(MOST as u64 + 1) as u32, event, value));
            }
        }
    }

    /// Stops a control virtqueue, and lets it go on.
    fn rest(&mut self, script: &mut Script<'_>) {
        let [which] = script.flags();
        let (index, queue) = match which {
            true => (CONTROL_RECEIVEQ, &self.receive),
            false => (CONTROL_TRANSMITQ, &self.transmit),
        };
        let state = self.host.stop_queue(index).expect("it runs");
        self.host
            .start_queue(index, queue.setup(state))
            .expect("a thread");
        // If the driver is ready again now, it is told of all ports again.
        self.lost = true;
    }

    /// Gives the device buffers for messages, as far as there is room.
    fn listen(&mut self, count: u32, length: usize) {
        for _ in 0..count {
            if self.receive.ring.free() == 0 {
                return;
            }
            let buffer = self.area.allocate(length, 1).expect("room");
            let segment = buffer.segment();
            assert!(self.receive.ring.add(&[], &[segment], buffer).is_ok());
        }
        self.receive.publish();
    }

    /// Says something, and waits until the device has heard it.
    fn say(&mut self, bytes: &[u8]) {
        let buffer = self.area.allocate(bytes.len().max(1), 1).expect("room");
        buffer.write(0, bytes).expect("within");
        let segment = buffer.segment_at(0, bytes.len().max(1)).expect("within");
        assert!(self.transmit.ring.add(&[segment], &[], buffer).is_ok());
        self.transmit.publish();
        loop {
            self.transmit.ring.disable_notifications();
            if let Some(used) = self.transmit.ring.pop().expect("the device keeps to the rules") {
                assert_eq!(used.written, 0);
                return;
            }
            if !self.transmit.ring.enable_notifications() {
                let ready = poll(
                    &mut [PollFd::new(&self.transmit.call, PollFlags::IN)],
                    Some(&DEADLINE),
                );
                assert_ne!(ready, Ok(0), "the device hangs");
                let _ = rustix::io::read(&self.transmit.call, &mut [0; 8]);
            }
        }
    }

    /// Takes what the device has said.
    fn hear(&mut self) {
        while let Some(used) = self.receive.ring.pop().expect("the device keeps to the rules") {
            let mut bytes = vec![0; used.written as usize];
            used.data.read(0, &mut bytes).expect("within");
            let Some((head, _)) = bytes.split_first_chunk::<8>() else {
                assert!(bytes.is_empty(), "half a message");
                self.lost = true;
                continue;
            };
            let [a, b, c, d, e, f, _, _] = *head;
            self.count(
                u32::from_le_bytes([a, b, c, d]),
                Event(u16::from_le_bytes([e, f])),
            );
        }
    }

    fn count(&mut self, port: u32, event: Event) {
        // dev:console:multiport-device-operation:01, dev:console:multiport-device-operation:02
        assert!(port < MOST, "{event:?} of port {port}");
        let fits = match event {
            Event::DEVICE_ADD => self.known.insert(port),
            Event::DEVICE_REMOVE => self.known.remove(&port),
            Event::CONSOLE_PORT | Event::RESIZE | Event::PORT_OPEN | Event::PORT_NAME => {
                self.known.contains(&port)
            }
            _ => false,
        };
        assert!(fits || self.lost, "{event:?} of port {port}");
    }
}

impl Queue {
    fn new(area: &Arc<Area>, features: Features) -> Self {
        let event = || eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).expect("a descriptor");
        Self {
            ring: DriverQueue::new(area, 8, features, DriverOptions::default()).expect("a virtqueue"),
            kick: event(),
            call: event(),
        }
    }

    fn setup(&self, state: State) -> QueueSetup {
        let call = self.call.try_clone().expect("a descriptor");
        QueueSetup {
            layout: self.ring.layout(),
            state,
            kick: Some(self.kick.try_clone().expect("a descriptor")),
            notify: Box::new(EventNotify::new(call).expect("an eventfd")),
        }
    }

    fn publish(&mut self) {
        if self.ring.publish() {
            let _ = rustix::io::write(&self.kick, &1_u64.to_ne_bytes());
        }
    }
}
