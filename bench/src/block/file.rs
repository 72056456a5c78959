//! The file itself: what its server would have to ask of the operating system, and nothing else.

use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;

use crate::{Args, Course, Load, Operation};

const PAGE: usize = 4096;

/// A file, and a buffer for each request that would be outstanding.
pub struct File {
    file: std::fs::File,
    operation: Operation,
    course: Course,
    buffers: Vec<Buffer>,
}

/// Memory for one request, on a page boundary as in a guest: where data begin decides how fast processors copy them.
struct Buffer {
    memory: Vec<u8>,
    data: Range<usize>,
}

impl Buffer {
    fn new(bytes: usize) -> Self {
        let memory = vec![1; bytes + PAGE];
        let start = memory.as_ptr().align_offset(PAGE);
        Self {
            memory,
            data: start..start + bytes,
        }
    }

    fn data(&mut self) -> &mut [u8] {
        &mut self.memory[self.data.clone()]
    }
}

impl File {
    /// Opens it, and makes the buffers.
    pub fn open(args: &Args) -> Result<Self> {
        let write = matches!(args.operation, Operation::Write);
        let opened = std::fs::OpenOptions::new()
            .read(true)
            .write(write)
            .open(&args.path);
        let file = opened.with_context(|| format!("cannot open {}", args.path.display()))?;
        ensure!(
            args.depth != 0 && args.bytes != 0,
            "a depth and a size are needed"
        );
        let blocks = file.metadata()?.len() / u64::from(args.bytes);
        ensure!(blocks != 0, "the file is smaller than one request");
        let buffers = usize::from(args.depth) * usize::from(args.queues);
        Ok(Self {
            file,
            operation: args.operation,
            course: Course::new(args.places, blocks),
            buffers: (0..buffers).map(|_| Buffer::new(args.bytes as usize)).collect(),
        })
    }
}

impl Load for File {
    fn run(&mut self, time: Duration, latencies: &mut Histogram<u64>) -> Result<u64> {
        let start = Instant::now();
        let (mut last, mut requests) = (start, 0);
        while last - start < time {
            for buffer in &mut self.buffers {
                let buffer = buffer.data();
                let offset = self.course.next() * buffer.len() as u64;
                match self.operation {
                    Operation::Read => self.file.read_exact_at(buffer, offset)?,
                    Operation::Write => self.file.write_all_at(buffer, offset)?,
                }
                let now = Instant::now();
                latencies.saturating_record((now - last).as_nanos() as u64);
                last = now;
                requests += 1;
            }
        }
        Ok(requests)
    }
}
