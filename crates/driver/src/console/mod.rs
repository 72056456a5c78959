//! Console driver (section 5.3): bytes in and out of one port or several, none ever waited for.
//!
//! A console has one port, unless its user wants [more](Console::with_ports). What the device says of those is taken by
//! [`Console::event`].

mod control;
mod line;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem::offset_of;

use ringwright_memory::{Area, Width};
use ringwright_ring::ByteOrder;
use ringwright_spec::Features;
use ringwright_spec::console::{self, Config, DEVICE, features};

use crate::field::Field;
use crate::init::Setup;
use crate::session::Session;
use crate::{DriverError, Options, Transport};
use control::{Control, Said};
use line::Line;

/// Features of the device type that this driver understands.
const UNDERSTOOD: Features = Features(features::SIZE.0 | features::EMERG_WRITE.0);

/// A console.
pub struct Console<T: Transport> {
    session: Session<T>,
    /// By number; at least port 0.
    places: Vec<Place>,
    /// With MULTIPORT.
    control: Option<Control>,
    /// Most ports of the device, as it says.
    most: u32,
}

/// A port that there may be, and what the device has said about it.
struct Place {
    line: Line,
    facts: Option<Facts>,
    /// Whether the device has buffers for its input.
    posted: bool,
}

/// What the device has said about a port.
#[derive(Default)]
struct Facts {
    name: Option<String>,
    console: bool,
    open: bool,
    size: Option<Size>,
}

/// Size of a console, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Width.
    pub columns: u16,
    /// Height.
    pub rows: u16,
}

/// What has become of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is there. Until it is [opened](Console::open), the device may keep its input back.
    Added(u32),
    /// It is not there any more.
    Removed(u32),
    /// It is for text, and open.
    Console(u32),
    /// It has a [name](Port::name).
    Named(u32),
    /// It has a [size](Port::size).
    Resized(u32),
    /// Somebody has come to its far end.
    Opened(u32),
    /// Nobody is there any more.
    Closed(u32),
}

/// A port that is there.
pub struct Port<'a, T: Transport> {
    session: &'a mut Session<T>,
    line: &'a mut Line,
    facts: &'a Facts,
}

impl<T: Transport> Console<T> {
    /// Takes the device behind `transport`, for port 0 alone; its virtqueues and buffers lie in `area`.
    pub fn new(transport: T, area: &Arc<Area>, options: Options) -> Result<Self, DriverError> {
        Self::start(transport, area, options, UNDERSTOOD, 1)
    }

    /// The same, for the ports with numbers below `most`, each of which has its virtqueues and buffers from the beginning. A
    /// device that does not know of several ports has port 0.
    pub fn with_ports(
        transport: T,
        area: &Arc<Area>,
        options: Options,
        most: u32,
    ) -> Result<Self, DriverError> {
        Self::start(transport, area, options, UNDERSTOOD | features::MULTIPORT, most)
    }

    fn start(
        transport: T,
        area: &Arc<Area>,
        options: Options,
        understood: Features,
        ports: u32,
    ) -> Result<Self, DriverError> {
        let mut setup = Setup::begin(transport, area, &DEVICE, understood, options)?;
        let multiport = setup.features().contains(features::MULTIPORT);
        let most = match multiport {
            true => setup.session().config(offset_of!(Config, max_nr_ports))?,
            false => 1,
        };
        let place = |port| {
            Ok(Place {
                line: Line::new(&mut setup, port)?,
                facts: None,
                posted: false,
            })
        };
        let mut places = (0..most.min(ports).max(1))
            .map(place)
            .collect::<Result<Vec<_>, DriverError>>()?;
        let control = multiport.then(|| Control::new(&mut setup)).transpose()?;
        if let (None, Some(only)) = (&control, places.first_mut()) {
            only.add();
        }
        let mut session = setup.finish()?;
        for place in &mut places {
            place.line.publish(&mut session)?;
        }
        let mut console = Self {
            session,
            places,
            control,
            most,
        };
        console.publish()?;
        Ok(console)
    }

    /// The session with the device.
    pub fn session(&mut self) -> &mut Session<T> {
        &mut self.session
    }

