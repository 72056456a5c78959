//! Coalesced notifications of network devices (section 5.1.9.5, "Notifications Coalescing").

use ringwright_driver::Interrupt;
use ringwright_spec::feature::RING_RESET;
use ringwright_spec::network::control::{Ack, Class, CtrlCoal, CtrlCoalVq, NotfCoal};
use ringwright_spec::network::features::{NOTF_COAL, VQ_NOTF_COAL};
use ringwright_spec::network::{Hdr, receiveq, transmitq};
use zerocopy::{FromBytes, IntoBytes};

use super::commands::{self, CONTROLQ, ask, misspeaking, order, pending, prepare};
use super::{TRANSMITQ1, frame, send};
use crate::check::{Check, Ended, Outcome};
use crate::live::Live;
use crate::mutant::{Lens, Life, Mutant};
use crate::probe::{Probe, holds};

const RX_SET: (Class, u8) = (Class::NOTF_COAL, NotfCoal::RX_SET.0);
const TX_SET: (Class, u8) = (Class::NOTF_COAL, NotfCoal::TX_SET.0);
const VQ_SET: (Class, u8) = (Class::NOTF_COAL, NotfCoal::VQ_SET.0);
const VQ_GET: (Class, u8) = (Class::NOTF_COAL, NotfCoal::VQ_GET.0);

/// A kind of virtqueue: the first one of it, the command for all of them, and what holds when it is enabled once more.
struct Kind {
    queue: Option<u16>,
    set: (Class, u8),
    again: &'static str,
}

