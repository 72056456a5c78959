//! What the document says of zones, as simply as can be: of a request, all statuses that it may end with, and what it then
//! has changed.
//!
//! Of zones that are only preferred to be written in order the document says little; they are taken as the disk reports them.

use ringwright_spec::block::Status;
use ringwright_spec::block::zoned::ZoneState;

use ZoneState as S;

const CONVENTIONAL: u8 = 1;
const REQUIRED: u8 = 2;
const PREFERRED: u8 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Write,
    Append,
    Read,
    Open,
    Close,
    Finish,
    Reset,
    ResetAll,
}

/// A request. Data are all of one value.
#[derive(Debug)]
pub struct Request {
    pub kind: Kind,
    pub sector: u64,
    pub sectors: u64,
    pub value: u8,
}

/// One zone.
#[derive(Clone, Debug)]
pub struct Zone {
    pub start: u64,
    pub length: u64,
    pub capacity: u64,
    pub written: u64,
    pub kind: u8,
    pub state: S,
}

pub struct Model {
    pub zones: Vec<Zone>,
    max_open: u32,
    max_active: u32,
    max_append: u64,
    granularity: u64,
    /// The value of each sector.
    content: Vec<u8>,
    /// The zones are to be taken as they are reported, once.
    unknown: bool,
    /// Content and limits are as they should be: nobody has changed the state file.
    trusted: bool,
    /// One implicitly open zone may have been closed.
    closes_one: bool,
}

impl Model {
    /// For a disk of `size` bytes with this configuration space.
    pub fn new(config: &[u8], size: u64) -> Self {
        let word = |at: usize| u32::from_le_bytes(config[at..at + 4].try_into().expect("four bytes"));
        let zone_sectors = u64::from(word(72));
        let sectors = size / 512;
        let zone = |index: u64| Zone {
            start: index * zone_sectors,
            length: zone_sectors.min(sectors - index * zone_sectors),
            capacity: 0,
            written: 0,
            kind: 0,
            state: S::EMPTY,
        };
        Self {
            zones: (0..sectors.div_ceil(zone_sectors)).map(zone).collect(),
            max_open: word(76),
            max_active: word(80),
            max_append: word(84).into(),
            granularity: u64::from(word(88)) / 512,
            content: vec![0; sectors as usize],
            unknown: true,
            trusted: true,
            closes_one: false,
        }
    }

    /// Someone has changed the zones' state.
    pub fn distrust(&mut self) {
        self.unknown = true;
        self.trusted = false;
    }

    /// A request has ended so: that can be, and then this has become of the zones.
    pub fn apply(&mut self, request: &Request, status: Status, answer: &[u8]) {
        if self.unknown {
            return;
        }
        let failures = self.failures(request);
        if status != Status::OK {
            assert!(
                failures.contains(&status),
                "{request:?} has ended with {status:?}, which could have been {failures:?}: {:?}",
                self.zones
            );
            return;
        }
        assert!(
            failures.is_empty() || self.is_open_to_the_disk(request),
            "{request:?} has succeeded, and should have been {failures:?}: {:?}",
            self.zones
        );
        match request.kind {
            Kind::Read => self.check_read(request, answer),
            Kind::ResetAll => {
                for zone in &mut self.zones {
                    if matches!(zone.state, S::IOPEN | S::EOPEN | S::CLOSED | S::FULL) {
                        (zone.state, zone.written) = (S::EMPTY, 0);
                    }
                }
            }
            _ => self.change(request, answer),
        }
    }

    fn change(&mut self, request: &Request, answer: &[u8]) {
        let Some(index) = self.index(request.sector) else {
            return assert_eq!(request.sectors, 0, "what goes nowhere has no data");
        };
        let writes = matches!(request.kind, Kind::Write | Kind::Append);
        if writes && request.sectors == 0 {
            return;
        }
        let opens = matches!(self.zones[index].state, S::EMPTY | S::CLOSED);
        let several = self.is_open_to_the_disk(request);
        if opens && !several && (writes || request.kind == Kind::Open) && self.is_open_limit_reached() {
            self.closes_one = true;
        }
        let zone = &mut self.zones[index];
        match request.kind {
            Kind::Open => zone.state = S::EOPEN,
            Kind::Close if zone.written == 0 => zone.state = S::EMPTY,
            Kind::Close => zone.state = S::CLOSED,
            Kind::Finish => zone.state = S::FULL,
            Kind::Reset => (zone.state, zone.written) = (S::EMPTY, 0),
            _ => {
                let mut sector = request.sector;
                if request.kind == Kind::Append {
                    sector = u64::from_le_bytes(answer.try_into().expect("eight bytes"));
                    assert_eq!(sector, zone.start + zone.written, "where data were appended");
                }
                if zone.kind == REQUIRED {
                    zone.written += request.sectors;
                    if zone.state != S::EOPEN {
                        zone.state = S::IOPEN;
                    }
                    if zone.written == zone.capacity {
                        zone.state = S::FULL;
                    }
                }
                // What the document leaves open is as the disk says.
                self.unknown = self.zones.iter().any(|zone| zone.kind == PREFERRED);
                let at = sector as usize;
                self.content[at..at + request.sectors as usize].fill(request.value);
            }
        }
    }

