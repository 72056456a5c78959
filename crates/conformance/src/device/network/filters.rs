//! What a driver says it wants to receive (section 5.1.9.5: receive modes, MAC addresses, VLANs), and announcements.

use ringwright_memory::Width;
use ringwright_spec::Features;
use ringwright_spec::network::config::Status;
use ringwright_spec::network::control::{Announce, Class, Mac, Rx, Vlan};
use ringwright_spec::network::features::{
    CTRL_MAC_ADDR, CTRL_RX, CTRL_RX_EXTRA, CTRL_VLAN, CTRL_VQ, GUEST_ANNOUNCE, MAC, STATUS,
};

use super::commands::{self, change, mishearing, misspeaking, order, pending, prepare, refuse};
use super::config::{put, saying};
use super::{ANY, MAC_AT, STATUS_AT, heard_frame, number};
use crate::check::{Check, Ended, Outcome};
use crate::live::Live;
use crate::mutant::{Lens, Mutant};
use crate::probe::{Probe, holds};

const BROADCAST: [u8; 6] = [0xff; 6];
/// A neighbour of the device.
const OTHER: [u8; 6] = [2, 0, 0, 0, 0x77, 1];
/// One whom nobody ever names.
const STRANGER: [u8; 6] = [2, 0, 0, 0, 0x77, 2];
const GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 0x77];

/// A VLAN.
const ID: u16 = 77;

