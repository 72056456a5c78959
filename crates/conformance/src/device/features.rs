//! Feature bits (section 2.2, chapter 6).

use ringwright_spec::feature::{self, IN_ORDER, RESERVED_BITS, SR_IOV, VERSION_1};
use ringwright_spec::network::features::{GUEST_CSUM, GUEST_TSO4};
use ringwright_spec::status::Status;
use ringwright_spec::{Features, device_type};

use crate::check::{Check, Ended, Needs, Outcome};
use crate::mutant::{Lens, Mutant};
use crate::probe::{Probe, holds};

use super::basic::WITH_STATUS;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "features.version-1",
        clauses: &["dev:feat:reserved-feature-bits:01"],
        does: "Reads the offered features.",
        violation: "VIRTIO_F_VERSION_1 is not among them.",
        needs: Needs::NOTHING,
        run: |probe| {
            let offered = probe.offered()?;
            holds(
                offered.contains(VERSION_1),
                "dev:feat:reserved-feature-bits:01",
                || format!("{:#x} are offered", offered.0),
            )
        },
        mutants: &[Mutant {
            name: "VIRTIO_F_VERSION_1 is not offered",
            breaks: "dev:feat:reserved-feature-bits:01",
            lens: Lens {
                offered: Some(|_, offered| offered - VERSION_1),
                ..Lens::CLEAR
            },
            also: &["*"],
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "features.required",
        clauses: &["dev:core:feature-bits:01"],
        does: "Looks up what each offered feature requires.",
        violation: "A feature is offered whose requirement is not.",
        needs: Needs::NOTHING,
        run: required,
        mutants: &[Mutant {
            name: "VIRTIO_NET_F_GUEST_TSO4 is offered without VIRTIO_NET_F_GUEST_CSUM",
            on: Some("network"),
            breaks: "dev:core:feature-bits:01",
            lens: Lens {
                offered: Some(|_, offered| (offered | GUEST_TSO4) - GUEST_CSUM),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "features.unknown",
        clauses: &["dev:core:feature-bits:03"],
        does: "Reads the offered features.",
        violation: "One of them has no meaning for this device type, or is reserved.",
        needs: Needs::NOTHING,
        run: unknown,
        mutants: &[Mutant {
            name: "a reserved feature bit is offered",
            breaks: "dev:core:feature-bits:03",
            lens: Lens {
                offered: Some(|_, offered| offered | Features::bit(45)),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "features.refused",
        clauses: &["dev:core:feature-bits:02"],
        does: "Accepts a feature that is not offered.",
        violation: "The device sets FEATURES_OK.",
        needs: Needs::buses(WITH_STATUS),
        run: refused,
        mutants: &[Mutant {
            name: "features that are not offered are dropped without a word",
            breaks: "dev:core:feature-bits:02",
            lens: Lens {
                accepted: Some(|life, accepted| {
                    let offered = Features(u128::from(life.note as u32) | u128::from(life.note >> 32) << 32);
                    accepted & offered
                }),
                offered: Some(|life, offered| {
                    life.note = offered.0 as u64;
                    offered
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "features.again",
        clauses: &["dev:core:feature-bits:04"],
        does: "Negotiates the same features twice, with a reset between.",
        violation: "The device accepts them only the first time.",
        needs: Needs::buses(WITH_STATUS),
        run: again,
        mutants: &[Mutant {
            name: "features are accepted only once",
            breaks: "dev:core:feature-bits:04",
            lens: Lens {
                set_status: Some(|life, status| {
                    life.note += u64::from(status.contains(Status::FEATURES_OK));
                    match life.note > 1 {
                        true => Some(status - Status::FEATURES_OK),
                        false => Some(status),
                    }
                }),
                ..Lens::CLEAR
            },
            also: &["*"],
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "features.sr-iov",
        clauses: &["dev:feat:reserved-feature-bits:09"],
        does: "Reads the offered features of a device without an SR-IOV capability.",
        violation: "VIRTIO_F_SR_IOV is among them.",
        needs: Needs::NOTHING,
        run: sr_iov,
        mutants: &[Mutant {
            name: "VIRTIO_F_SR_IOV is offered without the capability",
            breaks: "dev:feat:reserved-feature-bits:09",
            lens: Lens {
                offered: Some(|_, offered| offered | SR_IOV),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "features.in-order",
        clauses: &["dev:feat:reserved-feature-bits:05"],
        does: "Makes eight buffers available at once, with VIRTIO_F_IN_ORDER.",
        violation: "They are used in another order.",
        needs: Needs::features(IN_ORDER),
        run: in_order,
        mutants: &[Mutant {
            name: "the last two buffers are used in the wrong order",
            breaks: "dev:feat:reserved-feature-bits:05",
            lens: Lens {
                notified: Some(|life, queue| {
                    let (Some(last), Some(layout)) = (life.last_used_entry(queue), life.layouts.get(&queue))
                    else {
                        return;
                    };
                    if life.features.contains(IN_ORDER) && life.read16(layout.device_area + 2) > 2 {
                        let (first, second) = (life.read::<8>(last - 8), life.read::<8>(last));
                        life.write(last - 8, &second);
                        life.write(last, &first);
                    }
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
];

fn required(probe: &mut Probe) -> Outcome {
    let offered = probe.offered()?;
    let own = device_type::by_id(probe.device_id()).map_or(&[][..], |device| device.features);
    let unmet = feature::unmet(offered, own).or_else(|| feature::unmet(offered, feature::ALL));
    holds(unmet.is_none(), "dev:core:feature-bits:01", || match unmet {
        Some((bit, missing)) => format!(
            "{} is offered, which requires one of {}; none is",
            bit.name,
            probe.names(missing)
        ),
        None => String::new(),
    })
}

fn unknown(probe: &mut Probe) -> Outcome {
    let offered = probe.offered()?;
    let Some(device) = device_type::by_id(probe.device_id()) else {
        return Err(Ended::NotApplicable(
            "its device type is not in the document".into(),
        ));
    };
    // vhost-user's own bit never reaches a driver.
    let unknown: Vec<u32> = offered
        .bits()
        .filter(|bit| device.feature(*bit).is_none() || RESERVED_BITS.contains(Features::bit(*bit)))
        .collect();
    holds(unknown.is_empty(), "dev:core:feature-bits:03", || {
        format!(
            "bits {unknown:?} are offered, which mean nothing for a {} device",
            device.name
        )
    })
}

fn refused(probe: &mut Probe) -> Outcome {
    let offered = probe.offered()?;
    let wanted = probe.wanted(Features::NONE)?;
    let missing = (0..64).map(Features::bit).filter(|bit| !offered.intersects(*bit));
    for bit in missing {
        let status = probe.accept(wanted | bit)?;
        holds(
            !status.contains(Status::FEATURES_OK),
            "dev:core:feature-bits:02",
            || format!("{bit:?} is not offered, was accepted, and the status is {status:?}"),
        )?;
    }
    probe.negotiate(wanted)
}

fn again(probe: &mut Probe) -> Outcome {
    let features = probe.wanted(Features::NONE)?;
    probe.negotiate(features)?;
    let status = probe.accept(features)?;
    holds(
        status.contains(Status::FEATURES_OK),
        "dev:core:feature-bits:04",
        || format!("{features:?} was accepted before; the second time the status is {status:?}"),
    )
}

fn sr_iov(probe: &mut Probe) -> Outcome {
    let offers = probe.offered()?.contains(SR_IOV);
    // Only a function of PCI Express can have the capability, in its extended configuration space.
    let has = super::has_sr_iov(probe)?;
    holds(!offers || has, "dev:feat:reserved-feature-bits:09", || {
        "VIRTIO_F_SR_IOV is offered, and there is no SR-IOV capability".into()
    })
}

fn in_order(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(IN_ORDER)?;
    let mut pending = Vec::new();
    for _ in 0..8 {
        pending.push(probe.prepare(&mut live, 0)?);
    }
    probe.notify(live.queue())?;
    let ids: Vec<u16> = pending.iter().map(|pending| pending.id).collect();
    let mut waiting = &ids[..];
    while !waiting.is_empty() {
        let Some(used) = probe.used(live.queue())? else {
            return Err(Ended::Inconclusive("a legal request is not answered".into()));
        };
        // One used entry may stand for all buffers up to its own.
        let Some(place) = waiting.iter().position(|id| u32::from(*id) == used.id) else {
            return holds(false, "dev:feat:reserved-feature-bits:05", || {
                format!(
                    "buffers {ids:?} were available in this order; {} is used after a later one",
                    used.id
                )
            });
        };
        let untouched = live.queue().skip_used(&waiting[..place]);
        holds(untouched, "dev:feat:reserved-feature-bits:05", || {
            format!(
                "buffer {} is used before {:?}, which were available before it",
                used.id,
                &waiting[..place]
            )
        })?;
        waiting = &waiting[place + 1..];
    }
    let more = !probe.never(|_| Ok(live.queue().has_used()))?;
    holds(!more, "dev:feat:reserved-feature-bits:05", || {
        let more = live.queue().take_used();
        format!("all buffers are used; {more:?} comes after a later one")
    })
}