    /// What a request may fail with; nothing if it has to succeed.
    fn failures(&self, request: &Request) -> Vec<Status> {
        let Request {
            kind,
            sector,
            sectors,
            ..
        } = *request;
        let end = sector.checked_add(sectors);
        let transfers = matches!(kind, Kind::Read | Kind::Write);
        if kind == Kind::ResetAll || transfers && sectors == 0 && self.fits(end) {
            return Vec::new();
        }
        if kind == Kind::Append && sectors > self.max_append {
            return vec![match self.max_append {
                0 => Status::UNSUPP,
                _ => Status::ZONE_INVALID_CMD,
            }];
        }
        let Some(index) = self.index(sector) else {
            return vec![Status::IOERR, Status::ZONE_INVALID_CMD];
        };
        let zone = &self.zones[index];
        let mut failures = Vec::new();
        let mut fail = |is: bool, status| {
            if is {
                failures.push(status);
            }
        };
        let invalid = Status::ZONE_INVALID_CMD;
        let crosses = end.is_none_or(|end| end > zone.start + zone.length);
        match kind {
            Kind::Read | Kind::Write => {
                fail(!self.fits(end), Status::IOERR);
                let last = end.unwrap_or(u64::MAX);
                let touched = || {
                    let after = move |zone: &&Zone| zone.start < last;
                    self.zones[index..].iter().take_while(after)
                };
                fail(crosses && touched().any(|zone| zone.kind == REQUIRED), invalid);
                fail(touched().any(|zone| zone.state == S::OFFLINE), invalid);
                if kind == Kind::Write {
                    fail(touched().any(|zone| zone.state == S::RDONLY), invalid);
                    let beyond = |zone: &Zone| {
                        zone.kind != CONVENTIONAL
                            && last.min(zone.start + zone.length) > zone.start + zone.capacity
                    };
                    fail(touched().any(beyond), invalid);
                    // Which zones are closed for which others is the disk's affair.
                    for status in [Status::ZONE_OPEN_RESOURCE, Status::ZONE_ACTIVE_RESOURCE] {
                        fail(self.is_open_to_the_disk(request), status);
                    }
                }
            }
            Kind::Append => {
                fail(zone.start != sector, invalid);
                fail(zone.kind != REQUIRED, invalid);
                fail(sectors == 0, invalid);
            }
            _ => {
                fail(zone.start != sector, invalid);
                fail(zone.kind == CONVENTIONAL, invalid);
                let possible = match kind {
                    Kind::Open => matches!(zone.state, S::EMPTY | S::IOPEN | S::EOPEN | S::CLOSED),
                    Kind::Close => matches!(zone.state, S::IOPEN | S::EOPEN | S::CLOSED),
                    // The document has no way from empty and closed to full; the disk has.
                    _ => !matches!(zone.state, S::RDONLY | S::OFFLINE),
                };
                fail(!possible, invalid);
            }
        }
        let writes = matches!(kind, Kind::Write | Kind::Append);
        if writes && zone.kind == REQUIRED {
            let at = if kind == Kind::Append {
                zone.start + zone.written
            } else {
                sector
            };
            fail(matches!(zone.state, S::FULL | S::RDONLY | S::OFFLINE), invalid);
            fail(zone.start + zone.written != at, Status::ZONE_UNALIGNED_WP);
            let end = at + sectors;
            fail(
                !end.is_multiple_of(self.granularity) && !(end - zone.start).is_multiple_of(self.granularity),
                Status::ZONE_UNALIGNED_WP,
            );
            fail(end > zone.start + zone.capacity, invalid);
        }
        let opens = zone.kind != CONVENTIONAL && (writes || kind == Kind::Open);
        if failures.is_empty() && opens {
            failures.extend(self.resources(zone.state));
        }
        failures
    }

    /// A write that goes over several zones, which are then only preferred to be written in order.
    fn is_open_to_the_disk(&self, request: &Request) -> bool {
        let zone = self.index(request.sector).map(|index| &self.zones[index]);
        let crosses = |zone: &Zone| request.sector + request.sectors > zone.start + zone.length;
        request.kind == Kind::Write
            && self.zones.iter().any(|zone| zone.kind == PREFERRED)
            && zone.is_some_and(crosses)
    }

