//! Several pairs of virtqueues, and by which of them frames come (section 5.1.9.5, "Automatic receive steering in multiqueue
//! mode").

use std::mem::offset_of;

use ringwright_memory::{Buffer, Width};
use ringwright_spec::Features;
use ringwright_spec::feature::RING_RESET;
use ringwright_spec::network::control::{Class, Mq};
use ringwright_spec::network::features::{CTRL_VQ, MQ};
use ringwright_spec::network::{Config, Hdr, controlq, receiveq};
use ringwright_spec::split::{AVAIL_RING, USED_RING};
use ringwright_spec::status::Status;

use super::commands::{self, change, mishearing, misspeaking, prepare};
use super::{ETHERNET, number};
use crate::check::{Check, Ended, Outcome};
use crate::live::{Live, element};
use crate::mutant::{Lens, Life, Mutant};
use crate::probe::{Probe, holds};
use crate::raw::SplitDesc;
use crate::subject::PAIRS;

/// Most pairs that are set up.
const MOST: u16 = 4;

/// Buffers that each receive virtqueue has.
const BUFFERS: usize = 4;

/// Bytes of each.
const LENGTH: usize = 2048;

/// Flows that are looked at, and one for which there is nowhere to go.
const FLOWS: std::ops::Range<u8> = 0..12;
pub(super) const LOST: u8 = 77;

