//! A console, of which every port sends back what was sent to it.

use std::collections::VecDeque;
use std::mem::offset_of;

use ringwright_memory::Memory;
use ringwright_spec::console::{
    CONTROL_RECEIVEQ, Config, Control, DEVICE, Event, Role, features as can, receiveq, role,
};
use ringwright_spec::{DeviceType, Features, feature};
use zerocopy::{FromBytes, IntoBytes};

use super::{Done, MOST, Model, fill, readable};
use crate::driver::event::Chain;

/// Ports, if the driver knows of several: the first is a console, the others have names.
pub(in crate::driver) const PORTS: u32 = 2;

/// What names begin with.
const NAME: &[u8] = b"ringwright.";

/// A console.
pub(super) struct Terminal {
    config: Vec<u8>,
    ports: [Port; PORTS as usize],
    /// Buffers for control messages.
    waiting: VecDeque<Chain>,
    /// Control messages that wait for buffers, with what follows their heads.
    unsaid: VecDeque<(Control, Vec<u8>)>,
    /// Control messages that the driver has.
    told: Vec<Control>,
}

/// A port.
#[derive(Default)]
struct Port {
    /// Buffers of the receiveq.
    waiting: VecDeque<Chain>,
    /// What was sent and has not come back.
    sent: VecDeque<Vec<u8>>,
}

impl Terminal {
    pub fn new() -> Self {
        let config = Config {
            cols: 80.into(),
            rows: 25.into(),
            max_nr_ports: PORTS.into(),
            ..Config::default()
        };
        Self {
            config: config.as_bytes().to_vec(),
            ports: Default::default(),
            waiting: VecDeque::new(),
            unsaid: VecDeque::new(),
            told: Vec::new(),
        }
    }

    /// Makes up an answer to a control message.
    fn hear(&mut self, message: &[u8]) {
        let Ok((said, _)) = Control::read_from_prefix(message) else {
            return;
        };
        let (port, value) = (said.id.get(), said.value.get());
        match Event(said.event.get()) {
            Event::DEVICE_READY if value == 1 => {
                for port in 0..PORTS {
                    self.say(port, Event::DEVICE_ADD, 0, &[]);
                }
            }
            Event::PORT_READY if value == 1 && port < PORTS => {
                match port {
                    0 => self.say(port, Event::CONSOLE_PORT, 1, &[]),
                    _ => self.say(
                        port,
                        Event::PORT_NAME,
                        1,
                        &[NAME, port.to_string().as_bytes()].concat(),
                    ),
                }
                self.say(port, Event::PORT_OPEN, 1, &[]);
            }
            _ => {}
        }
    }

    fn say(&mut self, port: u32, event: Event, value: u16, more: &[u8]) {
        let message = Control {
            id: port.into(),
            event: event.0.into(),
            value: value.into(),
        };
        self.unsaid.push_back((message, more.to_vec()));
    }

    /// Tells the driver what it has buffers for.
    fn tell(&mut self, memory: &Memory, queue: u16, done: &mut Vec<Done>) {
        while !self.unsaid.is_empty()
            && let Some(into) = self.waiting.pop_front()
            && let Some((message, more)) = self.unsaid.pop_front()
        {
            done.push(Done {
                queue,
                id: into.id,
                written: fill(memory, &into, 0, &[message.as_bytes(), &more].concat()),
            });
            self.told.push(message);
        }
    }
}

impl Port {
    /// Gives back what was sent, as far as there are buffers; `queue` is the receiveq.
    fn deliver(&mut self, memory: &Memory, queue: u16, short: bool, done: &mut Vec<Done>) {
        while !self.sent.is_empty()
            && let Some(into) = self.waiting.pop_front()
            && let Some(mut bytes) = self.sent.pop_front()
        {
            if short && bytes.len() > 3 {
                self.sent.push_front(bytes.split_off(3));
            }
            done.push(Done {
                queue,
                id: into.id,
                written: fill(memory, &into, 0, &bytes),
            });
        }
    }
}

impl Model for Terminal {
    fn device(&self) -> &'static DeviceType {
        &DEVICE
    }

    fn features(&self) -> Features {
        feature::VERSION_1 | can::SIZE | can::EMERG_WRITE
    }

    fn queues(&self) -> u16 {
        2 * PORTS as u16 + 2
    }

    fn config(&mut self) -> &mut Vec<u8> {
        &mut self.config
    }

    /// The terminal has another size.
    fn change(&mut self) {
        if let Some(byte) = self.config.get_mut(offset_of!(Config, cols)) {
            *byte ^= 1;
        }
    }

    fn serve(&mut self, memory: &Memory, queue: u16, chain: Chain, short: bool) -> Vec<Done> {
        let mut done = Vec::new();
        let given_back = Done {
            queue,
            id: chain.id,
            written: 0,
        };
        match role(queue) {
            Role::ControlReceive => {
                self.waiting.push_back(chain);
                self.tell(memory, queue, &mut done);
            }
            Role::ControlTransmit => {
                self.hear(&readable(memory, &chain, MOST));
                done.push(given_back);
                self.tell(memory, CONTROL_RECEIVEQ, &mut done);
            }
            Role::Receive(number) | Role::Transmit(number) => {
                let port = self.ports.get_mut(number as usize);
                let (Some(port), Some(receiveq)) = (port, receiveq(number)) else {
                    return done;
                };
                if queue == receiveq {
                    port.waiting.push_back(chain);
                } else {
                    port.sent.push_back(readable(memory, &chain, MOST));
                    done.push(given_back);
                }
                port.deliver(memory, receiveq, short, &mut done);
            }
        }
        done
    }

    fn told(&mut self) -> Vec<Control> {
        std::mem::take(&mut self.told)
    }

    fn forget(&mut self, queue: Option<u16>) {
        let is_reset = |role_of: Role| queue.is_none_or(|queue| role(queue) == role_of);
        for (number, port) in (0..).zip(&mut self.ports) {
            if is_reset(Role::Receive(number)) {
                port.waiting.clear();
            }
            if is_reset(Role::Transmit(number)) {
                port.sent.clear();
            }
        }
        if is_reset(Role::ControlReceive) {
            self.waiting.clear();
        }
        if queue.is_none() {
            self.unsaid.clear();
        }
    }
}
