//! What a zoned disk says of its zones.

use core::mem::size_of;

use ringwright_memory::Buffer;
use ringwright_spec::block::zoned::{ZoneDescriptor, ZoneReport, ZoneState, ZoneType};
use zerocopy::{FromZeros, IntoBytes};

/// Bytes of the head of a report.
pub(super) const REPORT_BYTES: usize = size_of::<ZoneReport>();

/// Bytes of each zone in a report.
pub(super) const ZONE_BYTES: usize = size_of::<ZoneDescriptor>();

/// One zone of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone {
    /// First sector.
    pub start: u64,
    /// Sectors that can be written while it is empty.
    pub capacity: u64,
    /// Sector of the next write; `None` where there is none: of conventional, read-only, full and offline zones.
    pub write_pointer: Option<u64>,
    /// Whether it is conventional, or how it is sequential.
    pub kind: ZoneType,
    /// Its state.
    pub state: ZoneState,
}

/// The zones in `buffer`, which a [`zone_report`](super::Request::zone_report) has filled. `None` in place of one that
/// contradicts itself, and for a report that says it holds more than it has room for.
pub fn read_report(buffer: &Buffer) -> impl Iterator<Item = Option<Zone>> + '_ {
    let mut head = ZoneReport::new_zeroed();
    let room = match buffer.read(0, head.as_mut_bytes()) {
        Ok(()) => (buffer.len() - REPORT_BYTES) / ZONE_BYTES,
        Err(_) => 0,
    };
    let count = usize::try_from(head.nr_zones.get()).unwrap_or(usize::MAX);
    let too_many = count > room;
    (0..count.min(room))
        .map(|index| {
            let mut zone = ZoneDescriptor::new_zeroed();
            let at = REPORT_BYTES + index * ZONE_BYTES;
            buffer.read(at, zone.as_mut_bytes()).ok()?;
            checked(&zone)
        })
        .chain(too_many.then_some(None))
}

/// A zone as it is described, if that can be.
fn checked(zone: &ZoneDescriptor) -> Option<Zone> {
    let (start, capacity) = (zone.z_start.get(), zone.z_cap.get());
    let end = start.checked_add(capacity)?;
    let (kind, state) = (ZoneType(zone.z_type), ZoneState(zone.z_state));
    let write_pointer = match state {
        ZoneState::EMPTY | ZoneState::IOPEN | ZoneState::EOPEN | ZoneState::CLOSED => {
            Some(zone.z_wp.get()).filter(|pointer| (start..=end).contains(pointer))
        }
        _ => None,
    };
    let consistent = match (kind, state) {
        (ZoneType::CONV, ZoneState::NOT_WP) => true,
        (ZoneType::SWR | ZoneType::SWP, ZoneState::EMPTY) => write_pointer == Some(start),
        (ZoneType::SWR | ZoneType::SWP, ZoneState::IOPEN | ZoneState::EOPEN | ZoneState::CLOSED) => {
            write_pointer.is_some()
        }
        (ZoneType::CONV | ZoneType::SWR | ZoneType::SWP, ZoneState::RDONLY | ZoneState::OFFLINE)
        | (ZoneType::SWR | ZoneType::SWP, ZoneState::FULL) => true,
        _ => false,
    };
    consistent.then_some(Zone {
        start,
        capacity,
        write_pointer,
        kind,
        state,
    })
}
