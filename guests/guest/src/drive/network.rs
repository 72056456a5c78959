//! A network card: asks for its neighbour's address (ARP), and pings it.
//!
//! The neighbour is where QEMU's user-mode network has it.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use ringwright_driver::Transport;
use ringwright_driver::network::{Network, Sent};

use super::wait::Waiter;
use super::{Drive, Error};

const OWN_ADDRESS: [u8; 4] = [10, 0, 2, 15];
const NEIGHBOUR: [u8; 4] = [10, 0, 2, 2];

/// The MAC address to take where the device has none: a locally administered one.
const DEFAULT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

const BROADCAST: [u8; 6] = [0xff; 6];

/// Values of EtherType.
const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;

/// Bytes that a ping carries: nearly a full frame.
const PING_BYTES: usize = 1400;

pub(super) fn drive(drive: Drive<'_>) -> Result<String, Error> {
    let (options, mut waiter) = (drive.options(), Waiter::new(&drive));
    let time = drive.time as u16;
    let mut card = Network::new(drive.transport, drive.area, options)?;
    if !card.link_up()? {
        return Err(Error::Wrong("the link is down"));
    }
    let own = card.mac().unwrap_or(DEFAULT_MAC);
    send(&mut card, &frame(BROADCAST, own, ARP, &arp_request(own)))?;
    let neighbour = receive(&mut card, &mut waiter, "an ARP reply", ARP, |packet| {
        (packet.get(6..8)? == [0, 2] && packet.get(14..18)? == NEIGHBOUR).then_some(())?;
        packet.get(8..14)?.try_into().ok()
    })?;
    waiter.confirm(&mut card)?;
    send(&mut card, &frame(neighbour, own, IPV4, &ipv4(&echo(8, time))))?;
    receive(&mut card, &mut waiter, "a reply to a ping", IPV4, |packet| {
        // What comes back is a reply with the same content.
        (packet.get(12..16)? == NEIGHBOUR && packet.get(20..)?.starts_with(&echo(0, time))).then_some(())
    })?;
    Ok(format!("ARP, and a ping of {PING_BYTES} bytes answered"))
}

fn send<T: Transport>(card: &mut Network<T>, frame: &[u8]) -> Result<(), Error> {
    if card.send(frame)? != Sent::Queued {
        return Err(Error::Wrong("a frame is not taken"));
    }
    Ok(card.publish()?)
}

/// Waits for a frame of this EtherType from whose payload `find` gets something.
fn receive<T: Transport, R>(
    card: &mut Network<T>,
    waiter: &mut Waiter,
    awaited: &'static str,
    ethertype: u16,
    find: impl Fn(&[u8]) -> Option<R>,
) -> Result<R, Error> {
    let mut frame = vec![0; 2048];
    waiter.until(card, awaited, |card| {
        let Some(length) = card.receive(&mut frame)? else {
            return Ok(None);
        };
        card.publish()?;
        let frame = frame.get(..length).unwrap_or_default();
        let payload = frame
            .get(14..)
            .filter(|_| frame[12..14] == ethertype.to_be_bytes());
        Ok(payload.and_then(&find))
    })
}

fn frame(to: [u8; 6], from: [u8; 6], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&to[..], &from, &ethertype.to_be_bytes(), payload].concat();
    // The shortest that Ethernet has.
    frame.resize(frame.len().max(60), 0);
    frame
}

fn arp_request(own: [u8; 6]) -> Vec<u8> {
    // Ethernet, IPv4, lengths of their addresses, a request.
    let header = [0, 1, 8, 0, 6, 4, 0, 1];
    [&header[..], &own, &OWN_ADDRESS, &[0; 6], &NEIGHBOUR].concat()
}

/// An IPv4 packet from here to the neighbour that carries ICMP.
fn ipv4(payload: &[u8]) -> Vec<u8> {
    const DO_NOT_FRAGMENT: u8 = 0x40;
    const TIME_TO_LIVE: u8 = 64;
    const ICMP: u8 = 1;
    let length = (20 + payload.len()) as u16;
    let [high, low] = length.to_be_bytes();
    let start = [
        0x45,
        0,
        high,
        low,
        0,
        0,
        DO_NOT_FRAGMENT,
        0,
        TIME_TO_LIVE,
        ICMP,
        0,
        0,
    ];
    let mut packet = [&start[..], &OWN_ADDRESS, &NEIGHBOUR].concat();
    let checksum = checksum(&packet);
    packet[10..12].copy_from_slice(&checksum);
    packet.extend_from_slice(payload);
    packet
}

/// An ICMP echo message: a request (`kind` 8) or a reply (0).
fn echo(kind: u8, sequence: u16) -> Vec<u8> {
    let identifier = *b"rw";
    let mut message = [&[kind, 0, 0, 0][..], &identifier, &sequence.to_be_bytes()].concat();
    message.extend((0..PING_BYTES).map(|index| (index % 251) as u8));
    let checksum = checksum(&message);
    message[2..4].copy_from_slice(&checksum);
    message
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!sum as u16).to_be_bytes()
}
