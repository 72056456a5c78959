//! The zones of a zoned disk, as a state machine: what each request does to them, and which ones they refuse
//! (section 5.2.6). No data are touched here.
//!
//! Which transitions there are is what the document lists, with one addition: a closed or empty zone can be finished, as in
//! the zoned block device standards, because the device closes zones on its own, and a driver would be refused for what
//! it cannot know.

use std::collections::VecDeque;
use std::ops::Range;

use ringwright_spec::block::Status;
use ringwright_spec::block::zoned::{Model, ZoneDescriptor, ZoneState, ZoneType};

/// How a disk is divided, and what its driver is held to. All numbers are in sectors of 512 bytes, but those of zones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Host-managed or host-aware.
    pub model: Model,
    /// Sectors of the disk.
    pub capacity: u64,
    /// Sectors of each zone but the last, which may be smaller. Not 0.
    pub zone_sectors: u32,
    /// Sectors of a zone that can be written; at most `zone_sectors`.
    pub zone_capacity: u32,
    /// The first so many zones are conventional.
    pub conventional: u32,
    /// Most open zones; 0 for no limit.
    pub max_open: u32,
    /// Most active zones, which are those that are open or closed; 0 for no limit.
    pub max_active: u32,
    /// Most sectors of an append; 0 if there is none.
    pub max_append: u32,
    /// Alignment of writes to sequential zones. Not 0.
    pub write_granularity: u32,
}

/// What a zone is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its state.
    pub state: ZoneState,
    /// Sectors from its beginning to its write pointer.
    pub written: u64,
}

/// The zones of a disk.
#[derive(Clone, Debug)]
pub struct Zones {
    shape: Shape,
    zones: Vec<Zone>,
    /// The implicitly open zones, in the order that they were opened. Only kept if something is limited.
    implicit: VecDeque<usize>,
    /// Number of explicitly open zones.
    explicit: u32,
    /// Number of closed zones.
    closed: u32,
    /// Zones that have changed since they were last asked for.
    changed: Vec<usize>,
}

/// A part of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Number of sectors.
    pub sectors: u64,
    /// Whether they have been written; others read as zeroes.
    pub written: bool,
}

impl Shape {
    /// Number of zones.
    pub fn count(&self) -> usize {
        usize::try_from(self.capacity.div_ceil(self.zone_sectors.into())).unwrap_or(usize::MAX)
    }

    fn start(&self, index: usize) -> u64 {
        index as u64 * u64::from(self.zone_sectors)
    }

    /// The sectors of a zone.
    pub fn sectors(&self, index: usize) -> Range<u64> {
        let start = self.start(index);
        start..(start + u64::from(self.zone_sectors)).min(self.capacity)
    }

    /// Number of sectors of a zone that can be written.
    pub fn writable(&self, index: usize) -> u64 {
        let sectors = self.sectors(index);
        (sectors.end - sectors.start).min(self.zone_capacity.into())
    }

    /// Which type a zone has.
    pub fn kind(&self, index: usize) -> ZoneType {
        if index < self.conventional as usize {
            ZoneType::CONV
        } else if self.model == Model::HM {
            ZoneType::SWR
        } else {
            ZoneType::SWP
        }
    }

    /// The zone that a sector belongs to.
    fn index(&self, sector: u64) -> Option<usize> {
        let index = usize::try_from(sector / u64::from(self.zone_sectors)).ok()?;
        (sector < self.capacity).then_some(index)
    }

    /// The zone that begins at `sector`.
    fn beginning_at(&self, sector: u64) -> Result<usize, Status> {
        self.index(sector)
            .filter(|index| self.start(*index) == sector)
            .ok_or(Status::ZONE_INVALID_CMD)
    }

    /// The zones that a range of at least one sector touches.
    fn touched(&self, sector: u64, sectors: u64) -> Result<Range<usize>, Status> {
        let last = sector.checked_add(sectors - 1).and_then(|last| self.index(last));
        match (self.index(sector), last) {
            (Some(first), Some(last)) => Ok(first..last + 1),
            _ => Err(Status::IOERR),
        }
    }
}

impl Zones {
    /// The zones of a disk that nobody has written to.
    pub fn new(shape: Shape) -> Self {
        let zone = |index| Zone {
            state: match shape.kind(index) {
                ZoneType::CONV => ZoneState::NOT_WP,
                _ => ZoneState::EMPTY,
            },
            written: 0,
        };
        Self {
            shape,
            zones: (0..shape.count()).map(zone).collect(),
            implicit: VecDeque::new(),
            explicit: 0,
            closed: 0,
            changed: Vec::new(),
        }
    }