const PROMISC: (Class, u8) = (Class::RX, Rx::PROMISC.0);
const ALLMULTI: (Class, u8) = (Class::RX, Rx::ALLMULTI.0);
const ALLUNI: (Class, u8) = (Class::RX, Rx::ALLUNI.0);
const NOMULTI: (Class, u8) = (Class::RX, Rx::NOMULTI.0);
const NOUNI: (Class, u8) = (Class::RX, Rx::NOUNI.0);
const NOBCAST: (Class, u8) = (Class::RX, Rx::NOBCAST.0);
const TABLE_SET: (Class, u8) = (Class::MAC, Mac::TABLE_SET.0);
const ADDR_SET: (Class, u8) = (Class::MAC, Mac::ADDR_SET.0);
const VLAN_ADD: (Class, u8) = (Class::VLAN, Vlan::ADD.0);
const ANNOUNCE_ACK: (Class, u8) = (Class::ANNOUNCE, Announce::ACK.0);

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "network.receive-modes",
        clauses: &[
            "dev:net:packet-receive-filtering:01",
            "dev:net:packet-receive-filtering:02",
            "dev:net:packet-receive-filtering:04",
        ],
        does: "Turns promiscuous and all-multicast mode on and off, and sends frames that only pass then.",
        violation: "A command fails, or a frame does not pass.",
        needs: commands::needs(CTRL_RX),
        run: receive_modes,
        mutants: &[
            misspeaking(
                "all-multicast mode is not known",
                "dev:net:packet-receive-filtering:01",
                |life, queue| refuse(life, queue, ALLMULTI),
            ),
            Mutant {
                also: &["network.more-receive-modes"],
                ..mishearing(
                    "promiscuous mode is never on",
                    "dev:net:packet-receive-filtering:02",
                    |life, queue| change(life, queue, PROMISC, &[0]),
                )
            },
            mishearing(
                "all-multicast mode is never on",
                "dev:net:packet-receive-filtering:04",
                |life, queue| change(life, queue, ALLMULTI, &[0]),
            ),
        ],
    },
    Check {
        name: "network.more-receive-modes",
        clauses: &[
            "dev:net:packet-receive-filtering:03",
            "dev:net:packet-receive-filtering:05",
            "dev:net:packet-receive-filtering:06",
            "dev:net:packet-receive-filtering:07",
            "dev:net:packet-receive-filtering:10",
            "dev:net:packet-receive-filtering:12",
        ],
        does: "Turns each mode of VIRTIO_NET_F_CTRL_RX_EXTRA on and off, sends frames, and again in promiscuous mode.",
        violation: "A command fails, a frame does not pass that should, or one does that should not.",
        needs: commands::needs(CTRL_RX.union(CTRL_RX_EXTRA)),
        run: more_receive_modes,
        mutants: &[
            mishearing(
                "what is suppressed does not pass in promiscuous mode",
                "dev:net:packet-receive-filtering:03",
                |life, queue| match life.features.contains(CTRL_RX_EXTRA) {
                    true => change(life, queue, PROMISC, &[0]),
                    false => true,
                },
            ),
            misspeaking(
                "suppressing broadcast is not known",
                "dev:net:packet-receive-filtering:05",
                |life, queue| refuse(life, queue, NOBCAST),
            ),
            mishearing(
                "all-unicast mode is never on",
                "dev:net:packet-receive-filtering:06",
                |life, queue| change(life, queue, ALLUNI, &[0]),
            ),
            mishearing(
                "multicast is never suppressed",
                "dev:net:packet-receive-filtering:07",
                |life, queue| change(life, queue, NOMULTI, &[0]),
            ),
            mishearing(
                "unicast is never suppressed",
                "dev:net:packet-receive-filtering:10",
                |life, queue| change(life, queue, NOUNI, &[0]),
            ),
            mishearing(
                "broadcast is never suppressed",
                "dev:net:packet-receive-filtering:12",
                |life, queue| change(life, queue, NOBCAST, &[0]),
            ),
        ],
    },
    Check {
        name: "network.mac-table",
        clauses: &[
            "dev:net:setting-mac-address-filtering:01",
            "dev:net:setting-mac-address-filtering:02",
            "dev:net:setting-mac-address-filtering:04",
        ],
        does: "Sets a MAC filtering table, sends frames to addresses in it and to another one, and once more after a reset.",
        violation: "Those in it do not pass as soon as the command is used, the other one does, or those do after the reset.",
        needs: commands::needs(CTRL_RX),
        run: mac_table,
        mutants: &[
            mishearing(
                "the table outlives a reset",
                "dev:net:setting-mac-address-filtering:01",
                |life, queue| {
                    if let Some(pending) = pending(life, queue) {
                        match pending.kind {
                            TABLE_SET => life.note = 1,
                            // Whom the table named still gets frames, in another way.
                            PROMISC if life.note == 1 => {
                                let bytes = [&[ADDR_SET.0.0, ADDR_SET.1][..], &OTHER].concat();
                                pending.replace(life, &bytes);
                            }
                            _ => {}
                        }
                    }
                    true
                },
            ),
            mishearing(
                "the table never takes effect",
                "dev:net:setting-mac-address-filtering:02",
                |life, queue| change(life, queue, TABLE_SET, &[0; 8]),
            ),
            mishearing(
                "there is no filter",
                "dev:net:setting-mac-address-filtering:04",
                |life, queue| match life.features.contains(CTRL_RX_EXTRA) {
                    true => true,
                    false => change(life, queue, PROMISC, &[1]),
                },
            ),
        ],
    },
    Check {
        name: "network.mac-address",
        clauses: &["dev:net:setting-mac-address-filtering:03"],
        does: "Sets the MAC address, and reads mac as soon as the command is used.",
        violation: "It is another one.",
        needs: commands::needs(CTRL_MAC_ADDR.union(MAC)),
        run: mac_address,
        mutants: &[Mutant {
            name: "mac stays as it was",
            breaks: "dev:net:setting-mac-address-filtering:03",
            lens: saying(|_, offset, data| put(MAC_AT, &[2], offset, data)),
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "network.tagged",
        clauses: &["dev:net:vlan-filtering:01"],
        does: "Does not accept VIRTIO_NET_F_CTRL_VLAN, and sends a frame with a VLAN tag.",
        violation: "It does not pass.",
        needs: ANY,
        run: |probe| {
            let mut live = probe.go_live(Features::NONE)?;
            let [passes] = passes(probe, &mut live, [&tagged(ID)], &to(BROADCAST))?;
            holds(passes, "dev:net:vlan-filtering:01", || {
                format!("a frame of VLAN {ID} does not pass")
            })
        },
        mutants: &[Mutant {
            name: "VLANs are filtered unasked",
            breaks: "dev:net:vlan-filtering:01",
            lens: Lens {
                accepted: Some(|_, accepted| match accepted.contains(CTRL_VQ) {
                    true => accepted,
                    false => accepted | CTRL_VQ | CTRL_VLAN,
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "network.vlans",
        clauses: &["dev:net:vlan-filtering:02"],
        does: "Adds a VLAN to the filter, and sends a frame of it.",
        violation: "It does not pass.",
        needs: commands::needs(CTRL_VLAN),
        run: |probe| {
            let mut live = commands::go_live(probe, CTRL_VLAN)?;
            prepare(probe, &mut live, VLAN_ADD, &ID.to_le_bytes())?;
            let [passes] = passes(probe, &mut live, [&tagged(ID)], &to(BROADCAST))?;
            holds(passes, "dev:net:vlan-filtering:02", || {
                format!("a frame of VLAN {ID} does not pass")
            })
        },
        mutants: &[mishearing(
            "another VLAN passes",
            "dev:net:vlan-filtering:02",
            |life, queue| change(life, queue, VLAN_ADD, &[ID as u8 + 1, 0]),
        )],
    },
    Check {
        name: "network.announced",
        clauses: &["dev:net:gratuitous-packet-sending:01"],
        does: "Acknowledges an announcement, and reads status as soon as the command is used.",
        violation: "VIRTIO_NET_S_ANNOUNCE is set.",
        needs: commands::needs(GUEST_ANNOUNCE.union(STATUS)),
        run: |probe| {
            let mut live = commands::go_live(probe, GUEST_ANNOUNCE | STATUS)?;
            commands::ask(probe, &mut live, ANNOUNCE_ACK, &[], 0)?;
            let status = number(probe, STATUS_AT, Width::Two)?;
            holds(
                status & u32::from(Status::ANNOUNCE.0) == 0,
                "dev:net:gratuitous-packet-sending:01",
                || format!("it is {status:#x}"),
            )
        },
        mutants: &[Mutant {
            name: "an announcement is asked for again and again",
            breaks: "dev:net:gratuitous-packet-sending:01",
            lens: saying(|life, offset, data| {
                if life.features.contains(GUEST_ANNOUNCE) {
                    put(STATUS_AT, &[3, 0], offset, data);
                }
            }),
            ..Mutant::ALONE
        }],
    },
];

fn receive_modes(probe: &mut Probe) -> Outcome {
    let mut live = commands::go_live(probe, CTRL_RX)?;
    let (frames, last) = ([&to(OTHER)[..], &to(GROUP)], to(BROADCAST));
    for (mode, expected, clause) in [
        (PROMISC, [true, true], "dev:net:packet-receive-filtering:02"),
        (ALLMULTI, [false, true], "dev:net:packet-receive-filtering:04"),
    ] {
        let set = |probe: &mut Probe, live: &mut Live, on| {
            order(probe, live, mode, &[on], "dev:net:packet-receive-filtering:01")
        };
        set(probe, &mut live, 1)?;
        let passed = passes(probe, &mut live, frames, &last)?;
        // More may pass than has to.
        let missing = expected
            .iter()
            .zip(passed)
            .any(|(expected, passes)| *expected && !passes);
        holds(!missing, clause, || {
            format!("of a unicast and a multicast frame these pass: {passed:?}")
        })?;
        set(probe, &mut live, 0)?;
    }
    Ok(())
}

fn more_receive_modes(probe: &mut Probe) -> Outcome {
    let clause = "dev:net:packet-receive-filtering:05";
    let mut live = commands::go_live(probe, CTRL_RX | CTRL_RX_EXTRA | MAC)?;
    // A device may begin in this mode.
    prepare(probe, &mut live, PROMISC, &[0])?;
    let own = own_address(probe)?;
    let (unicast, multicast, broadcast) = (to(OTHER), to(GROUP), to(BROADCAST));
    for (mode, frame, last, expected, effect) in [
        (
            ALLUNI,
            &unicast,
            &broadcast,
            true,
            "dev:net:packet-receive-filtering:06",
        ),
        (
            NOMULTI,
            &multicast,
            &broadcast,
            false,
            "dev:net:packet-receive-filtering:07",
        ),
        (
            NOUNI,
            &to(own),
            &broadcast,
            false,
            "dev:net:packet-receive-filtering:10",
        ),
        (
            NOBCAST,
            &broadcast,
            &to(own),
            false,
            "dev:net:packet-receive-filtering:12",
        ),
    ] {
        // Without the mode this frame would pass.
        prepare(probe, &mut live, ALLMULTI, &[1])?;
        order(probe, &mut live, mode, &[1], clause)?;
        let [passed] = passes(probe, &mut live, [frame], last)?;
        holds(passed == expected, effect, || {
            format!(
                "with {:?} on, a frame to {:x?} passes: {passed}",
                Rx(mode.1),
                &frame[..6]
            )
        })?;
        prepare(probe, &mut live, PROMISC, &[1])?;
        let [passed] = passes(probe, &mut live, [frame], last)?;
        holds(passed, "dev:net:packet-receive-filtering:03", || {
            format!(
                "with {:?} on, a frame to {:x?} does not pass",
                Rx(mode.1),
                &frame[..6]
            )
        })?;
        for mode in [PROMISC, mode, ALLMULTI] {
            order(probe, &mut live, mode, &[0], clause)?;
        }
    }
    Ok(())
}

fn mac_table(probe: &mut Probe) -> Outcome {
    let mut live = commands::go_live(probe, CTRL_RX)?;
    // A device may begin in this mode.
    prepare(probe, &mut live, PROMISC, &[0])?;
    let table = |address: [u8; 6]| [&1u32.to_le_bytes()[..], &address].concat();
    let data = [table(OTHER), table(GROUP)].concat();
    prepare(probe, &mut live, TABLE_SET, &data)?;
    let (frames, last) = ([&to(OTHER)[..], &to(GROUP), &to(STRANGER)], to(BROADCAST));
    let [unicast, multicast, stranger] = passes(probe, &mut live, frames, &last)?;
    holds(
        unicast && multicast,
        "dev:net:setting-mac-address-filtering:02",
        || format!("frames to a unicast and a multicast address in it pass: {unicast}, {multicast}"),
    )?;
    drop(live);
    let mut live = commands::go_live(probe, CTRL_RX)?;
    prepare(probe, &mut live, PROMISC, &[0])?;
    let [unicast, multicast, again] = passes(probe, &mut live, frames, &last)?;
    // Where everything passes, nothing can be said of a table.
    holds(
        again || !(unicast || multicast),
        "dev:net:setting-mac-address-filtering:01",
        || {
            format!(
                "frames to a unicast and a multicast address that were in it pass: {unicast}, {multicast}"
            )
        },
    )?;
    holds(
        !stranger && !again,
        "dev:net:setting-mac-address-filtering:04",
        || "a frame to another address passes".into(),
    )
}

fn mac_address(probe: &mut Probe) -> Outcome {
    let mut live = commands::go_live(probe, CTRL_MAC_ADDR | MAC)?;
    let before = own_address(probe)?;
    // Another one, in each byte but for the bit of groups.
    let address = before.map(|byte| byte ^ 0x10);
    prepare(probe, &mut live, ADDR_SET, &address)?;
    let after = own_address(probe)?;
    holds(
        after == address,
        "dev:net:setting-mac-address-filtering:03",
        || format!("it was {before:x?}, {address:x?} was set, and it is {after:x?}"),
    )
}

/// The field `mac`.
fn own_address(probe: &mut Probe) -> Outcome<[u8; 6]> {
    let mut address = [0; 6];
    for (offset, byte) in address.iter_mut().enumerate() {
        *byte = number(probe, MAC_AT + offset, Width::One)? as u8;
    }
    Ok(address)
}

/// Sends frames to the device, and at the end one that it passes on in any case. Which of the others have come before it.
fn passes<const N: usize>(
    probe: &mut Probe,
    live: &mut Live,
    frames: [&[u8]; N],
    last: &[u8],
) -> Outcome<[bool; N]> {
    // None is sent twice.
    let marked = |frame: &[u8], mark: usize| [frame, &[mark as u8]].concat();
    for (index, frame) in frames.iter().enumerate() {
        probe.send_frame(&marked(frame, index))?;
    }
    probe.send_frame(&marked(last, N))?;
    let mut passes = [false; N];
    // Something else may be on the cable as well.
    for _ in 0..4 * N + 4 {
        let arrived = heard_frame(probe, live)?;
        match arrived.last() {
            Some(mark) if arrived == marked(last, N) && usize::from(*mark) == N => return Ok(passes),
            Some(mark) => {
                if let Some(passes) = passes.get_mut(usize::from(*mark)) {
                    *passes = true;
                }
            }
            None => {}
        }
    }
    Err(Ended::Inconclusive(
        "a frame that the device passes on does not come".into(),
    ))
}

/// A frame to this address, of a type for experiments.
fn to(address: [u8; 6]) -> Vec<u8> {
    let mut frame = super::frame(60);
    frame[..6].copy_from_slice(&address);
    frame
}

/// A frame to everyone of a VLAN.
fn tagged(id: u16) -> Vec<u8> {
    let mut frame = to(BROADCAST);
    frame.splice(12..12, [0x81, 0].into_iter().chain(id.to_be_bytes()));
    frame
}