    /// Size of port 0 in the configuration space, if the device says. It can change: look again when the device notifies of a
    /// change of its configuration.
    pub fn size(&mut self) -> Result<Option<Size>, DriverError> {
        if !self.session.has(features::SIZE) {
            return Ok(None);
        }
        // Both at once, so that they belong together.
        let [columns, rows] = self.session.config(offset_of!(Config, cols))?;
        Ok(Some(Size { columns, rows }))
    }

    /// The port of this number, if it is there.
    pub fn port(&mut self, number: u32) -> Option<Port<'_, T>> {
        let place = self.places.get_mut(usize::try_from(number).ok()?)?;
        Some(Port {
            session: &mut self.session,
            line: &mut place.line,
            facts: place.facts.as_ref()?,
        })
    }

    /// What the device has said next about its ports. What it is to be answered is answered here, so this is called as long as
    /// there is something, also by those who do not care.
    pub fn event(&mut self) -> Result<Option<Event>, DriverError> {
        // A device that talks without end has others waiting; one that does not listen is not listened to.
        for _ in 0..control::MESSAGES {
            let Some(control) = self.control.as_mut().filter(|control| control.has_room()) else {
                break;
            };
            let Some((said, more)) = control.hear()? else {
                break;
            };
            let event = self.understand(said, more)?;
            if event.is_some() {
                self.publish()?;
                return Ok(event);
            }
        }
        self.publish()?;
        Ok(None)
    }

    /// Tells the device that somebody here has opened a port, or closed it. `false`: it does not listen now, so try again
    /// later. Nothing is told where there is no such port.
    pub fn open(&mut self, number: u32, open: bool) -> Result<bool, DriverError> {
        let is_there = self.port(number).is_some();
        let Some(control) = self.control.as_mut().filter(|_| is_there) else {
            return Ok(true);
        };
        let has_room = control.has_room();
        if has_room {
            control.say(Said {
                port: number,
                event: console::Event::PORT_OPEN,
                value: open.into(),
            });
        }
        self.publish()?;
        Ok(has_room)
    }

    /// Moves input of port 0 into the start of `into`; returns how many bytes, 0 if there are none yet.
    pub fn read(&mut self, into: &mut [u8]) -> Result<usize, DriverError> {
        self.places[0].line.read(&mut self.session, into)
    }

    /// Sends the start of `bytes` out of port 0; returns how many, fewer than given while the device does not keep up.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, DriverError> {
        self.places[0].line.write(&mut self.session, bytes)
    }

    /// Whether the device has taken all output of port 0. Whoever waits for that asks once more between
    /// [`enable_notifications`](Self::enable_notifications) and waiting, because `read` and `write` notice it, too, and no
    /// notification comes then.
    pub fn flushed(&mut self) -> Result<bool, DriverError> {
        self.places[0].line.flushed()
    }

    /// Asks for a notification when input arrives at any port, output has been taken, or the device has said something, before
    /// waiting for one. `true`: that has happened already, so read, write and take events instead of waiting.
    pub fn enable_notifications(&mut self) -> bool {
        let mut happened = self.control.as_mut().is_some_and(Control::enable_notifications);
        for place in &mut self.places {
            if place.posted {
                happened |= place.line.enable_notifications();
            }
        }
        happened
    }

    fn publish(&mut self) -> Result<(), DriverError> {
        match &mut self.control {
            Some(control) => control.publish(&mut self.session),
            None => Ok(()),
        }
    }

    /// Takes note of what the device has said, and answers it.
    fn understand(&mut self, said: Said, more: Vec<u8>) -> Result<Option<Event>, DriverError> {
        use console::Event as Kind;
        let Said { port, event, .. } = said;
        if port >= self.most {
            // dev:console:multiport-device-operation:01, dev:console:multiport-device-operation:02
            return Err(broken("a control message is about a port from max_nr_ports on"));
        }
        let order = self.session.byte_order();
        let Some(place) = self.places.get_mut(port as usize) else {
            // One that has no virtqueues here.
            if event == Kind::DEVICE_ADD {
                self.answer(port, Kind::PORT_READY, 0);
            }
            return Ok(None);
        };
        let heard = match (event, &mut place.facts) {
            (Kind::DEVICE_ADD, Some(_)) => return Err(broken("it adds a port that there is")),
            (Kind::DEVICE_ADD, None) => {
                place.add();
                place.line.publish(&mut self.session)?;
                self.answer(port, Kind::PORT_READY, 1);
                Some(Event::Added(port))
            }
            (_, None) => return Err(broken("a control message is about a port that there is not")),
            (Kind::DEVICE_REMOVE, Some(_)) => {
                place.facts = None;
                place.line.discard();
                Some(Event::Removed(port))
            }
            (_, Some(facts)) => facts.note(said, more, order),
        };
        if let Some(Event::Console(_)) = heard {
            // drv:console:multiport-device-operation:02
            self.answer(port, Kind::PORT_OPEN, 1);
        }
        Ok(heard)
    }

    fn answer(&mut self, port: u32, event: console::Event, value: u16) {
        if let Some(control) = &mut self.control {
            control.say(Said { port, event, value });
        }
    }
}

