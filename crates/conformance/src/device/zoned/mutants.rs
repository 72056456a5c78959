//! What makes our host-managed disk break a clause.

use ringwright_spec::block::{ReqType, SECTOR_SIZE, Status};

use super::super::block::last_request;
use crate::mutant::{Lens, Life, Mutant};
use crate::raw::SplitDesc;
use crate::subject::{OFFLINE_ZONE, RDONLY_ZONE, ZONE_SECTORS};

/// A request that was answered.
pub(super) struct Answered {
    pub kind: ReqType,
    pub sector: u64,
    /// Sectors of its data.
    pub sectors: u64,
    pub status: Status,
}

impl Answered {
    /// Whether it was about a zone that is neither conventional nor broken.
    pub fn in_order(&self) -> bool {
        (2..RDONLY_ZONE).contains(&self.zone())
    }

    /// Number of its zone.
    pub fn zone(&self) -> u64 {
        self.sector / ZONE_SECTORS
    }

    /// Whether it was refused as impossible.
    pub fn invalid(&self, kind: ReqType) -> bool {
        self.kind == kind && self.status == Status::ZONE_INVALID_CMD
    }

    /// Whether it was refused because too many zones are open or active.
    pub fn exhausted(&self, kind: ReqType) -> bool {
        let resource = matches!(
            self.status,
            Status::ZONE_OPEN_RESOURCE | Status::ZONE_ACTIVE_RESOURCE
        );
        self.kind == kind && resource
    }

    /// Whether it was about the offline zone.
    pub fn offline(&self) -> bool {
        self.zone() == OFFLINE_ZONE
    }
}

/// A host-managed disk that breaks a clause.
pub(super) const fn mutant(name: &'static str, breaks: &'static str, lens: Lens) -> Mutant {
    Mutant {
        name,
        breaks,
        lens,
        on: Some("host-managed"),
        ..Mutant::ALONE
    }
}

/// As [`mutant`], of answers.
pub(super) const fn answering(
    name: &'static str,
    breaks: &'static str,
    notified: fn(&mut Life, u16),
) -> Mutant {
    let lens = Lens {
        notified: Some(notified),
        ..Lens::CLEAR
    };
    mutant(name, breaks, lens)
}

/// As [`mutant`], of the configuration space.
pub(super) const fn saying(
    name: &'static str,
    breaks: &'static str,
    config: fn(&mut Life, usize, &mut [u8]),
) -> Mutant {
    let lens = Lens {
        config: Some(config),
        ..Lens::CLEAR
    };
    mutant(name, breaks, lens)
}

/// The request that was answered last, and its descriptors.
pub(super) fn answered(life: &Life, queue: u16) -> Option<(Answered, Vec<SplitDesc>)> {
    let (kind, chain) = last_request(life, queue);
    let [head, data @ .., status] = &chain[..] else {
        return None;
    };
    let answered = Answered {
        kind,
        sector: u64::from_le_bytes(life.read(head.address + 8)),
        sectors: data
            .first()
            .map_or(0, |data| u64::from(data.length) / SECTOR_SIZE),
        status: Status(life.read::<1>(status.address)[0]),
    };
    Some((answered, chain))
}

/// Puts another status where there is to be one.
pub(super) fn feign(life: &Life, queue: u16, other: impl Fn(&Answered) -> Option<Status>) {
    if let Some((answered, chain)) = answered(life, queue)
        && let (Some(other), Some(status)) = (other(&answered), chain.last())
    {
        life.write(status.address, &[other.0]);
    }
}
