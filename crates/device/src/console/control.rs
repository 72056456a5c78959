//! Control messages (section 5.3.6.2): what each end has said about the ports, and what the driver is still to be told.
//!
//! Messages to the driver are made when there is a buffer for one, from how things are then. So nothing has to be kept for a
//! driver that talks and does not listen.

use ringwright_memory::Slices;
use ringwright_ring::ByteOrder;
use ringwright_spec::console::Event;

use super::backend::FarEnd;
use super::port::Port;
use crate::codec::{Rest, put_length};

/// The talk with one driver.
pub(super) struct Control {
    byte_order: ByteOrder,
    /// The driver takes messages.
    driver_ready: bool,
    /// By number.
    talks: Vec<Talk>,
    /// There may be something to tell.
    pub due: bool,
    /// The control virtqueues have been stopped since the driver was ready.
    rested: bool,
}

/// What was said about one port. What is `..._due` is to be told once the driver is ready for it.
#[derive(Clone, Debug, Default)]
struct Talk {
    /// The driver knows of the port.
    added: bool,
    /// Of another port that had this number.
    stale: bool,
    /// The driver can use it.
    ready: bool,
    /// The driver has opened it.
    open: bool,
    console_due: bool,
    size_due: bool,
    name_due: bool,
    /// Who is at the far end, as the driver knows.
    told: FarEnd,
}

/// A message to the driver.
struct Message {
    port: u32,
    event: Event,
    value: u16,
    more: Vec<u8>,
}

impl Control {
    /// Nothing is said yet about any of `most` ports.
    pub fn new(most: usize, byte_order: ByteOrder) -> Self {
        Self {
            byte_order,
            driver_ready: false,
            talks: vec![Talk::default(); most],
            due: true,
            rested: false,
        }
    }

    /// A control virtqueue stops. If the driver is ready once more after that, it knows of nothing: some vhost-user front-ends,
    /// such as User Mode Linux, tell of a reset in no other way.
    pub fn rest(&mut self) {
        self.rested = true;
    }

    /// Whether the driver has opened the port, so that it wants its input.
    pub fn is_open(&self, port: u32) -> bool {
        self.talk(port).is_some_and(|talk| talk.open)
    }

    /// The port of this number is not the one that it was.
    pub fn replaced(&mut self, port: u32) {
        if let Some(talk) = self.talk_mut(port) {
            talk.stale = talk.added;
            talk.open = false;
        }
        self.due = true;
    }

    /// This is at the far end of the port.
    pub fn seen(&mut self, port: u32, far_end: FarEnd) {
        self.due |= self
            .talk(port)
            .is_some_and(|talk| talk.ready && talk.told != far_end);
    }

    /// The port has another size.
    pub fn resized(&mut self, port: u32) {
        if let Some(talk) = self.talk_mut(port) {
            talk.size_due = true;
        }
        self.due = true;
    }

    /// Takes a message of the driver; returns the port that it was about. What makes no sense is ignored.
    pub fn hear(&mut self, message: Slices<'_>) -> Option<u32> {
        let mut reader = message.reader();
        let port = self.byte_order.u32(reader.read_array().ok()?);
        let event = Event(self.byte_order.u16(reader.read_array().ok()?));
        let value = self.byte_order.u16(reader.read_array().ok()?);
        self.due = true;
        if event == Event::DEVICE_READY {
            self.driver_ready = value == 1;
            if std::mem::take(&mut self.rested) {
                self.talks.fill(Talk::default());
            }
            return None;
        }
        let talk = self.talk_mut(port).filter(|talk| talk.added && !talk.stale)?;
        match event {
            Event::PORT_READY => {
                talk.ready = value == 1;
                talk.told = FarEnd::Nobody;
                (talk.console_due, talk.size_due, talk.name_due) = (true, true, true);
                if !talk.ready {
                    tracing::warn!(port, "the driver could not set up the port");
                }
            }
            Event::PORT_OPEN => talk.open = value != 0,
            _ => return None,
        }
        Some(port)
    }

