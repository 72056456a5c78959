//! Statistics of network devices (section 5.1.9.5, "Device Statistics").

use std::mem::offset_of;

use ringwright_spec::network::control::{Ack, Class, Stats};
use ringwright_spec::network::features::DEVICE_STATS;
use ringwright_spec::network::statistics::{
    Cvq, QueueStats, ReplyHdr, ReplyType, RxBasic, StatsTypes, TxBasic,
};
use ringwright_spec::network::{receiveq, transmitq};
use zerocopy::{FromBytes, IntoBytes};

use super::commands::{self, Answer, CONTROLQ, FILL, ask, misspeaking, pending, refuse};
use crate::check::{Check, Ended, Outcome};
use crate::live::Live;
use crate::mutant::Life;
use crate::probe::{Probe, holds};

const QUERY: (Class, u8) = (Class::STATS, Stats::QUERY.0);
const GET: (Class, u8) = (Class::STATS, Stats::GET.0);

/// A type of statistics: its bit, its number in replies, a virtqueue that has it, and how long it is.
struct Kind {
    bit: StatsTypes,
    reply: ReplyType,
    queue: Option<u16>,
    size: usize,
}

/// Those that need no other feature.
const KINDS: [Kind; 3] = [
    Kind {
        bit: StatsTypes::CVQ,
        reply: ReplyType::CVQ,
        queue: Some(CONTROLQ),
        size: size_of::<Cvq>(),
    },
    Kind {
        bit: StatsTypes::RX_BASIC,
        reply: ReplyType::RX_BASIC,
        queue: receiveq(0),
        size: size_of::<RxBasic>(),
    },
    Kind {
        bit: StatsTypes::TX_BASIC,
        reply: ReplyType::TX_BASIC,
        queue: transmitq(0),
        size: size_of::<TxBasic>(),
    },
];

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "network.statistics",
        clauses: &[
            "dev:net:device-statistics:01",
            "dev:net:device-statistics:04",
            "dev:net:device-statistics:05",
            "dev:net:device-statistics:06",
        ],
        does: "Asks for the types of statistics that there are, and for one of each virtqueue, with more and with less room than it needs.",
        violation: "There is no answer, its header is wrong, or something is written behind it.",
        needs: commands::needs(DEVICE_STATS),
        run: statistics,
        mutants: &[
            misspeaking(
                "statistics cannot be queried",
                "dev:net:device-statistics:01",
                |life, queue| refuse(life, queue, QUERY),
            ),
            misspeaking(
                "the size is that without the header",
                "dev:net:device-statistics:04",
                |life, queue| {
                    let size = size_of::<Cvq>() - size_of::<ReplyHdr>();
                    rewrite(
                        life,
                        queue,
                        offset_of!(ReplyHdr, size),
                        &(size as u16).to_le_bytes(),
                    );
                },
            ),
            misspeaking(
                "the virtqueue is always the first",
                "dev:net:device-statistics:05",
                |life, queue| rewrite(life, queue, offset_of!(ReplyHdr, vq_index), &[0, 0]),
            ),
            misspeaking(
                "statistics do not end where they should",
                "dev:net:device-statistics:06",
                |life, queue| rewrite(life, queue, size_of::<Cvq>(), &[0]),
            ),
        ],
    },
    Check {
        name: "network.statistics-wrong",
        clauses: &["dev:net:device-statistics:02", "dev:net:device-statistics:03"],
        does: "Asks for statistics of a virtqueue that there is not, of a type that there is not, and of another virtqueue's \
               type, alone and together with what there is.",
        violation: "A command does not fail.",
        needs: commands::needs(DEVICE_STATS),
        run: wrong,
        mutants: &[
            misspeaking(
                "statistics of anything can be had",
                "dev:net:device-statistics:02",
                |life, queue| accept(life, queue),
            ),
            misspeaking(
                "what is wrong behind what is right does no harm",
                "dev:net:device-statistics:03",
                |life, queue| {
                    let first: Option<[u8; 2]> = pending(life, queue).map(|pending| life.read(pending.data));
                    let mask = pending(life, queue).map(|pending| life.read::<8>(pending.data + 8));
                    if first == Some(CONTROLQ.to_le_bytes())
                        && mask.map(u64::from_le_bytes) == Some(StatsTypes::CVQ.0)
                    {
                        accept(life, queue);
                    }
                },
            ),
        ],
    },
];

