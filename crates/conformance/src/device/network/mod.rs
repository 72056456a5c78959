//! Network devices (section 5.1).

mod coalescing;
mod commands;
mod config;
mod filters;
mod frames;
mod offloads;
mod pairs;
mod scaling;
mod statistics;
mod tunnels;

use std::mem::offset_of;

use ringwright_memory::{Buffer, Width};
use ringwright_spec::Features;
use ringwright_spec::network::config::MIN_MTU;
use ringwright_spec::network::features::MTU;
use ringwright_spec::network::{Config, DEVICE, Hdr};
use ringwright_spec::split::AVAIL_RING;
use zerocopy::{FromBytes, IntoBytes};

use crate::check::{Check, Ended, Needs, Outcome};
use crate::live::{Live, element};
use crate::mutant::Life;
use crate::probe::{Probe, holds};
use crate::raw::{SplitDesc, Used};
use crate::subject::Bus;

/// All of them, by subject.
pub(super) const CHECKS: [&[Check]; 9] = [
    config::CHECKS,
    frames::CHECKS,
    offloads::CHECKS,
    tunnels::CHECKS,
    filters::CHECKS,
    coalescing::CHECKS,
    statistics::CHECKS,
    pairs::CHECKS,
    scaling::CHECKS,
];

const MAC_AT: usize = offset_of!(Config, mac);

const STATUS_AT: usize = offset_of!(Config, status);

const MTU_AT: usize = offset_of!(Config, mtu);

/// Bytes of the header with what is negotiated here.
const HEADER: usize = Hdr::size(ringwright_spec::feature::VERSION_1);

/// The virtqueue for frames of the driver.
const TRANSMITQ1: u16 = 1;

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

const ANY: Needs = Needs::device(DEVICE.id, Features::NONE);

/// A field of the configuration space, which is the front-end's where vhost-user does not share it.
fn number(probe: &mut Probe, offset: usize, width: Width) -> Outcome<u32> {
    let mut bytes = [0; 4];
    match probe
        .transport()
        .read_config(offset, width, &mut bytes[..width.bytes()])
    {
        Err(error) if probe.bus() == Bus::VhostUser => Err(Ended::NotApplicable(format!(
            "it leaves the configuration space to the front-end: {error}"
        ))),
        read => Ok(read.map(|()| u32::from_le_bytes(bytes))?),
    }
}

fn mtu(probe: &mut Probe) -> Outcome {
    let before = number(probe, MTU_AT, Width::Two)?;
    for (least, clause) in [
        (MIN_MTU.into(), "dev:net:device-configuration-layout:02"),
        (1280, "dev:net:device-configuration-layout:03"),
    ] {
        holds(before >= least, clause, || format!("it is {before}"))?;
    }
    probe.go_live(MTU)?;
    let after = number(probe, MTU_AT, Width::Two)?;
    holds(before == after, "dev:net:device-configuration-layout:04", || {
        format!("it was {before}, and is {after}")
    })
}

/// A frame of so many bytes to everyone, of a type for experiments.
fn frame(length: usize) -> Vec<u8> {
    let mut frame = vec![0; length];
    frame[..ETHERNET].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 2, 0x88, 0xb5]);
    frame
}

/// Makes buffers of these lengths available in the receive virtqueue. A frame waits for them.
fn listen(probe: &mut Probe, live: &mut Live, lengths: &[usize]) -> Outcome<Vec<(u16, Buffer)>> {
    let mut buffers = Vec::new();
    for length in lengths {
        let buffer = probe.buffer(*length, 0xee)?;
        buffers.push((live.queues[0].add(&[element(&buffer, true)]), buffer));
    }
    probe.notify(&live.queues[0])?;
    Ok(buffers)
}

/// The next buffer that is used for a frame, and the header in it.
fn heard(probe: &mut Probe, live: &mut Live, buffers: &[(u16, Buffer)]) -> Outcome<(Used, Hdr)> {
    let Some(used) = probe.used(&mut live.queues[0])? else {
        return Err(Ended::Inconclusive("a frame does not arrive".into()));
    };
    let mut bytes = [0; size_of::<Hdr>()];
    if let Some((_, buffer)) = buffers.iter().find(|(id, _)| u32::from(*id) == used.id) {
        // It is longer.
        let _ = buffer.read(0, &mut bytes[..Hdr::size(live.features)]);
    }
    let header = Hdr::read_from_bytes(&bytes);
    let header = header.map_err(|_| Ended::Inconclusive("a header is not so long".into()))?;
    probe.note(format_args!("{header:?}"));
    Ok((used, header))
}

/// The next frame that arrives, without its header, in a buffer that is large enough.
fn heard_frame(probe: &mut Probe, live: &mut Live) -> Outcome<Vec<u8>> {
    let (_, frame) = heard_whole(probe, live)?;
    Ok(frame)
}

/// As [`heard_frame`], with its header.
fn heard_whole(probe: &mut Probe, live: &mut Live) -> Outcome<(Hdr, Vec<u8>)> {
    let buffers = listen(probe, live, &[2048])?;
    let (used, header) = heard(probe, live, &buffers)?;
    let behind = Hdr::size(live.features);
    let mut frame = vec![0; (used.length as usize).saturating_sub(behind)];
    for (_, buffer) in &buffers {
        // What is not there stays zero.
        let _ = buffer.read(behind, &mut frame);
    }
    Ok((header, frame))
}

/// Gives the device a frame to send, behind this header, and returns the buffer that it is in, if it is used.
fn send(probe: &mut Probe, live: &mut Live, header: &Hdr, frame: &[u8]) -> Outcome<Option<Buffer>> {
    let bytes = [&header.as_bytes()[..Hdr::size(live.features)], frame].concat();
    let buffer = probe.buffer(bytes.len(), 0)?;
    // It has just been made of this length.
    let _ = buffer.write(0, &bytes);
    live.queue().add(&[element(&buffer, false)]);
    probe.notify(live.queue())?;
    Ok(probe.used(live.queue())?.map(|_| buffer))
}

/// Flags, `csum_start` and length of what a driver of a split virtqueue has made available last to be sent.
fn offered(life: &Life, queue: u16) -> Option<(u8, u16, u32)> {
    let layout = life.layouts.get(&queue);
    let layout = layout.filter(|_| queue == TRANSMITQ1 && !life.is_packed())?;
    let slot = life.read16(layout.driver_area + 2).wrapping_sub(1) % layout.size;
    let head = life.read16(layout.driver_area + AVAIL_RING + 2 * u64::from(slot));
    let first = SplitDesc::from_bytes(life.read(layout.descriptor_area + 16 * u64::from(head)));
    let start = life.read16(first.address + offset_of!(Hdr, csum_start) as u64);
    Some((life.read::<1>(first.address)[0], start, first.length))
}
