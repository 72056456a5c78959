//! Our driver of network cards, with all that it can do.

use ringwright_driver::Transport;
use ringwright_driver::network::{
    Coalescing, Command, Commanded, Counters, Extras, Network, Offload, Scaling, Sent,
};
use ringwright_spec::network::control::{NotfCoal, Rx, Vlan};
use ringwright_spec::network::statistics::StatsTypes;

use super::ours::{text, until};
use super::{Seat, packets};
use crate::driver::scenario::Act;

/// The address of a card that has none: locally administered.
const LOCAL: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Whom packets are sent to.
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 2];
const ALL: [u8; 6] = [0xff; 6];
/// Who gets packets that are for several.
const GROUP: [u8; 6] = [3, 0, 0, 0, 0, 2];
/// What kind of packets they are: experiments.
const EXPERIMENTAL: [u8; 2] = [0x88, 0xb5];

/// Notifications that come together.
const COALESCING: Coalescing = Coalescing {
    packets: 8,
    microseconds: 100,
};

/// Sends packets that come back, and all commands that there are.
pub(super) fn live(seat: &mut Seat) -> Result<(), String> {
    let extras = Extras {
        commands: true,
        pairs: 2,
        hashes: true,
        offloads: true,
        tunnels: true,
        ..Extras::default()
    };
    let mut card = Network::with(&mut *seat.transport, &seat.area, seat.options, extras).map_err(text)?;
    let mac = card.mac().unwrap_or(LOCAL);
    let packet = |peer: [u8; 6], content: u8| [&peer[..], &mac, &EXPERIMENTAL, &[content; 46]].concat();
    if seat.act == Act::Leave {
        return send(&mut card, 0, &packet(PEER, 0));
    }
    echo(&mut card, &mut seat.wait, 0, &packet(PEER, 0))?;
    let scaling = Scaling {
        types: card.hash_types(),
        table: &[0, card.pairs() - 1, 0, 0],
        unclassified: 0,
        transmit: card.pairs(),
        key: &[0x6d; 40],
    };
    for command in [
        Command::Receive(Rx::PROMISC, true),
        Command::Receive(Rx::NOBCAST, false),
        Command::Filter(&[PEER], &[GROUP]),
        Command::Address(mac),
        Command::Vlan(Vlan::ADD, 1),
        Command::Pairs(card.pairs()),
        Command::Scale(scaling),
        Command::HashInside(card.tunnel_types()),
        Command::Coalesce(NotfCoal::TX_SET, COALESCING),
        Command::CoalesceVirtqueue(card.pairs(), COALESCING),
        Command::AskCoalescing(0),
        Command::AskStatisticsTypes,
        Command::AskContexts,
        Command::AddContext(1, scaling),
        Command::ModifyContext(1, scaling),
        Command::AskCoalescing(0),
        Command::DeleteContext(1),
    ] {
        obey(&mut card, &mut seat.wait, command)?;
    }
    let mut counters = Vec::new();
    for (queue, types) in [(0, StatsTypes::RX_BASIC), (1, StatsTypes::TX_BASIC)] {
        if card.statistics_types().contains(types) {
            counters.push(Counters { queue, types });
        }
    }
    obey(&mut card, &mut seat.wait, Command::AskStatistics(&counters))?;
    for counted in card.statistics() {
        counted.map_err(text)?;
    }
    if card.announcement_wanted().map_err(text)? {
        echo(&mut card, &mut seat.wait, 0, &packet(ALL, 0))?;
        obey(&mut card, &mut seat.wait, Command::AcknowledgeAnnouncement)?;
    }
    for offload in [Offload::Checksum, Offload::Segments(1000)] {
        for packet in packets::all(PEER, mac) {
            leave(&mut card, &packet, offload)?;
        }
    }
    for checksum in [[0, 0], [0, 1]] {
        for packet in packets::all(PEER, mac) {
            let (packet, network) = packets::in_tunnel(PEER, mac, &packet, checksum);
            leave(&mut card, &packet, Offload::Tunneled { size: 1000, network })?;
        }
    }
    for round in 1..20 {
        card.link_up().map_err(text)?;
        let pair = u16::from(round) % card.pairs();
        echo(&mut card, &mut seat.wait, pair, &packet(PEER, round))?;
    }
    Ok(())
}

fn send<T: Transport>(card: &mut Network<T>, pair: u16, packet: &[u8]) -> Result<(), String> {
    let pair = card.pair(pair).ok_or("there is no such pair")?;
    if pair.send(packet).map_err(text)? != Sent::Queued {
        return Err("the virtqueue is full".into());
    }
    card.publish().map_err(text)
}

/// Sends a packet, and waits until it comes back.
fn echo<T: Transport>(
    card: &mut Network<T>,
    wait: &mut (dyn FnMut() + Send),
    pair: u16,
    packet: &[u8],
) -> Result<(), String> {
    send(card, pair, packet)?;
    let mut frame = [0; 1600];
    until(wait, || {
        let pair = card.pair(pair).ok_or("there is no such pair")?;
        pair.receive(&mut frame).map(|got| got.is_some()).map_err(text)
    })
}

/// Sends a packet, of which something is left to the card, if it takes that.
fn leave<T: Transport>(card: &mut Network<T>, packet: &[u8], offload: Offload) -> Result<(), String> {
    match card.send_partial(packet, offload).map_err(text)? {
        Sent::Queued => card.publish().map_err(text),
        // A long one, or one that the card does not take.
        Sent::TooLong | Sent::Unsuitable => Ok(()),
        refused => Err(format!("{offload:?}: {refused:?}")),
    }
}

/// Sends a command, if the card takes it, and waits until it is obeyed.
fn obey<T: Transport>(
    card: &mut Network<T>,
    wait: &mut (dyn FnMut() + Send),
    command: Command<'_>,
) -> Result<(), String> {
    match card.command(command).map_err(text)? {
        Commanded::Queued => card.publish().map_err(text)?,
        Commanded::Unavailable => return Ok(()),
        refused => return Err(format!("{command:?}: {refused:?}")),
    }
    let mut obeyed = false;
    until(wait, || {
        let answer = card.answer().map_err(text)?;
        obeyed = answer == Some(true);
        Ok(answer.is_some())
    })?;
    match obeyed {
        true => Ok(()),
        false => Err(format!("{command:?} was refused")),
    }
}