fn statistics(probe: &mut Probe) -> Outcome {
    let mut live = commands::go_live(probe, DEVICE_STATS)?;
    let supported = supported(probe, &mut live)?;
    for kind in KINDS.iter().filter(|kind| supported.0 & kind.bit.0 != 0) {
        let Some(queue) = kind.queue else {
            continue;
        };
        let entry = entry(queue, kind.bit.0);
        let answer = get(probe, &mut live, &entry, kind.size + 64)?;
        if answer.ack != Ack::OK {
            return Err(Ended::Inconclusive(format!(
                "statistics of virtqueue {queue} are answered by {:?}",
                answer.ack
            )));
        }
        let header = ReplyHdr::read_from_prefix(&answer.result);
        let (header, _) = header.map_err(|_| Ended::Inconclusive("there is no header".into()))?;
        let evidence = || {
            format!(
                "type {:#x} of virtqueue {queue}: {header:?}, and the used length is {}",
                kind.bit.0, answer.length
            )
        };
        holds(
            (header.r#type, header.vq_index.get()) == (kind.reply.0, queue),
            "dev:net:device-statistics:05",
            evidence,
        )?;
        let size = usize::from(header.size.get());
        holds(size == kind.size, "dev:net:device-statistics:04", evidence)?;
        let rest = &answer.result[size.min(answer.result.len())..];
        holds(
            answer.length == size && rest.iter().all(|byte| *byte == FILL),
            "dev:net:device-statistics:06",
            evidence,
        )?;
        // With less room nothing is written behind it.
        let less = kind.size - 4;
        let answer = get(probe, &mut live, &entry, less)?;
        let rest = &answer.result[less..];
        holds(
            answer.length <= less && rest.iter().all(|byte| *byte == FILL),
            "dev:net:device-statistics:06",
            || format!("there is room for {less} bytes, {} are written", answer.length),
        )?;
    }
    Ok(())
}

fn wrong(probe: &mut Probe) -> Outcome {
    let mut live = commands::go_live(probe, DEVICE_STATS)?;
    let right = entry(CONTROLQ, StatsTypes::CVQ.0);
    for wrong in [
        entry(0x7777, StatsTypes::RX_BASIC.0),
        entry(CONTROLQ, 1 << 63),
        entry(0, StatsTypes::TX_BASIC.0),
    ] {
        for (data, clause) in [
            (wrong.clone(), "dev:net:device-statistics:02"),
            ([right.clone(), wrong].concat(), "dev:net:device-statistics:03"),
        ] {
            let answer = get(probe, &mut live, &data, 256)?;
            holds(answer.ack == Ack::ERR, clause, || {
                format!("{data:x?} is answered by {:?}", answer.ack)
            })?;
        }
    }
    Ok(())
}

/// The types that the device has.
fn supported(probe: &mut Probe, live: &mut Live) -> Outcome<StatsTypes> {
    let answer = ask(probe, live, QUERY, &[], 8)?;
    let right = answer.ack == Ack::OK && answer.length == 8;
    holds(right, "dev:net:device-statistics:01", || {
        format!("{:?}, with {} bytes", answer.ack, answer.length)
    })?;
    let types = answer.result.first_chunk().copied().unwrap_or_default();
    Ok(StatsTypes(u64::from_le_bytes(types)))
}

fn get(probe: &mut Probe, live: &mut Live, entries: &[u8], room: usize) -> Outcome<Answer> {
    ask(probe, live, GET, entries, room)
}

/// An entry of the command.
fn entry(queue: u16, types: u64) -> Vec<u8> {
    let entry = QueueStats {
        vq_index: queue.into(),
        types_bitmap: [types.into()],
        ..QueueStats::default()
    };
    entry.as_bytes().to_vec()
}

/// Writes into the result of a command that has one, if it is that of the control virtqueue alone.
fn rewrite(life: &Life, queue: u16, offset: usize, bytes: &[u8]) {
    if let Some(pending) = pending(life, queue)
        && pending.kind == GET
        && life.read::<2>(pending.answer) == [Ack::OK.0, ReplyType::CVQ.0]
    {
        life.write(pending.answer + 1 + offset as u64, bytes);
    }
}

/// Says that a command that was refused was carried out.
fn accept(life: &Life, queue: u16) {
    if let Some(pending) = pending(life, queue).filter(|pending| pending.kind == GET) {
        life.write(pending.answer, &[Ack::OK.0]);
    }
}