impl Place {
    /// There is a port now, with buffers for its input.
    fn add(&mut self) {
        self.facts = Some(Facts::default());
        self.line.post();
        self.posted = true;
    }
}

impl Facts {
    /// Takes note of a message about a port that there is. What is unknown is nothing new.
    fn note(&mut self, said: Said, more: Vec<u8>, order: ByteOrder) -> Option<Event> {
        use console::Event as Kind;
        let port = said.port;
        match said.event {
            Kind::CONSOLE_PORT => {
                self.console = true;
                Some(Event::Console(port))
            }
            Kind::RESIZE => {
                let [a, b, c, d] = more.try_into().ok()?;
                self.size = Some(Size {
                    columns: order.u16([a, b]),
                    rows: order.u16([c, d]),
                });
                Some(Event::Resized(port))
            }
            Kind::PORT_OPEN => {
                self.open = said.value != 0;
                Some(match self.open {
                    true => Event::Opened(port),
                    false => Event::Closed(port),
                })
            }
            Kind::PORT_NAME => {
                let name = String::from_utf8(more).ok()?;
                // QEMU ends names with a NUL, though the document has none.
                self.name = Some(name.trim_end_matches('\0').into());
                Some(Event::Named(port))
            }
            _ => None,
        }
    }
}

impl<T: Transport> Port<'_, T> {
    /// Its name, if the device has given it one.
    pub fn name(&self) -> Option<&str> {
        self.facts.name.as_deref()
    }

    /// Whether it is for text.
    pub fn is_console(&self) -> bool {
        self.facts.console
    }

    /// Whether somebody is at its far end.
    pub fn is_open(&self) -> bool {
        self.facts.open
    }

    /// Its size, if the device has told it by a control message; see also [`Console::size`].
    pub fn size(&self) -> Option<Size> {
        self.facts.size
    }

    /// As [`Console::read`].
    pub fn read(&mut self, into: &mut [u8]) -> Result<usize, DriverError> {
        self.line.read(self.session, into)
    }

    /// As [`Console::write`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, DriverError> {
        self.line.write(self.session, bytes)
    }

    /// As [`Console::flushed`].
    pub fn flushed(&mut self) -> Result<bool, DriverError> {
        self.line.flushed()
    }
}

fn broken(what: &'static str) -> DriverError {
    DriverError::Device {
        device: "console",
        what,
    }
}

/// Writes one character through the configuration space, which works before and without any initialization
/// (section 5.3.5); `false` if the device does not offer it.
pub fn emergency_write(transport: &mut impl Transport, character: u8) -> Result<bool, DriverError> {
    let offered = transport.device_features()?.contains(features::EMERG_WRITE);
    if offered {
        let order = transport
            .legacy()
            .map_or(ByteOrder::Little, |legacy| legacy.byte_order);
        let value = u32::from(character).in_order(order).to_ne_bytes();
        transport.write_config(offset_of!(Config, emerg_wr), Width::Four, &value)?;
    }
    Ok(offered)
}

#[cfg(test)]
mod control_tests;
#[cfg(test)]
mod tests;
