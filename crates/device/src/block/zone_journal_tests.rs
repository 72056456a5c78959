//! The process that has a zoned disk is killed before or after anything that it does to the disk, and another one is given
//! what was in flight once more.

use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ringwright_memory::{Area, Buffer, Mapping, Region, Slices};
use ringwright_ring::ByteOrder;
use ringwright_spec::block::zoned::{Model, ZoneState};
use ringwright_spec::block::{DiscardWriteZeroesFlags, ReqType, Status, features};
use ringwright_spec::feature;

use super::ZoneFile;
use super::backend::Request;
use super::request::{Asked, Failure, Limits, Terms};
use super::zone_file::Chain;
use super::zoned::{Given, ZonedDisk};
use super::zones::{Shape, Zone, Zones};

/// What a killed process ends with.
struct Killed;

thread_local! {
    /// Crash points that the process lives for; `None` for ever.
    static LIFE: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Comes before and after everything that outlives the process.
pub(super) fn crash_point() {
    if let Some(left) = LIFE.get() {
        if left == 0 {
            resume_unwind(Box::new(Killed));
        }
        LIFE.set(Some(left - 1));
    }
}

/// What a process does, unless it is killed meanwhile.
fn alive<R>(does: impl FnOnce() -> R) -> Result<R, Killed> {
    catch_unwind(AssertUnwindSafe(does)).map_err(|payload| match payload.downcast::<Killed>() {
        Ok(killed) => *killed,
        Err(payload) => resume_unwind(payload),
    })
}

fn next(seed: &mut u64, below: u64) -> u64 {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) % below
}

const ZONE: u64 = 16;
const COUNT: u64 = 5;
const QUEUES: u16 = 2;
const DEPTH: u16 = 8;

fn shape() -> Shape {
    Shape {
        model: Model::HM,
        capacity: ZONE * COUNT,
        zone_sectors: ZONE as u32,
        zone_capacity: ZONE as u32,
        conventional: 1,
        max_open: 2,
        max_active: 3,
        max_append: 4,
        write_granularity: 1,
    }
}

/// A request, and where its data are.
#[derive(Clone, Copy, Debug)]
struct Work {
    kind: ReqType,
    sector: u64,
    sectors: u64,
    serial: u8,
    id: u16,
}

/// Status, and sector of an append.
type Answer = (Status, u64);

/// A disk, the process that has it, and what both should know.
struct World {
    folder: tempfile::TempDir,
    data: Buffer,
    answer: Buffer,
    content: Vec<u8>,
    disk: Option<ZonedDisk>,
    /// Where each request is carried out once, and its data.
    twin: Zones,
    expected: Vec<u8>,
    /// In flight on each queue, in the order of taking, with the answers that are due, if they were begun.
    in_flight: Vec<Vec<(Work, Option<Answer>)>>,
    serial: u8,
    write_through: bool,
    kills: u32,
    repeated: u32,
}

impl World {
    fn new(write_through: bool) -> Self {
        let region = Region::new(0, Arc::new(Mapping::anonymous(1 << 16).unwrap()));
        let area = Area::from_region(region).unwrap();
        Self {
            folder: tempfile::tempdir().unwrap(),
            data: area.allocate(4 * 512, 1).unwrap(),
            answer: area.allocate(8, 1).unwrap(),
            content: vec![0; (ZONE * COUNT * 512) as usize],
            disk: None,
            twin: Zones::new(shape()),
            expected: vec![0; (ZONE * COUNT * 512) as usize],
            in_flight: vec![Vec::new(); QUEUES.into()],
            serial: 0,
            write_through,
            kills: 0,
            repeated: 0,
        }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("zones")
    }

    fn terms(&self) -> Terms {
        let limits = Limits {
            sectors: 64,
            ranges: 4,
            flags: DiscardWriteZeroesFlags::NONE,
        };
        Terms {
            serial: [0; 20],
            capacity: ZONE * COUNT * 512,
            block_size: 512,
            read_only: false,
            features: features::ZONED | feature::VERSION_1,
            byte_order: ByteOrder::Little,
            write_back: Arc::new(AtomicBool::new(!self.write_through)),
            lifetime: None,
            may_unmap: true,
            discard: limits,
            erase: limits,
        }
    }

    fn random_work(&mut self, seed: &mut u64, id: u16) -> Work {
        let zone = next(seed, COUNT);
        let sectors = 1 + next(seed, 4);
        let start = zone * ZONE;
        let written = self.twin.get(zone as usize).unwrap().written;
        self.serial = self.serial.wrapping_add(1);
        let (kind, sector) = match next(seed, 10) {
            0..=3 => (ReqType::ZONE_APPEND, start),
            4..=5 => (ReqType::OUT, start + written.min(ZONE - 1)),
            6 => (ReqType::ZONE_OPEN, start),
            7 => (ReqType::ZONE_CLOSE, start),
            8 if next(seed, 3) == 0 => (ReqType::ZONE_FINISH, start),
            // A part of its effect may come before what was asked for before it, and is repeated.
            8 if id == 0 => (ReqType::ZONE_RESET_ALL, 0),
            _ => (ReqType::ZONE_RESET, start),
        };
        Work {
            kind,
            sector,
            sectors: sectors.min(ZONE * COUNT - sector),
            serial: self.serial,
            id,
        }
    }

