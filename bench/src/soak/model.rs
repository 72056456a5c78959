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

/// The newest completed write of each sector.
pub struct Model {
    seed: u64,
    /// By sector; 0 for those never written, which are all zero.
    generations: Vec<u64>,
    /// Sectors that a request is at.
    locked: Vec<bool>,
    newest: u64,
    written: u64,
    compared: std::cell::Cell<u64>,
}

impl Model {
    pub fn new(sectors: u64, seed: u64) -> Self {
        Self {
            seed,
            generations: vec![0; sectors as usize],
            locked: vec![false; sectors as usize],
            newest: 0,
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
        let locked = &mut self.locked[sector as usize..][..sectors as usize];
        let free = !locked.contains(&true);
        if free {
            locked.fill(true);
        }
        free
    }

    pub fn unlock(&mut self, sector: u64, sectors: u64) {
        self.locked[sector as usize..][..sectors as usize].fill(false);
    }

    pub fn next_generation(&mut self) -> u64 {
        self.newest += 1;
        self.newest
    }

    /// A write of this generation has come back.
    pub fn write(&mut self, sector: u64, sectors: u64, generation: u64) {
        self.generations[sector as usize..][..sectors as usize].fill(generation);
        self.written += sectors;
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
            let generation = self.generations[sector as usize];
            let expected = self.stamp(sector, generation);
            let word = |at: usize| {
                let bytes = found.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
                bytes.map_or(0, u64::from_le_bytes)
            };
            ensure!(
                found == expected,
                "sector {sector}: write {generation} was the last one, found sector {}, write {}{}",
                word(0),
                word(8),
                if word(0) == sector && found == self.stamp(sector, word(8)) {
                    ", whole"
                } else {
                    ", torn"
                }
            );
        }
        self.compared
            .set(self.compared.get() + bytes.len() as u64 / SECTOR_SIZE);
        Ok(())
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
