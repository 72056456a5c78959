//! Which pair of virtqueues a frame for the driver goes to (section 5.1.9.5, "Device operation in multiqueue mode").

use ringwright_memory::Slices;
use ringwright_spec::Features;
use ringwright_spec::network::features;

use super::hash::Hash;
use super::packet::{LOOKED_AT, Packet};
use super::spreading::Spreading;

/// Flows that are told apart. Those of one number follow the one that was seen last.
const FLOWS: usize = 1024;

/// A pair that nothing was sent by.
const NONE: u16 = u16::MAX;

/// Where frames for the driver go.
pub(super) struct Steering {
    spreading: Spreading,
    /// Whether the receive virtqueue of each pair runs.
    running: Vec<bool>,
    /// Pairs that are enabled and whose receive virtqueue runs.
    open: Vec<u16>,
    /// Whoever enables pairs starts and stops their virtqueues, and gives no commands.
    is_by_hand: bool,
    /// Whether each packet's hash is reported.
    reports: bool,
    /// Whether packets are hashed, for one reason or the other.
    hashes: bool,
    /// By which pair the driver has sent last, by the flow's number.
    flows: Box<[u16; FLOWS]>,
}

impl Steering {
    /// For a driver that has accepted `features`, with so many pairs.
    pub fn new(features: Features, pairs: u16, spreading: Spreading) -> Self {
        let mut steering = Self {
            spreading,
            running: vec![false; pairs.into()],
            open: Vec::with_capacity(pairs.into()),
            is_by_hand: !features.contains(features::CTRL_VQ),
            reports: features.contains(features::HASH_REPORT),
            hashes: false,
            flows: Box::new([NONE; FLOWS]),
        };
        steering.settle();
        steering
    }

    /// What the driver has said.
    pub fn spreading(&self) -> &Spreading {
        &self.spreading
    }

    /// Changes what the driver has said, of at most as many pairs as `change` is told. `None` if that makes no sense.
    pub fn change(&mut self, change: impl FnOnce(&mut Spreading, u16) -> Option<()>) -> Option<()> {
        change(&mut self.spreading, self.running.len() as u16)?;
        self.settle();
        Some(())
    }

    /// The receive virtqueue of a pair has started, or is about to stop.
    pub fn set_running(&mut self, pair: u16, runs: bool) {
        if let Some(running) = self.running.get_mut(usize::from(pair))
            && *running != runs
        {
            *running = runs;
            self.settle();
        }
    }

    /// Whether no frame has anywhere to go.
    pub fn is_closed(&self) -> bool {
        self.open.is_empty()
    }

    /// The pair that a frame goes to, and the packet's hash. `None` if there is no pair for it.
    pub fn destination(&self, frame: &[u8]) -> (Option<u16>, Hash) {
        let hash = match self.hashes {
            true => self.spreading.hash(frame),
            false => Hash::NONE,
        };
        if self.spreading.is_by_hash {
            // dev:net:rss-processing:02
            let pair = self.spreading.pair_of(hash);
            let runs = self.running.get(usize::from(pair)) == Some(&true);
            return (Some(pair).filter(|_| runs), hash);
        }
        (self.automatic(frame), hash)
    }

    /// The pair by which the driver has sent last in the flow of a frame, if that is open; another one if not
    /// (dev:net:automatic-receive-steering-in-multiqueue-mode:03).
    fn automatic(&self, frame: &[u8]) -> Option<u16> {
        let [first, _, ..] = self.open[..] else {
            return self.open.first().copied();
        };
        let Some(packet) = Packet::of(frame) else {
            return Some(first);
        };
        let flow = packet.flow();
        match self.flows[place(flow)] {
            pair if self.open.contains(&pair) => Some(pair),
            _ => self.open.get(flow as usize % self.open.len()).copied(),
        }
    }

    /// The driver has sent a frame by a pair.
    pub fn sent(&mut self, frame: Slices<'_>, pair: u16) {
        if self.open.len() < 2 || self.spreading.is_by_hash {
            return;
        }
        let mut beginning = [0; LOOKED_AT];
        let beginning = &mut beginning[..LOOKED_AT.min(frame.len())];
        if frame.read(0, beginning).is_ok()
            && let Some(packet) = Packet::of(beginning)
        {
            self.flows[place(packet.flow())] = pair;
        }
    }

    /// None beyond those that are enabled (dev:net:automatic-receive-steering-in-multiqueue-mode:02).
    fn settle(&mut self) {
        let enabled = match self.is_by_hand || self.spreading.is_by_hash {
            true => self.running.len(),
            false => self.spreading.enabled.into(),
        };
        self.hashes = (self.reports || self.spreading.is_by_hash) && !self.spreading.hashes_nothing();
        self.open.clear();
        let pairs = (0u16..).zip(&self.running).take(enabled);
        self.open
            .extend(pairs.filter(|(_, runs)| **runs).map(|(pair, _)| pair));
    }
}

/// Where a flow's pair is kept: by the bits that choose no pair.
fn place(flow: u64) -> usize {
    (flow >> 32) as usize % FLOWS
}