    /// Writes the next message for the driver into `buffer`, and returns how many bytes it has; `None` if there is none. One
    /// that is longer than its buffer is lost.
    pub fn tell(&mut self, ports: &mut [Option<Port>], buffer: Slices<'_>) -> Option<u32> {
        let message = self.next(ports);
        self.due = message.is_some();
        let message = message?;
        let order = self.byte_order;
        let head = [
            &order.bytes32(message.port)[..],
            &order.bytes16(message.event.0),
            &order.bytes16(message.value),
            &message.more,
        ];
        let bytes = head.concat();
        if buffer.len() < bytes.len() {
            tracing::warn!(
                needed = bytes.len(),
                found = buffer.len(),
                "a control message does not fit into its buffer"
            );
            return Some(0);
        }
        buffer.writer().write(&bytes);
        Some(bytes.len() as u32)
    }

    fn next(&mut self, ports: &mut [Option<Port>]) -> Option<Message> {
        if !self.driver_ready {
            return None;
        }
        let order = self.byte_order;
        (0..)
            .zip(self.talks.iter_mut().zip(ports))
            .find_map(|(number, (talk, port))| {
                let (event, value, more) = talk.next(port.as_mut(), order)?;
                Some(Message {
                    port: number,
                    event,
                    value,
                    more,
                })
            })
    }

    fn talk(&self, port: u32) -> Option<&Talk> {
        self.talks.get(usize::try_from(port).ok()?)
    }

    fn talk_mut(&mut self, port: u32) -> Option<&mut Talk> {
        self.talks.get_mut(usize::try_from(port).ok()?)
    }

    /// Appends all that was said.
    pub fn save(&self, bytes: &mut Vec<u8>) {
        bytes.push(self.driver_ready.into());
        put_length(bytes, self.talks.len());
        for talk in &self.talks {
            let flags = [
                talk.added,
                talk.stale,
                talk.ready,
                talk.open,
                talk.console_due,
                talk.size_due,
                talk.name_due,
                talk.told != FarEnd::Nobody,
                talk.told == FarEnd::Always,
            ];
            bytes.extend(flags.map(u8::from));
        }
    }

    /// Takes up what [`Control::save`] has appended; `None` if that is not so, or about more ports.
    pub fn restore(&mut self, rest: &mut Rest<'_>) -> Option<()> {
        self.driver_ready = rest.flag()?;
        if rest.length()? != self.talks.len() {
            return None;
        }
        for talk in &mut self.talks {
            *talk = Talk {
                added: rest.flag()?,
                stale: rest.flag()?,
                ready: rest.flag()?,
                open: rest.flag()?,
                console_due: rest.flag()?,
                size_due: rest.flag()?,
                name_due: rest.flag()?,
                told: match (rest.flag()?, rest.flag()?) {
                    (false, false) => FarEnd::Nobody,
                    // Who was there is not there any more.
                    (true, false) => FarEnd::Client(u64::MAX),
                    (true, true) => FarEnd::Always,
                    (false, true) => return None,
                },
            };
        }
        self.due = true;
        Some(())
    }
}

impl Talk {
    /// What the driver is to be told next of `port`, which has this talk's number.
    fn next(&mut self, port: Option<&mut Port>, order: ByteOrder) -> Option<(Event, u16, Vec<u8>)> {
        let say = |event, value| Some((event, value, Vec::new()));
        // dev:console:multiport-device-operation:02: only what was added is removed.
        if self.added && (self.stale || port.is_none()) {
            *self = Self::default();
            return say(Event::DEVICE_REMOVE, 0);
        }
        let port = port?;
        // dev:console:multiport-device-operation:01: only what was not added, or removed since; there are no talks of numbers
        // from max_nr_ports on.
        if !self.added {
            self.added = true;
            return say(Event::DEVICE_ADD, 0);
        }
        if !self.ready {
            return None;
        }
        if std::mem::take(&mut self.console_due) && port.console {
            return say(Event::CONSOLE_PORT, 1);
        }
        if std::mem::take(&mut self.size_due)
            && let Some(size) = port.size
        {
            let [columns, rows] = [size.columns, size.rows].map(|length| order.bytes16(length));
            return Some((Event::RESIZE, 0, [columns, rows].concat()));
        }
        if std::mem::take(&mut self.name_due)
            && let Some(name) = &port.name
        {
            return Some((Event::PORT_NAME, 1, name.clone().into_bytes()));
        }
        let now = port.backend.far_end();
        if now == self.told {
            return None;
        }
        // Whoever comes after another has left is another one.
        let leaves = self.told != FarEnd::Nobody;
        self.told = if leaves { FarEnd::Nobody } else { now };
        say(Event::PORT_OPEN, u16::from(!leaves))
    }
}