    /// What a request comes to if it is carried out once, and now.
    fn expect(&mut self, work: Work) -> Answer {
        let Work {
            kind,
            sector,
            sectors,
            serial,
            ..
        } = work;
        let twin = &mut self.twin;
        let mut placed = None;
        let outcome = match kind {
            ReqType::OUT => twin.write(sector, sectors).map(|()| placed = Some(sector)),
            ReqType::ZONE_APPEND => twin.append(sector, sectors).map(|at| placed = Some(at)),
            ReqType::ZONE_OPEN => twin.open(sector),
            ReqType::ZONE_CLOSE => twin.close(sector),
            ReqType::ZONE_FINISH => twin.finish(sector),
            ReqType::ZONE_RESET => twin.reset(sector).map(drop),
            _ => {
                for index in 0..COUNT as usize {
                    if twin.can_be_reset(index) {
                        twin.reset(index as u64 * ZONE).unwrap();
                    }
                }
                Ok(())
            }
        };
        if let Some(at) = placed {
            self.expected[(at * 512) as usize..][..(sectors * 512) as usize].fill(serial);
        }
        match (outcome, kind) {
            (Err(status), _) => (status, 0),
            (Ok(()), ReqType::ZONE_APPEND) => (Status::OK, placed.unwrap()),
            (Ok(()), _) => (Status::OK, 0),
        }
    }

    /// Has the process carry a request out. It may be killed meanwhile.
    fn perform(&mut self, queue: u16, work: Work, repeated: bool) -> Result<Answer, Killed> {
        let terms = self.terms();
        let length = (work.sectors * 512) as usize;
        self.data.write(0, &vec![work.serial; length]).unwrap();
        let readable = self.data.slices().part(0, length).unwrap();
        let (disk, content, answer) = (&self.disk, &mut self.content, &self.answer);
        let mut carry_out = |request: Request<'_>| -> io::Result<()> {
            crash_point();
            match request {
                Request::Write { offset, from, .. } => {
                    for at in (0..from.len()).step_by(512) {
                        from.read(at, &mut content[offset as usize + at..][..512])
                            .unwrap();
                        crash_point();
                    }
                }
                Request::WriteZeroes { offset, length, .. } => {
                    content[offset as usize..][..length as usize].fill(0);
                    crash_point();
                }
                _ => {}
            }
            Ok(())
        };
        let outcome = alive(|| {
            let given = Given {
                terms: &terms,
                asked: Asked {
                    kind: work.kind,
                    sector: work.sector,
                    to_device: match work.kind {
                        ReqType::OUT | ReqType::ZONE_APPEND => readable,
                        _ => Slices::empty(),
                    },
                },
                chain: Chain {
                    queue,
                    id: work.id,
                    repeated,
                },
            };
            let disk = disk.as_ref().unwrap();
            disk.carry_out(&given, answer.slices(), &mut carry_out).unwrap()
        })?;
        Ok(match outcome {
            Ok(_) if work.kind == ReqType::ZONE_APPEND => {
                let mut sector = [0; 8];
                answer.read(0, &mut sector).unwrap();
                (Status::OK, u64::from_le_bytes(sector))
            }
            Ok(_) => (Status::OK, 0),
            Err(Failure::Zone(status)) => (status, 0),
            Err(_) => panic!("{work:?} fails"),
        })
    }

    /// One step of the process: it begins, takes a few requests of a queue, or is given those that were in flight.
    fn step(&mut self, seed: &mut u64) -> Result<(), Killed> {
        if self.disk.is_none() {
            let path = self.path();
            let (file, zones) = alive(|| ZoneFile::open(&path, shape(), QUEUES, DEPTH).unwrap())?;
            self.disk = Some(ZonedDisk::new(zones, Some(file)));
            // In which order zones were opened is not kept.
            let before = std::mem::replace(&mut self.twin, Zones::new(shape()));
            for index in 0..COUNT as usize {
                self.twin.put(index, before.get(index).unwrap()).unwrap();
            }
            for queue in 0..QUEUES {
                self.recognise(queue);
            }
            for queue in 0..QUEUES {
                self.repeat(queue)?;
            }
            return Ok(());
        }
        let queue = next(seed, QUEUES.into()) as u16;
        self.begin(queue)?;
        for id in 0..1 + next(seed, DEPTH.into()) as u16 {
            let work = self.random_work(seed, id);
            self.in_flight[usize::from(queue)].push((work, None));
            let place = self.in_flight[usize::from(queue)].len() - 1;
            self.carry_out(queue, place, false)?;
        }
        // The driver sees the answers.
        self.in_flight[usize::from(queue)].clear();
        Ok(())
    }

    /// The request during which the process was killed may have had its effect: then that was before anything is repeated.
    fn recognise(&mut self, queue: u16) {
        let life = LIFE.take();
        for place in 0..self.in_flight[usize::from(queue)].len() {
            let (work, due) = self.in_flight[usize::from(queue)][place];
            let chain = Chain {
                queue,
                id: work.id,
                repeated: true,
            };
            if due.is_none() && self.disk.as_ref().unwrap().effect(chain).unwrap().is_some() {
                let due = self.expect(work);
                assert_eq!(due.0, Status::OK);
                self.in_flight[usize::from(queue)][place].1 = Some(due);
            }
        }
        LIFE.set(life);
    }

    /// What was in flight is carried out once more.
    fn repeat(&mut self, queue: u16) -> Result<(), Killed> {
        for place in 0..self.in_flight[usize::from(queue)].len() {
            self.repeated += 1;
            self.carry_out(queue, place, true)?;
        }
        self.in_flight[usize::from(queue)].clear();
        Ok(())
    }

    /// Carries out what is in flight at a place of a queue, and compares the answer with the one where it is carried out once.
    fn carry_out(&mut self, queue: u16, place: usize, repeated: bool) -> Result<(), Killed> {
        let (work, due) = self.in_flight[usize::from(queue)][place];
        let (twin, expected) = (self.twin.clone(), self.expected.clone());
        // What failed may have become possible by what came behind it.
        let due = match due {
            Some(done @ (Status::OK, _)) => done,
            _ => self.expect(work),
        };
        let known = self.in_flight[usize::from(queue)][place].1.replace(due);
        match self.perform(queue, work, repeated) {
            Ok(answer) => assert_eq!(answer, due, "{work:?}, repeated: {repeated}"),
            Err(killed) => {
                // Whether it had an effect, only the next process finds out.
                if !matches!(known, Some((Status::OK, _))) {
                    (self.twin, self.expected) = (twin, expected);
                    self.in_flight[usize::from(queue)][place].1 = None;
                }
                return Err(killed);
            }
        }
        Ok(())
    }

    fn begin(&mut self, queue: u16) -> Result<(), Killed> {
        let disk = self.disk.as_ref().unwrap();
        alive(|| disk.begin(queue))
    }

    /// Zones and data are as if each request had been carried out once.
    fn check(&self) {
        let zones = self.disk.as_ref().unwrap().zones();
        for index in 0..COUNT as usize {
            let (found, expected) = (zones.get(index).unwrap(), self.twin.get(index).unwrap());
            assert_eq!(
                found.written, expected.written,
                "zone {index}: {found:?}, {expected:?}"
            );
            // Which of the implicitly open ones the device closes, and when, is its own affair.
            let state = |zone: Zone| match zone.state {
                ZoneState::IOPEN => ZoneState::CLOSED,
                state => state,
            };
            assert_eq!(state(found), state(expected), "zone {index}");
            let start = (index as u64 * ZONE * 512) as usize;
            let written = match index {
                0 => (ZONE * 512) as usize,
                _ => (found.written * 512) as usize,
            };
            let part = |content: &[u8]| content[start..][..written].to_vec();
            assert!(
                part(&self.content) == part(&self.expected),
                "zone {index} has other data"
            );
        }
    }
}