    /// How the disk is divided.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// A zone.
    pub fn get(&self, index: usize) -> Option<Zone> {
        self.zones.get(index).copied()
    }

    /// Makes a zone what it once was, or what has become of it: the only way to
    /// [`ZoneState::RDONLY`] and [`ZoneState::OFFLINE`], which is what a device does when its hardware fails. `None` if a
    /// zone cannot be so.
    pub fn put(&mut self, index: usize, zone: Zone) -> Option<()> {
        if index >= self.zones.len() {
            return None;
        }
        let (kind, room) = (self.shape.kind(index), self.shape.writable(index));
        let possible = match zone.state {
            ZoneState::NOT_WP => kind == ZoneType::CONV && zone.written == 0,
            ZoneState::EMPTY => kind != ZoneType::CONV && zone.written == 0,
            ZoneState::IOPEN | ZoneState::EOPEN | ZoneState::CLOSED | ZoneState::FULL => {
                kind != ZoneType::CONV && zone.written <= room
            }
            ZoneState::RDONLY | ZoneState::OFFLINE => zone.written <= room,
            _ => false,
        };
        if !possible {
            return None;
        }
        self.set(index, zone.state, zone.written);
        Some(())
    }

    /// Zones that have changed since this was last called.
    pub fn take_changed(&mut self) -> impl Iterator<Item = (usize, Zone)> + '_ {
        let zones = &self.zones;
        self.changed.drain(..).map(|index| (index, zones[index]))
    }

    /// Number of open zones, and of active ones.
    pub fn resources(&self) -> (u32, u32) {
        let open = self.implicit.len() as u32 + self.explicit;
        (open, open + self.closed)
    }

    /// A read of at least one sector: what it finds, piece by piece.
    pub fn read(&self, sector: u64, sectors: u64) -> Result<impl Iterator<Item = Piece> + '_, Status> {
        let touched = self.shape.touched(sector, sectors)?;
        self.refuse_crossing(&touched)?;
        let offline = |index: usize| self.zones[index].state == ZoneState::OFFLINE;
        // dev:blk:device-operation:34
        if touched.clone().any(offline) {
            return Err(Status::ZONE_INVALID_CMD);
        }
        let end = sector + sectors;
        Ok(touched.flat_map(move |index| {
            let zone = self.shape.sectors(index);
            let (from, to) = (zone.start.max(sector), zone.end.min(end));
            // dev:blk:device-operation:35
            let border = match self.shape.kind(index) {
                ZoneType::CONV => zone.end,
                _ => zone.start + self.zones[index].written,
            };
            let border = border.clamp(from, to);
            let piece = |sectors, written| Piece { sectors, written };
            [piece(border - from, true), piece(to - border, false)]
                .into_iter()
                .filter(|piece| piece.sectors != 0)
        }))
    }

    /// A write of at least one sector, if it may be: it is taken for done.
    pub fn write(&mut self, sector: u64, sectors: u64) -> Result<(), Status> {
        let touched = self.shape.touched(sector, sectors)?;
        self.refuse_crossing(&touched)?;
        if touched.len() == 1 {
            return self.write_zone(touched.start, sector, sectors);
        }
        let before = self.zones[touched.clone()].to_vec();
        let end = sector + sectors;
        for index in touched.clone() {
            let zone = self.shape.sectors(index);
            let (from, to) = (zone.start.max(sector), zone.end.min(end));
            if let Err(status) = self.write_zone(index, from, to - from) {
                for (index, zone) in touched.zip(before) {
                    self.set(index, zone.state, zone.written);
                }
                return Err(status);
            }
        }
        Ok(())
    }

    /// An append of `sectors` to the zone that begins at `sector`, if it may be: where it goes. It is taken for done.
    pub fn append(&mut self, sector: u64, sectors: u64) -> Result<u64, Status> {
        let shape = self.shape;
        if sectors > shape.max_append.into() {
            return Err(match shape.max_append {
                // dev:blk:device-operation:28
                0 => Status::UNSUPP,
                // dev:blk:device-operation:29
                _ => Status::ZONE_INVALID_CMD,
            });
        }
        // dev:blk:device-operation:25
        let index = shape.beginning_at(sector)?;
        // dev:blk:device-operation:18
        if shape.kind(index) != ZoneType::SWR || sectors == 0 {
            return Err(Status::ZONE_INVALID_CMD);
        }
        let at = sector + self.zones[index].written;
        self.write_zone(index, at, sectors)?;
        Ok(at)
    }

    /// Takes back a write to a sequential zone whose data could not be written, if nothing has been written to the zone
    /// after them.
    pub fn retract(&mut self, sector: u64, sectors: u64) {
        let Some(index) = self.shape.index(sector) else {
            return;
        };
        let Zone { state, written } = self.zones[index];
        let before = sector - self.shape.start(index);
        if before + sectors != written || self.shape.kind(index) == ZoneType::CONV {
            return;
        }
        match state {
            ZoneState::IOPEN | ZoneState::EOPEN | ZoneState::CLOSED => self.set(index, state, before),
            // It was open before the write, and may be again if there is room.
            ZoneState::FULL if written == self.shape.writable(index) && self.admit(1, 1).is_ok() => {
                self.set(index, ZoneState::IOPEN, before);
            }
            _ => {}
        }
    }

    /// Opens the zone that begins at `sector` explicitly.
    pub fn open(&mut self, sector: u64) -> Result<(), Status> {
        let index = self.sequential(sector)?;
        let Zone { state, written } = self.zones[index];
        match state {
            ZoneState::EOPEN => return Ok(()),
            ZoneState::IOPEN => {}
            ZoneState::CLOSED => self.admit(1, 0)?,
            ZoneState::EMPTY => self.admit(1, 1)?,
            // dev:blk:device-operation:19
            _ => return Err(Status::ZONE_INVALID_CMD),
        }
        self.set(index, ZoneState::EOPEN, written);
        Ok(())
    }

    /// Closes the zone that begins at `sector`.
    pub fn close(&mut self, sector: u64) -> Result<(), Status> {
        let index = self.sequential(sector)?;
        let Zone { state, written } = self.zones[index];
        match state {
            ZoneState::CLOSED => {}
            ZoneState::IOPEN | ZoneState::EOPEN => self.set_closed(index, written),
            // dev:blk:device-operation:21
            _ => return Err(Status::ZONE_INVALID_CMD),
        }
        Ok(())
    }

    /// Makes the zone that begins at `sector` full. What has not been written stays unwritten
    /// (`dev:blk:device-operation:35`).
    pub fn finish(&mut self, sector: u64) -> Result<(), Status> {
        let index = self.sequential(sector)?;
        let Zone { state, written } = self.zones[index];
        match state {
            ZoneState::FULL => {}
            ZoneState::EMPTY | ZoneState::IOPEN | ZoneState::EOPEN | ZoneState::CLOSED => {
                self.set(index, ZoneState::FULL, written);
            }
            // dev:blk:device-operation:22
            _ => return Err(Status::ZONE_INVALID_CMD),
        }
        Ok(())
    }

    /// Makes the zone that begins at `sector` empty. Gives the sectors whose data are not needed any more.
    pub fn reset(&mut self, sector: u64) -> Result<Range<u64>, Status> {
        let index = self.sequential(sector)?;
        let Zone { state, written } = self.zones[index];
        match state {
            ZoneState::EMPTY => {}
            ZoneState::IOPEN | ZoneState::EOPEN | ZoneState::CLOSED | ZoneState::FULL => {
                self.set(index, ZoneState::EMPTY, 0);
            }
            // dev:blk:device-operation:23
            _ => return Err(Status::ZONE_INVALID_CMD),
        }
        Ok(sector..sector + written)
    }

    /// Whether [`reset`](Self::reset) makes this zone empty, which is what resetting all of them asks first: zones that are
    /// not in a state to be reset are left alone.
    pub fn can_be_reset(&self, index: usize) -> bool {
        self.zones.get(index).is_some_and(|zone| {
            matches!(
                zone.state,
                ZoneState::IOPEN | ZoneState::EOPEN | ZoneState::CLOSED | ZoneState::FULL
            )
        })
    }

    /// The descriptors of the zones from the one that contains `sector` on.
    pub fn report(&self, sector: u64) -> Result<impl Iterator<Item = ZoneDescriptor> + '_, Status> {
        let first = self.shape.index(sector).ok_or(Status::ZONE_INVALID_CMD)?;
        Ok((first..self.zones.len()).map(|index| self.describe(index)))
    }

    fn describe(&self, index: usize) -> ZoneDescriptor {
        let Zone { state, written } = self.zones[index];
        let start = self.shape.start(index);
        let kind = self.shape.kind(index);
        // Undefined where there is no write pointer, so it is what least surprises: the end.
        let pointer = match state {
            ZoneState::EMPTY | ZoneState::IOPEN | ZoneState::EOPEN | ZoneState::CLOSED => start + written,
            _ => self.shape.sectors(index).end,
        };
        ZoneDescriptor {
            z_cap: match kind {
                ZoneType::CONV => self.shape.sectors(index).end - start,
                _ => self.shape.writable(index),
            }
            .into(),
            z_start: start.into(),
            z_wp: pointer.into(),
            z_type: kind.0,
            z_state: state.0,
            reserved: [0; 38],
        }
    }

    /// A transfer from or to a zone that is written in order stays in it (`dev:blk:device-operation:30`).
    fn refuse_crossing(&self, touched: &Range<usize>) -> Result<(), Status> {
        let in_order = |index| self.shape.kind(index) == ZoneType::SWR;
        match touched.len() > 1 && touched.clone().any(in_order) {
            true => Err(Status::ZONE_INVALID_CMD),
            false => Ok(()),
        }
    }

    /// The sequential zone that begins at `sector`; the others have no states to go through
    /// (`dev:blk:device-operation:17`).
    fn sequential(&self, sector: u64) -> Result<usize, Status> {
        let index = self.shape.beginning_at(sector)?;
        match self.shape.kind(index) {
            ZoneType::CONV => Err(Status::ZONE_INVALID_CMD),
            _ => Ok(index),
        }
    }

    /// A write within one zone.
    fn write_zone(&mut self, index: usize, sector: u64, sectors: u64) -> Result<(), Status> {
        let (kind, room) = (self.shape.kind(index), self.shape.writable(index));
        let Zone { state, written } = self.zones[index];
        if matches!(state, ZoneState::RDONLY | ZoneState::OFFLINE) {
            // dev:blk:device-operation:33, dev:blk:device-operation:34
            return Err(Status::ZONE_INVALID_CMD);
        }
        if kind == ZoneType::CONV {
            return Ok(());
        }
        let offset = sector - self.shape.start(index);
        let end = offset + sectors;
        if kind == ZoneType::SWR {
            if state == ZoneState::FULL {
                return Err(Status::ZONE_INVALID_CMD);
            }
            // dev:blk:device-operation:31
            if offset != written || !end.is_multiple_of(self.shape.write_granularity.into()) {
                return Err(Status::ZONE_UNALIGNED_WP);
            }
        }
        // dev:blk:device-operation:26
        if end > room {
            return Err(Status::ZONE_INVALID_CMD);
        }
        let state = match state {
            ZoneState::EMPTY => {
                self.admit(1, 1)?;
                ZoneState::IOPEN
            }
            ZoneState::CLOSED => {
                self.admit(1, 0)?;
                ZoneState::IOPEN
            }
            open_or_full => open_or_full,
        };
        // A write to a preferred zone may be anywhere: the pointer then is behind the last one.
        let written = written.max(end);
        let state = if written == room { ZoneState::FULL } else { state };
        self.set(index, state, written);
        Ok(())
    }

    /// Makes room for `open` more open zones and `active` more active ones. An implicitly open zone is closed for an open
    /// one where that helps (`dev:blk:device-operation:32`); if both limits are in the way the second one is named
    /// (`dev:blk:device-operation:20`, `dev:blk:device-operation:24`).
    fn admit(&mut self, open: u32, active: u32) -> Result<(), Status> {
        let (open_now, active_now) = self.resources();
        let Shape {
            max_open, max_active, ..
        } = self.shape;
        if max_active != 0 && active_now + active > max_active {
            return Err(Status::ZONE_ACTIVE_RESOURCE);
        }
        if max_open != 0 && open_now + open > max_open {
            let Some(oldest) = self.implicit.front().copied() else {
                return Err(Status::ZONE_OPEN_RESOURCE);
            };
            self.set_closed(oldest, self.zones[oldest].written);
        }
        Ok(())
    }

    /// What an open zone is after it was closed: one that nothing was written to is empty.
    fn set_closed(&mut self, index: usize, written: u64) {
        match written {
            0 => self.set(index, ZoneState::EMPTY, 0),
            _ => self.set(index, ZoneState::CLOSED, written),
        }
    }

    /// Changes a zone, and counts.
    fn set(&mut self, index: usize, state: ZoneState, written: u64) {
        let limited = self.shape.max_open != 0 || self.shape.max_active != 0;
        let before = std::mem::replace(&mut self.zones[index], Zone { state, written });
        if limited && before.state != state {
            match before.state {
                ZoneState::IOPEN => self.implicit.retain(|other| *other != index),
                ZoneState::EOPEN => self.explicit -= 1,
                ZoneState::CLOSED => self.closed -= 1,
                _ => {}
            }
            match state {
                ZoneState::IOPEN => self.implicit.push_back(index),
                ZoneState::EOPEN => self.explicit += 1,
                ZoneState::CLOSED => self.closed += 1,
                _ => {}
            }
        }
        if self.changed.last() != Some(&index) {
            self.changed.push(index);
        }
    }
}

#[cfg(test)]
#[path = "zones_tests.rs"]
mod tests;
