//! Which used buffer notifications come together (section 5.1.9.5, "Notifications Coalescing").

use std::time::Duration;

use ringwright_memory::Reader;
use ringwright_spec::Features;
use ringwright_spec::network::control::{CtrlCoal, NotfCoal};
use ringwright_spec::network::features;
use zerocopy::{FromBytes, IntoBytes};

use crate::Coalescing;
use crate::codec::{Rest, put_length};

/// Most virtqueues that parameters are saved of: one for each index there can be.
const MOST: usize = 1 << 16;

/// What the driver has said of notifications. At first, and after a reset, all is 0 (dev:net:notifications-coalescing:09).
#[derive(Clone, Debug, Default)]
pub(super) struct Parameters {
    /// Of all receive virtqueues and of all transmit virtqueues, as their commands have said last.
    kinds: [CtrlCoal; 2],
    /// Of each receive and transmit virtqueue by index, as far as they have been started.
    queues: Vec<Virtqueue>,
}

#[derive(Clone, Copy, Debug)]
struct Virtqueue {
    parameters: CtrlCoal,
    stage: Stage,
}

/// Whether a virtqueue is enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Not yet in this session.
    New,
    Enabled,
    /// Not any more.
    Disabled,
}

impl Parameters {
    /// A receive or transmit virtqueue has been enabled: how its driver is notified.
    pub fn enable(&mut self, index: u16) -> Coalescing {
        let place = usize::from(index);
        for other in self.queues.len()..=place {
            self.queues.push(Virtqueue {
                parameters: self.kinds[other % 2],
                stage: Stage::New,
            });
        }
        let queue = &mut self.queues[place];
        if queue.stage == Stage::Disabled {
            // dev:net:notifications-coalescing:05, dev:net:notifications-coalescing:06
            queue.parameters = self.kinds[place % 2];
        }
        queue.stage = Stage::Enabled;
        coalescing(queue.parameters)
    }

    /// It has been disabled.
    pub fn disable(&mut self, index: u16) {
        if let Some(queue) = self.queues.get_mut(usize::from(index)) {
            queue.stage = Stage::Disabled;
        }
    }

    /// The virtqueues that are enabled, and how their driver is notified.
    pub fn enabled(&self) -> impl Iterator<Item = (u16, Coalescing)> {
        let enabled = |queue: &Virtqueue| queue.stage == Stage::Enabled;
        (0..)
            .zip(&self.queues)
            .filter(move |(_, queue)| enabled(queue))
            .map(|(index, queue)| (index, coalescing(queue.parameters)))
    }

    /// Carries out a command, and returns its result. `None` if it fails (dev:net:notifications-coalescing:02,
    /// dev:net:notifications-coalescing:03).
    pub fn execute(
        &mut self,
        command: NotfCoal,
        mut data: Reader<'_>,
        negotiated: Features,
    ) -> Option<Vec<u8>> {
        let needed = match command {
            NotfCoal::TX_SET | NotfCoal::RX_SET => features::NOTF_COAL,
            _ => features::VQ_NOTF_COAL,
        };
        if !negotiated.contains(needed) {
            return None;
        }
        match command {
            NotfCoal::RX_SET => self.set_kind(0, parameters(&mut data)?),
            NotfCoal::TX_SET => self.set_kind(1, parameters(&mut data)?),
            NotfCoal::VQ_SET => {
                let queue = self.named(&mut data)?;
                *queue = parameters(&mut data)?;
            }
            NotfCoal::VQ_GET => return Some(self.named(&mut data)?.as_bytes().to_vec()),
            _ => return None,
        }
        Some(Vec::new())
    }

    /// The last command counts, whichever it is.
    fn set_kind(&mut self, kind: usize, parameters: CtrlCoal) {
        self.kinds[kind] = parameters;
        for queue in self.queues.iter_mut().skip(kind).step_by(2) {
            queue.parameters = parameters;
        }
    }

    /// The parameters of the virtqueue that a command names. `None` if it is not an enabled receive or transmit virtqueue
    /// (dev:net:notifications-coalescing:04).
    fn named(&mut self, data: &mut Reader<'_>) -> Option<&mut CtrlCoal> {
        // The rest is reserved (dev:net:notifications-coalescing:01).
        let [low, high, _, _] = data.read_array().ok()?;
        let queue = self
            .queues
            .get_mut(usize::from(u16::from_le_bytes([low, high])))?;
        (queue.stage == Stage::Enabled).then_some(&mut queue.parameters)
    }

    /// For [`restore`](Self::restore).
    pub fn save(&self, bytes: &mut Vec<u8>) {
        let queues = self.queues.iter().map(|queue| queue.parameters);
        put_length(bytes, self.queues.len());
        for parameters in self.kinds.into_iter().chain(queues) {
            bytes.extend(parameters.as_bytes());
        }
    }

    /// What [`save`](Self::save) has written. `None` if these bytes are none of its. No virtqueue has been enabled then.
    pub fn restore(bytes: &mut Rest<'_>) -> Option<Self> {
        let queues = bytes.length().filter(|queues| *queues <= MOST)?;
        let mut next = || CtrlCoal::read_from_bytes(&bytes.array::<{ size_of::<CtrlCoal>() }>()?).ok();
        Some(Self {
            kinds: [next()?, next()?],
            queues: (0..queues)
                .map(|_| {
                    Some(Virtqueue {
                        parameters: next()?,
                        stage: Stage::New,
                    })
                })
                .collect::<Option<_>>()?,
        })
    }
}

fn parameters(data: &mut Reader<'_>) -> Option<CtrlCoal> {
    let bytes = data.read_array::<{ size_of::<CtrlCoal>() }>().ok()?;
    CtrlCoal::read_from_bytes(&bytes).ok()
}

fn coalescing(parameters: CtrlCoal) -> Coalescing {
    Coalescing {
        packets: parameters.max_packets.get(),
        time: Duration::from_micros(parameters.max_usecs.get().into()),
    }
}