const VQ_PAIRS_SET: (Class, u8) = (Class::MQ, Mq::VQ_PAIRS_SET.0);

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "network.first-pair",
        clauses: &["dev:net:automatic-receive-steering-in-multiqueue-mode:01"],
        does: "Enables all pairs of virtqueues, resets the device, and sends frames of many flows.",
        violation: "One of them comes by another virtqueue than receiveq1.",
        needs: commands::needs(MQ),
        run: first_pair,
        mutants: &[Mutant {
            name: "the pairs of before are in use after a reset",
            breaks: "dev:net:automatic-receive-steering-in-multiqueue-mode:01",
            lens: Lens {
                accepted: Some(|life, accepted| {
                    life.note += 1;
                    accepted
                }),
                notified: Some(|life, queue| {
                    if life.note == 2 && receiveq(1) == Some(queue) {
                        feign_received(life, queue, &datagram(0));
                        life.note += 1;
                    }
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "network.pairs-enabled",
        clauses: &["dev:net:automatic-receive-steering-in-multiqueue-mode:02"],
        does: "Enables all pairs of virtqueues and then one less, and sends frames of many flows.",
        violation: "One of them comes by the pair that is not enabled any more.",
        needs: commands::needs(MQ),
        run: pairs_enabled,
        mutants: &[mishearing(
            "all pairs are always used",
            "dev:net:automatic-receive-steering-in-multiqueue-mode:02",
            |life, queue| change(life, queue, VQ_PAIRS_SET, &PAIRS.to_le_bytes()),
        )],
    },
    Check {
        name: "network.pairs-reset",
        clauses: &["dev:net:automatic-receive-steering-in-multiqueue-mode:04"],
        does: "Resets all receive virtqueues, sends a frame, sets receiveq1 up anew, and sends another one.",
        violation: "The first one comes.",
        needs: commands::needs(MQ.union(RING_RESET)),
        run: pairs_reset,
        mutants: &[misspeaking(
            "a frame waits for virtqueues that are reset",
            "dev:net:automatic-receive-steering-in-multiqueue-mode:04",
            |life, queue| {
                // The first notification of receiveq1 is that of its first setting up.
                if queue == 0 && life.features.contains(MQ | RING_RESET) {
                    life.note += 1;
                    if life.note == 2 {
                        feign_received(life, queue, &datagram(LOST));
                    }
                }
            },
        )],
    },
];

fn first_pair(probe: &mut Probe) -> Outcome {
    let mut pairs = Pairs::go_live(probe, MQ)?;
    pairs.enable(probe, pairs.number)?;
    drop(pairs);
    let mut pairs = Pairs::go_live(probe, MQ)?;
    for flow in FLOWS {
        let came = pairs.pairs_of(probe, &datagram(flow))?;
        holds(
            came.iter().all(|pair| *pair == 0),
            "dev:net:automatic-receive-steering-in-multiqueue-mode:01",
            || format!("frames come by the receive virtqueues of pairs {came:?}, counted from 0"),
        )?;
    }
    Ok(())
}

fn pairs_enabled(probe: &mut Probe) -> Outcome {
    let mut pairs = Pairs::go_live(probe, MQ)?;
    let last = pairs.number - 1;
    pairs.enable(probe, pairs.number)?;
    for flow in FLOWS {
        pairs.pairs_of(probe, &datagram(flow))?;
    }
    pairs.enable(probe, last)?;
    for flow in FLOWS {
        let came = pairs.pairs_of(probe, &datagram(flow))?;
        holds(
            came.iter().all(|pair| *pair < last),
            "dev:net:automatic-receive-steering-in-multiqueue-mode:02",
            || format!("{last} pairs are enabled, and frames come by pairs {came:?}, counted from 0"),
        )?;
    }
    Ok(())
}

fn pairs_reset(probe: &mut Probe) -> Outcome {
    let mut pairs = Pairs::go_live(probe, MQ | RING_RESET)?;
    pairs.enable(probe, pairs.number)?;
    for pair in 0..pairs.number {
        pairs.reset(probe, pair)?;
    }
    pairs.is_lost(
        probe,
        0,
        "dev:net:automatic-receive-steering-in-multiqueue-mode:04",
    )
}

/// A live device with a control virtqueue behind several pairs, all of whose receive virtqueues have buffers.
pub(super) struct Pairs {
    /// The control virtqueue is the last one.
    pub live: Live,
    /// How many pairs there are.
    pub number: u16,
    /// By pair: the id and the memory of each buffer.
    buffers: Vec<Vec<(u16, Buffer)>>,
}

impl Pairs {
    /// Brings the device up with these features, of which one lets there be several pairs.
    pub fn go_live(probe: &mut Probe, features: Features) -> Outcome<Self> {
        let all = number(probe, offset_of!(Config, max_virtqueue_pairs), Width::Two)? as u16;
        let few = || Ended::NotApplicable("it has one pair of virtqueues".into());
        let controlq = controlq(all).filter(|_| all > 1).ok_or_else(few)?;
        let mut live = probe.set_up(features | CTRL_VQ)?;
        let number = all.min(MOST);
        let there = live.queues.len() as u16;
        for index in (there..2 * number).chain([controlq]) {
            let queue = probe.queue(index, live.features)?;
            probe.enable(&queue)?;
            live.queues.push(queue);
        }
        probe.add_status(Status::DRIVER_OK)?;
        let mut pairs = Self {
            live,
            number,
            buffers: (0..number).map(|_| Vec::new()).collect(),
        };
        for pair in 0..number {
            pairs.listen(probe, pair)?;
        }
        Ok(pairs)
    }

    /// Tells the device to use so many pairs.
    pub fn enable(&mut self, probe: &mut Probe, number: u16) -> Outcome {
        prepare(probe, &mut self.live, VQ_PAIRS_SET, &number.to_le_bytes())
    }

    /// The pairs by which frames come until this one has come, which is sent.
    pub fn pairs_of(&mut self, probe: &mut Probe, frame: &[u8]) -> Outcome<Vec<u16>> {
        probe.send_frame(frame)?;
        let mut came = Vec::new();
        // Something else may be on the cable as well.
        for _ in 0..8 {
            let (pair, arrived) = self.heard(probe)?;
            came.push(pair);
            if arrived.starts_with(frame) {
                return Ok(came);
            }
        }
        Err(Ended::Inconclusive("a frame does not come".into()))
    }

    /// Resets the receive virtqueue of a pair.
    pub fn reset(&mut self, probe: &mut Probe, pair: u16) -> Outcome {
        let index = 2 * pair;
        probe.note(format_args!("virtqueue {index} <- reset"));
        probe.transport().reset_queue(index)?;
        match probe.wait(|probe| Ok(probe.transport().queue_is_reset(index)?))? {
            true => Ok(()),
            false => Err(Ended::Inconclusive(
                "the reset of a virtqueue does not end".into(),
            )),
        }
    }

    /// While a frame has nowhere to go but to virtqueues that are reset, it is sent; then that of `pair` is set up anew, and
    /// another one is sent, which is the one that has to come.
    pub fn is_lost(&mut self, probe: &mut Probe, pair: u16, clause: &'static str) -> Outcome {
        probe.send_frame(&datagram(LOST))?;
        // It has been dropped when this has been answered, or is kept somewhere.
        self.enable_anew(probe, pair)?;
        let next = FLOWS.end;
        probe.send_frame(&datagram(next))?;
        for _ in 0..8 {
            let (came, arrived) = self.heard(probe)?;
            holds(!arrived.starts_with(&datagram(LOST)), clause, || {
                format!("it comes by pair {came}, counted from 0")
            })?;
            if arrived.starts_with(&datagram(next)) {
                return Ok(());
            }
        }
        Err(Ended::Inconclusive("a frame does not come".into()))
    }

    /// Sets the receive virtqueue of a pair up anew, with buffers, after some time in which the device has nowhere to put frames.
    fn enable_anew(&mut self, probe: &mut Probe, pair: u16) -> Outcome {
        let others = || (0..self.number).filter(|other| *other != pair);
        let has_used = |other: u16| self.live.queues[usize::from(2 * other)].has_used();
        probe.never(|_| Ok(others().any(has_used)))?;
        let queue = probe.queue(2 * pair, self.live.features)?;
        probe.enable(&queue)?;
        self.live.queues[usize::from(2 * pair)] = queue;
        self.buffers[usize::from(pair)].clear();
        self.listen(probe, pair)
    }

    /// The next frame that comes by any pair, and which.
    fn heard(&mut self, probe: &mut Probe) -> Outcome<(u16, Vec<u8>)> {
        let queues = &mut self.live.queues;
        let receiveq = |pair: u16| usize::from(2 * pair);
        let mut came = None;
        probe.wait(|_| {
            came = (0..self.number).find(|pair| queues[receiveq(*pair)].has_used());
            Ok(came.is_some())
        })?;
        let nothing = || Ended::Inconclusive("a frame does not come".into());
        let pair = came.ok_or_else(nothing)?;
        let used = queues[receiveq(pair)].take_used().ok_or_else(nothing)?;
        probe.note(format_args!("virtqueue {} -> {used:?}", receiveq(pair)));
        let buffers = &mut self.buffers[usize::from(pair)];
        let mut frame = Vec::new();
        if let Some(at) = buffers.iter().position(|(id, _)| u32::from(*id) == used.id) {
            let (_, buffer) = buffers.swap_remove(at);
            let header = Hdr::size(self.live.features);
            frame = vec![0; (used.length as usize).clamp(header, LENGTH) - header];
            // It is within the buffer.
            let _ = buffer.read(header, &mut frame);
        }
        self.listen(probe, pair)?;
        Ok((pair, frame))
    }

    /// Gives the receive virtqueue of a pair as many buffers as it has room for.
    fn listen(&mut self, probe: &mut Probe, pair: u16) -> Outcome {
        let (queue, buffers) = (
            &mut self.live.queues[usize::from(2 * pair)],
            &mut self.buffers[usize::from(pair)],
        );
        while buffers.len() < BUFFERS {
            let buffer = probe.buffer(LENGTH, 0xee)?;
            buffers.push((queue.add(&[element(&buffer, true)]), buffer));
        }
        probe.notify(queue)
    }
}

/// A UDP datagram of a flow, in a frame to everyone.
pub(super) fn datagram(flow: u8) -> Vec<u8> {
    let mut frame = super::frame(ETHERNET);
    frame[ETHERNET - 2..].copy_from_slice(&[8, 0]);
    frame.extend([0x45, 0, 0, 60, 0, 0, 0x40, 0, 64, 17, 0, 0]);
    frame.extend([10, 0, 0, 2, 10, 0, 0, 1, 0x12, flow, 0, 53, 0, 40, 0, 0]);
    frame.extend([flow; 32]);
    frame
}

/// A device puts a frame into the next buffer of a split virtqueue.
pub(super) fn feign_received(life: &Life, queue: u16, frame: &[u8]) {
    let Some(layout) = life.layouts.get(&queue).filter(|_| !life.is_packed()) else {
        return;
    };
    let used = life.read16(layout.device_area + 2);
    let slot = u64::from(used % layout.size);
    let head = life.read16(layout.driver_area + AVAIL_RING + 2 * slot);
    let descriptor = SplitDesc::from_bytes(life.read(layout.descriptor_area + 16 * u64::from(head)));
    let mut bytes = vec![0; Hdr::size(life.features)];
    bytes.extend(frame);
    life.write(descriptor.address, &bytes);
    let entry = [u32::from(head), bytes.len() as u32]
        .map(u32::to_le_bytes)
        .concat();
    life.write(layout.device_area + USED_RING + 8 * slot, &entry);
    life.write(layout.device_area + 2, &used.wrapping_add(1).to_le_bytes());
}