    /// What is missing for a zone that is in `state` to be open.
    fn resources(&self, state: S) -> Option<Status> {
        let active = state == S::EMPTY && self.max_active != 0 && self.active() >= self.max_active;
        let can_close = self.zones.iter().any(|zone| zone.state == S::IOPEN);
        let opens = matches!(state, S::EMPTY | S::CLOSED);
        if active {
            // If both are missing, this is the one that is said.
            return Some(Status::ZONE_ACTIVE_RESOURCE);
        }
        (opens && self.is_open_limit_reached() && !can_close).then_some(Status::ZONE_OPEN_RESOURCE)
    }

    fn is_open_limit_reached(&self) -> bool {
        self.max_open != 0 && self.open() >= self.max_open
    }

    fn open(&self) -> u32 {
        let open = |zone: &&Zone| matches!(zone.state, S::IOPEN | S::EOPEN);
        self.zones.iter().filter(open).count() as u32
    }

    fn active(&self) -> u32 {
        let closed = |zone: &&Zone| zone.state == S::CLOSED;
        self.open() + self.zones.iter().filter(closed).count() as u32
    }

    fn fits(&self, end: Option<u64>) -> bool {
        end.is_some_and(|end| end <= self.content.len() as u64)
    }

    fn index(&self, sector: u64) -> Option<usize> {
        let within = |zone: &Zone| (zone.start..zone.start + zone.length).contains(&sector);
        self.zones.iter().position(within)
    }

    /// What was read: what was written before the write pointer, and zeroes behind it.
    fn check_read(&self, request: &Request, answer: &[u8]) {
        for (sector, found) in (request.sector..).zip(answer.chunks(512)) {
            let index = self.index(sector).expect("within the disk");
            let zone = &self.zones[index];
            let written = zone.kind == CONVENTIONAL || sector < zone.start + zone.written;
            // Of what was not written to a preferred zone nothing is known but behind its pointer.
            let expected = match written {
                true if !self.trusted || zone.kind == PREFERRED => continue,
                true => self.content[sector as usize],
                false => 0,
            };
            let same = found.iter().all(|byte| *byte == expected);
            assert!(same, "sector {sector}: {} in place of {expected}", found[0]);
        }
    }

    /// What is reported is what is known.
    pub fn compare(&mut self, report: &[u8]) {
        let number = |at: usize| u64::from_le_bytes(report[at..at + 8].try_into().expect("eight bytes"));
        assert_eq!(number(0), self.zones.len() as u64, "zones in a report");
        for index in 0..self.zones.len() {
            let at = 64 + 64 * index;
            let (capacity, start, pointer) = (number(at), number(at + 8), number(at + 16));
            let (kind, state) = (report[at + 24], S(report[at + 25]));
            let zone = &mut self.zones[index];
            assert_eq!(start, zone.start);
            if self.unknown {
                assert!(capacity <= zone.length && (CONVENTIONAL..=PREFERRED).contains(&kind));
                (zone.capacity, zone.kind, zone.state) = (capacity, kind, state);
                if matches!(state, S::EMPTY | S::IOPEN | S::EOPEN | S::CLOSED) {
                    zone.written = pointer.checked_sub(start).expect("a pointer in its zone");
                } else if state == S::FULL && zone.written == 0 {
                    zone.written = capacity;
                }
                let possible = match state {
                    S::NOT_WP => kind == CONVENTIONAL,
                    S::EMPTY => zone.written == 0,
                    S::IOPEN | S::EOPEN | S::CLOSED | S::FULL => {
                        kind != CONVENTIONAL && zone.written <= capacity
                    }
                    S::RDONLY | S::OFFLINE => true,
                    _ => false,
                };
                assert!(possible, "{zone:?}");
                continue;
            }
            assert_eq!((capacity, kind), (zone.capacity, zone.kind));
            let closed = if zone.written == 0 { S::EMPTY } else { S::CLOSED };
            if self.closes_one && zone.state == S::IOPEN && state == closed {
                self.closes_one = false;
                zone.state = closed;
            }
            assert_eq!(state, zone.state, "zone {index}");
            if matches!(state, S::EMPTY | S::IOPEN | S::EOPEN | S::CLOSED) {
                assert_eq!(pointer, start + zone.written, "zone {index}");
            }
        }
        assert!(!self.closes_one || self.unknown, "a zone had to be closed");
        (self.unknown, self.closes_one) = (false, false);
        if self.trusted {
            assert!(self.max_open == 0 || self.open() <= self.max_open, "open zones");
            assert!(
                self.max_active == 0 || self.active() <= self.max_active,
                "active zones"
            );
        }
    }
}