const KINDS: [Kind; 2] = [
    Kind {
        queue: receiveq(0),
        set: RX_SET,
        again: "dev:net:notifications-coalescing:06",
    },
    Kind {
        queue: transmitq(0),
        set: TX_SET,
        again: "dev:net:notifications-coalescing:05",
    },
];

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "network.coalescing",
        clauses: &[
            "dev:net:notifications-coalescing:01",
            "dev:net:notifications-coalescing:03",
        ],
        does: "Sets parameters of each virtqueue, also with something in reserved, and gets them.",
        violation: "A command with something in reserved is answered differently, or others are got than were set.",
        needs: commands::needs(VQ_NOTF_COAL),
        run: parameters,
        mutants: &[
            misspeaking(
                "what is reserved has to be zero",
                "dev:net:notifications-coalescing:01",
                |life, queue| {
                    if named(life, queue).is_some_and(|named| named.reserved.get() != 0) {
                        answer(life, queue, &[Ack::ERR.0]);
                    }
                },
            ),
            Mutant {
                also: &["network.coalescing-all"],
                ..misspeaking(
                    "one packet less than was asked for",
                    "dev:net:notifications-coalescing:03",
                    |life, queue| {
                        let told: Option<[u8; 2]> =
                            pending(life, queue).map(|pending| life.read(pending.answer));
                        if is_got(life, queue, 0) && told == Some([Ack::OK.0, PARAMETERS as u8]) {
                            answer(life, queue, &[Ack::OK.0, PARAMETERS as u8 - 1]);
                        }
                    },
                )
            },
        ],
    },
    Check {
        name: "network.coalescing-all",
        clauses: &["dev:net:notifications-coalescing:02"],
        does: "Sets parameters of all virtqueues of a kind, and gets those of one.",
        violation: "It has others, and the device has said that it has set them.",
        needs: commands::needs(NOTF_COAL.union(VQ_NOTF_COAL)),
        run: parameters_of_all,
        mutants: &[misspeaking(
            "parameters of all transmit virtqueues are forgotten",
            "dev:net:notifications-coalescing:02",
            |life, queue| {
                if let Some(pending) = pending(life, queue) {
                    match pending.kind {
                        TX_SET => life.note = 1,
                        VQ_SET => life.note = 0,
                        _ if life.note == 1 && is_got(life, queue, 1) => {
                            answer(life, queue, &[Ack::OK.0, 0, 0, 0, 0]);
                        }
                        _ => {}
                    }
                }
            },
        )],
    },
    Check {
        name: "network.coalescing-wrong",
        clauses: &["dev:net:notifications-coalescing:04"],
        does: "Sets and gets parameters of the control virtqueue, and of a virtqueue that there is not.",
        violation: "A command does not fail.",
        needs: commands::needs(VQ_NOTF_COAL),
        run: wrong,
        mutants: &[misspeaking(
            "the control virtqueue has parameters, too",
            "dev:net:notifications-coalescing:04",
            |life, queue| {
                if named(life, queue).is_some_and(|named| named.vq_index.get() == CONTROLQ) {
                    answer(life, queue, &[Ack::OK.0]);
                }
            },
        )],
    },
    Check {
        name: "network.coalescing-suppressed",
        clauses: &["dev:net:notifications-coalescing:08"],
        does: "Coalesces notifications of the transmit virtqueue, suppresses them, and has a frame sent.",
        violation: "A notification comes when its time has come.",
        needs: commands::needs(VQ_NOTF_COAL),
        run: suppressed,
        mutants: &[Mutant {
            name: "a coalesced notification is not suppressed",
            breaks: "dev:net:notifications-coalescing:08",
            lens: Lens {
                notified: Some(|life, queue| match pending(life, queue) {
                    Some(pending) if pending.kind == VQ_SET => life.note = 1,
                    None if queue == TRANSMITQ1 && life.note == 1 => life.note = 2,
                    _ => {}
                }),
                interrupt: Some(|life, interrupt| Interrupt {
                    queue: interrupt.queue || life.note == 2,
                    ..interrupt
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "network.coalescing-again",
        clauses: &[
            "dev:net:notifications-coalescing:05",
            "dev:net:notifications-coalescing:06",
        ],
        does: "Sets parameters of all virtqueues of a kind and others of one, resets that one, and enables it again.",
        violation: "It has other parameters than all of its kind.",
        needs: commands::needs(VQ_NOTF_COAL.union(RING_RESET)),
        run: again,
        mutants: &[
            kept(
                "a transmit virtqueue keeps its parameters",
                KINDS[1].again,
                |life, queue| {
                    tell_old(life, queue, 1);
                },
            ),
            kept(
                "a receive virtqueue keeps its parameters",
                KINDS[0].again,
                |life, queue| {
                    tell_old(life, queue, 0);
                },
            ),
        ],
    },
    Check {
        name: "network.coalescing-reset",
        clauses: &["dev:net:notifications-coalescing:09"],
        does: "Sets parameters, resets the device, and gets them.",
        violation: "They are not 0.",
        needs: commands::needs(VQ_NOTF_COAL),
        run: after_reset,
        mutants: &[Mutant {
            name: "parameters outlive a reset",
            breaks: "dev:net:notifications-coalescing:09",
            lens: Lens {
                notified: Some(|life, queue| match pending(life, queue) {
                    Some(pending) if pending.kind == VQ_SET => life.note = 1,
                    _ if life.note == 2 && is_got(life, queue, 0) => {
                        answer(life, queue, &[Ack::OK.0, PARAMETERS as u8]);
                    }
                    _ => {}
                }),
                set_status: Some(|life, status| {
                    if status.is_empty() && life.note == 1 {
                        life.note = 2;
                    }
                    Some(status)
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
];

/// Parameters: so many packets, and as many microseconds.
const PARAMETERS: u32 = 20;

fn parameters(probe: &mut Probe) -> Outcome {
    let mut live = commands::go_live(probe, VQ_NOTF_COAL)?;
    for queue in KINDS.iter().filter_map(|kind| kind.queue) {
        set(probe, &mut live, queue, PARAMETERS)?;
        expect(
            probe,
            &mut live,
            queue,
            PARAMETERS,
            "dev:net:notifications-coalescing:03",
        )?;
        let data = with_reserved(queue, PARAMETERS + 1);
        order(
            probe,
            &mut live,
            VQ_SET,
            &data,
            "dev:net:notifications-coalescing:01",
        )?;
        let found = ask(probe, &mut live, VQ_GET, &data[..4], size_of::<CtrlCoal>())?;
        holds(
            found.ack == Ack::OK,
            "dev:net:notifications-coalescing:01",
            || {
                format!(
                    "a question with {:#x?} in reserved is answered by {:?}",
                    &data[2..4],
                    found.ack
                )
            },
        )?;
        let right = found.result.starts_with(parameter(PARAMETERS + 1).as_bytes());
        holds(right, "dev:net:notifications-coalescing:01", || {
            format!("got {:x?}", &found.result[..size_of::<CtrlCoal>()])
        })?;
    }
    Ok(())
}

fn parameters_of_all(probe: &mut Probe) -> Outcome {
    let mut live = commands::go_live(probe, NOTF_COAL | VQ_NOTF_COAL)?;
    for Kind { queue, set, .. } in KINDS {
        let answer = ask(probe, &mut live, set, parameter(PARAMETERS).as_bytes(), 0)?;
        let Some(queue) = queue.filter(|_| answer.ack == Ack::OK) else {
            return Err(Ended::Inconclusive(format!("{:?} is refused", set)));
        };
        expect(
            probe,
            &mut live,
            queue,
            PARAMETERS,
            "dev:net:notifications-coalescing:02",
        )?;
    }
    Ok(())
}

fn wrong(probe: &mut Probe) -> Outcome {
    let mut live = commands::go_live(probe, VQ_NOTF_COAL)?;
    for queue in [CONTROLQ, 0x7777] {
        let data = data(queue, PARAMETERS);
        for (command, data, room) in [
            (VQ_SET, &data[..], 0),
            (VQ_GET, &data[..4], size_of::<CtrlCoal>()),
        ] {
            let answer = ask(probe, &mut live, command, data, room)?;
            holds(
                answer.ack == Ack::ERR,
                "dev:net:notifications-coalescing:04",
                || format!("{command:?} of virtqueue {queue} is answered by {:?}", answer.ack),
            )?;
        }
    }
    Ok(())
}

fn suppressed(probe: &mut Probe) -> Outcome {
    let mut live = commands::go_live(probe, VQ_NOTF_COAL)?;
    set(probe, &mut live, TRANSMITQ1, PARAMETERS)?;
    live.queues[usize::from(TRANSMITQ1)]
        .split()?
        .set_available_flags(1);
    probe.interrupt()?;
    if send(probe, &mut live, &Hdr::default(), &frame(60))?.is_none() {
        return Err(Ended::Inconclusive("a frame is not sent".into()));
    }
    let quiet = probe.never(|probe| Ok(probe.interrupt()?.queue))?;
    holds(quiet, "dev:net:notifications-coalescing:08", || {
        "the flag of the available ring is 1, and a notification comes".into()
    })
}

fn again(probe: &mut Probe) -> Outcome {
    let for_all = probe.offered()? & NOTF_COAL;
    let mut live = commands::go_live(probe, VQ_NOTF_COAL | RING_RESET | for_all)?;
    for kind in &KINDS {
        let Some(queue) = kind.queue else {
            continue;
        };
        let mut expected = 0;
        if !for_all.is_empty() {
            expected = PARAMETERS + 1;
            prepare(probe, &mut live, kind.set, parameter(expected).as_bytes())?;
        }
        set(probe, &mut live, queue, PARAMETERS)?;
        probe.reset_queue(queue)?;
        let place = &mut live.queues[usize::from(queue)];
        *place = probe.queue(queue, live.features)?;
        probe.enable(place)?;
        expect(probe, &mut live, queue, expected, kind.again)?;
    }
    Ok(())
}

fn after_reset(probe: &mut Probe) -> Outcome {
    let mut live = commands::go_live(probe, VQ_NOTF_COAL)?;
    for queue in KINDS.iter().filter_map(|kind| kind.queue) {
        set(probe, &mut live, queue, PARAMETERS)?;
    }
    drop(live);
    let mut live = commands::go_live(probe, VQ_NOTF_COAL)?;
    for queue in KINDS.iter().filter_map(|kind| kind.queue) {
        expect(probe, &mut live, queue, 0, "dev:net:notifications-coalescing:09")?;
    }
    Ok(())
}

fn set(probe: &mut Probe, live: &mut Live, queue: u16, number: u32) -> Outcome {
    prepare(probe, live, VQ_SET, &data(queue, number))
}

/// The parameters of a virtqueue are these.
fn expect(probe: &mut Probe, live: &mut Live, queue: u16, number: u32, clause: &'static str) -> Outcome {
    let answer = ask(probe, live, VQ_GET, &data(queue, 0)[..4], size_of::<CtrlCoal>())?;
    if answer.ack != Ack::OK {
        let why = format!(
            "parameters of virtqueue {queue} are not to be had: {:?}",
            answer.ack
        );
        return Err(Ended::Inconclusive(why));
    }
    let right = answer.result.starts_with(parameter(number).as_bytes());
    holds(right, clause, || {
        let found = CtrlCoal::read_from_prefix(&answer.result).map(|(found, _)| found);
        format!(
            "virtqueue {queue} has {found:?}, expected {:?}",
            parameter(number)
        )
    })
}

fn parameter(number: u32) -> CtrlCoal {
    CtrlCoal {
        max_packets: number.into(),
        max_usecs: number.into(),
    }
}

/// The data of a command that sets the parameters of a virtqueue.
fn data(queue: u16, number: u32) -> Vec<u8> {
    let fields = CtrlCoalVq {
        vq_index: queue.into(),
        coal: parameter(number),
        ..CtrlCoalVq::default()
    };
    fields.as_bytes().to_vec()
}

fn with_reserved(queue: u16, number: u32) -> Vec<u8> {
    let mut data = data(queue, number);
    data[2..4].fill(0xa5);
    data
}

/// A mutant in which a virtqueue that was reset is remembered: as the note, its index and 1.
const fn kept(name: &'static str, breaks: &'static str, notified: fn(&mut Life, u16)) -> Mutant {
    Mutant {
        name,
        breaks,
        lens: Lens {
            reset_queue: Some(|life, queue| {
                life.note = u64::from(queue) + 1;
                true
            }),
            notified: Some(notified),
            ..Lens::CLEAR
        },
        ..Mutant::ALONE
    }
}

/// Says that virtqueue `index` has the parameters that it had before it was reset.
fn tell_old(life: &mut Life, queue: u16, index: u16) {
    if life.note == u64::from(index) + 1 && is_got(life, queue, index) {
        answer(life, queue, &[Ack::OK.0, PARAMETERS as u8]);
    }
}

/// What a command that names a virtqueue says.
fn named(life: &Life, queue: u16) -> Option<CtrlCoalVq> {
    let pending = pending(life, queue).filter(|pending| [VQ_SET, VQ_GET].contains(&pending.kind))?;
    CtrlCoalVq::read_from_bytes(&life.read::<{ size_of::<CtrlCoalVq>() }>(pending.data)).ok()
}

/// Whether the parameters of virtqueue `index` are asked for.
fn is_got(life: &Life, queue: u16, index: u16) -> bool {
    let gets = pending(life, queue).is_some_and(|pending| pending.kind == VQ_GET);
    gets && named(life, queue).is_some_and(|named| named.vq_index.get() == index)
}

/// Changes the answer to the last command.
fn answer(life: &Life, queue: u16, bytes: &[u8]) {
    if let Some(pending) = pending(life, queue) {
        life.write(pending.answer, bytes);
    }
}
