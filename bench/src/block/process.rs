//! What the system says of another process.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// A process, by its id.
pub struct Process(pub u32);

impl Process {
    /// Processor time of all its threads, its own and the system's for it.
    pub fn cpu(&self) -> Result<Duration> {
        // proc(5): utime and stime are fields 14 and 15, counted from 1. The second field, the name, is in parentheses and
        // may contain anything.
        let stat = self.read("stat")?;
        let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat without a name")?;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        let ticks = ticks
            .sum::<Result<u64, _>>()
            .context("/proc/PID/stat with other fields")?;
        let per_second = rustix::param::clock_ticks_per_second();
        Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
    }

    /// Bytes of its memory that are in RAM now, the memory shared with it included.
    pub fn resident_bytes(&self) -> Result<u64> {
        let statm = self.read("statm")?;
        let pages = statm
            .split_whitespace()
            .nth(1)
            .context("/proc/PID/statm with other fields")?;
        Ok(pages.parse::<u64>()? * rustix::param::page_size() as u64)
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.0);
        fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    }
}