#[test]
fn every_request_has_its_effect_once_wherever_the_process_is_killed() {
    let (mut kills, mut repeated) = (0, 0);
    for round in 0..60 {
        let mut seed = round * 7919 + 1;
        let mut world = World::new(round % 3 == 0);
        LIFE.set(Some(next(&mut seed, 200) as u32));
        for _ in 0..60 {
            if world.step(&mut seed).is_err() {
                world.disk = None;
                world.kills += 1;
                LIFE.set(Some(next(&mut seed, 300) as u32));
            }
        }
        LIFE.set(None);
        if world.disk.is_none() {
            assert!(world.step(&mut seed).is_ok());
        }
        world.check();
        kills += world.kills;
        repeated += world.repeated;
    }
    assert!(
        kills > 250 && repeated > 250,
        "{kills} kills, {repeated} requests repeated"
    );
}

#[test]
fn a_state_file_from_before_the_journal_is_taken_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zones");
    let chain = Chain {
        queue: 0,
        id: 0,
        repeated: false,
    };
    let zone = Zone {
        state: ZoneState::CLOSED,
        written: 3,
    };
    let (file, _) = ZoneFile::open(&path, shape(), QUEUES, DEPTH).unwrap();
    file.record(chain, &[(2, zone)], 0, super::zone_journal::Stage::Done)
        .unwrap();
    drop(file);
    // With more queues, with fewer, with others, and without the journal it is the same state.
    for (queues, depth) in [(QUEUES + 2, DEPTH), (1, DEPTH), (1, 2 * DEPTH)] {
        let (_, zones) = ZoneFile::open(&path, shape(), queues, depth).unwrap();
        assert_eq!(zones.get(2), Some(zone));
    }
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(64 + 8 * COUNT).unwrap();
    let (_, zones) = ZoneFile::open(&path, shape(), QUEUES, DEPTH).unwrap();
    assert_eq!(zones.get(2), Some(zone));
}
