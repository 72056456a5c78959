//! What the disk must hold.

use anyhow::{Result, ensure};
use ringwright_spec::block::SECTOR_SIZE;

/// Random numbers that are the same for the same seed.
pub struct Random(pub u64);

impl Random {
    /// The next one, less than `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        // SplitMix64 (Steele, Lea, Flood), of which the low bits are as good as the high ones.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % limit
    }
}

/// What each sector may hold.
pub struct Model {
    seed: u64,
    sectors: Vec<Sector>,
    newest: u64,
    /// Number of writes that have come back.
    completed: u64,
    written: u64,
    compared: std::cell::Cell<u64>,
}

/// Writes are told apart by their generations; 0 stands for none, where all is zero.
#[derive(Clone, Default)]
struct Sector {
    /// A request is at it.
    locked: bool,
    /// The newest write that has come back.
    current: u64,
    /// Others that may be there instead.
    doubtful: Vec<u64>,
    /// The newest write that no loss of power may undo.
    stable: u64,
    /// Those after it, and how many writes had come back before each.
    later: Vec<(u64, u64)>,
}

/// A moment, for what a flush makes stable.
#[derive(Clone, Copy)]
pub struct Moment(u64);

impl Model {
    pub fn new(sectors: u64, seed: u64) -> Self {
        Self {
            seed,
            sectors: vec![Sector::default(); sectors as usize],
            newest: 0,
            completed: 0,
            written: 0,
            compared: 0.into(),
        }
    }

    /// Sectors written, and compared, so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    pub fn compared(&self) -> u64 {
        self.compared.get()
    }

    /// Reserves sectors for one request; false if another one is at any of them.
    pub fn lock(&mut self, sector: u64, sectors: u64) -> bool {
        let sectors = self.range(sector, sectors);
        let free = sectors.iter().all(|sector| !sector.locked);
        if free {
            sectors.iter_mut().for_each(|sector| sector.locked = true);
        }
        free
    }

    pub fn unlock(&mut self, sector: u64, sectors: u64) {
        for sector in self.range(sector, sectors) {
            sector.locked = false;
        }
    }

    pub fn next_generation(&mut self) -> u64 {
        self.newest += 1;
        self.newest
    }

    /// A write of this generation has come back; it was to be stable or not.
    pub fn write(&mut self, sector: u64, sectors: u64, generation: u64, stable: bool) {
        let number = self.completed;
        for sector in self.range(sector, sectors) {
            sector.current = generation;
            sector.doubtful.clear();
            match stable {
                true => sector.make_stable(generation),
                false => sector.later.push((generation, number)),
            }
        }
        self.completed += 1;
        self.written += sectors;
    }

    /// A write of this generation has failed, or nothing was heard of it.
    pub fn fail(&mut self, sector: u64, sectors: u64, generation: u64) {
        for sector in self.range(sector, sectors) {
            sector.doubtful.push(generation);
        }
    }

    /// What has come back by now.
    pub fn now(&self) -> Moment {
        Moment(self.completed)
    }

    /// A flush has come back that was asked for at that moment.
    pub fn flush(&mut self, asked: Moment) {
        for sector in &mut self.sectors {
            let stable = sector.later.partition_point(|(_, number)| *number < asked.0);
            if let Some((generation, _)) = sector.later.drain(..stable).next_back() {
                sector.stable = generation;
            }
        }
    }

    /// The power was lost: what is not stable may be there or not.
    pub fn lose_power(&mut self) {
        for sector in &mut self.sectors {
            sector.locked = false;
            sector.current = sector.stable;
            let later = sector.later.drain(..).map(|(generation, _)| generation);
            sector.doubtful.extend(later);
        }
    }

    /// Whatever these sectors hold, they hold now for good.
    pub fn settle(&mut self, sector: u64, bytes: &[u8]) {
        let generations = bytes
            .chunks_exact(SECTOR_SIZE as usize)
            .map(|bytes| word(bytes, 8));
        let count = bytes.len() as u64 / SECTOR_SIZE;
        for (sector, generation) in self.range(sector, count).iter_mut().zip(generations) {
            sector.current = generation;
            sector.doubtful.clear();
            sector.make_stable(generation);
        }
    }

    /// What a write of this generation brings.
    pub fn stamps(&self, sector: u64, sectors: u64, generation: u64) -> Vec<u8> {
        (sector..sector + sectors)
            .flat_map(|sector| self.stamp(sector, generation))
            .collect()
    }

    /// Compares what was read from `sector` on.
    pub fn check(&self, sector: u64, bytes: &[u8]) -> Result<()> {
        for (sector, found) in (sector..).zip(bytes.chunks_exact(SECTOR_SIZE as usize)) {
            let state = &self.sectors[sector as usize];
            let may_be = |generation| found == self.stamp(sector, generation);
            ensure!(
                may_be(state.current) || state.doubtful.iter().any(|generation| may_be(*generation)),
                "sector {sector}: write {} was the last one, or one of {:?}, found sector {}, write {}{}",
                state.current,
                state.doubtful,
                word(found, 0),
                word(found, 8),
                match word(found, 0) == sector && may_be(word(found, 8)) {
                    true => ", whole",
                    false => ", torn",
                }
            );
        }
        self.compared
            .set(self.compared.get() + bytes.len() as u64 / SECTOR_SIZE);
        Ok(())
    }

    fn range(&mut self, sector: u64, sectors: u64) -> &mut [Sector] {
        &mut self.sectors[sector as usize..][..sectors as usize]
    }

    /// One sector: its number, the write, and bytes that both decide.
    fn stamp(&self, sector: u64, generation: u64) -> Vec<u8> {
        if generation == 0 {
            return vec![0; SECTOR_SIZE as usize];
        }
        let mut random = Random(self.seed ^ sector << 32 ^ generation);
        let words = SECTOR_SIZE / 8 - 2;
        let rest = (0..words).map(|_| random.below(u64::MAX));
        [sector, generation]
            .into_iter()
            .chain(rest)
            .flat_map(u64::to_le_bytes)
            .collect()
    }
}

impl Sector {
    fn make_stable(&mut self, generation: u64) {
        self.stable = generation;
        self.later.clear();
    }
}

/// The integer at an offset of a sector.
fn word(sector: &[u8], at: usize) -> u64 {
    let bytes = sector.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u64::from_le_bytes)
}
