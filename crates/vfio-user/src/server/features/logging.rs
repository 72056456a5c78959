//! Which memory the function has written.

use std::sync::Arc;

use ringwright_memory::{DirtyLog, Memory};
use zerocopy::IntoBytes;

use super::Log;
use crate::message::{Command, LoggingReport, MAX_DATA};
use crate::server::ServerError;

/// The DMA addresses that can be logged lie below this: the log has a bit for each page, and is not to fill the host.
const END: u64 = 1 << 40;

const PAGE: u64 = DirtyLog::PAGE_SIZE;

/// A log that is being kept, and what was taken from it and not reported yet.
pub(super) struct Logging {
    log: Log,
    /// A bit for each page from address 0 on.
    unreported: Vec<u64>,
    /// The function has reached memory through a translation, and the log does not know by which addresses: from then on
    /// everything counts as written.
    blind: bool,
}

impl Logging {
    /// A log for these ranges of DMA addresses, `(address, length)`, or for everything if there are none.
    pub fn new(ranges: impl Iterator<Item = (u64, u64)>, memory: &Memory) -> Result<Self, ServerError> {
        let mut end = 0;
        let mut all = true;
        for (address, size) in ranges {
            all = false;
            end = end.max(
                address
                    .checked_add(size)
                    .ok_or(ServerError::Range { address, size })?,
            );
        }
        if all {
            end = end_of(memory);
        }
        if end > END {
            return Err(ServerError::Value {
                command: Command::DeviceFeature,
                field: "the end of the memory to log",
                found: end,
            });
        }
        Ok(Self {
            log: Arc::new(DirtyLog::new(end)),
            unreported: Vec::new(),
            blind: false,
        })
    }

    /// The log for `memory`: a longer one than before if that has grown.
    pub fn cover(&mut self, memory: &Memory) -> Log {
        self.blind |= memory.translation().is_some();
        let end = end_of(memory).min(END);
        if end > self.log.end() {
            // What the old log still gets before the function has taken up the new one is lost to the old one's owner, so
            // everything in it counts as written.
            let old = std::mem::replace(&mut self.log, Arc::new(DirtyLog::new(end)));
            self.log.mark(0, old.end());
        }
        self.log.clone()
    }

    /// The report with its bitmap, of at most `argsz` bytes. What is reported is forgotten.
    pub fn report(&mut self, report: &LoggingReport, argsz: usize) -> Result<Vec<u8>, ServerError> {
        let LoggingReport {
            iova,
            length,
            page_size,
        } = *report;
        let value = |field, found| ServerError::Value {
            command: Command::DeviceFeature,
            field,
            found,
        };
        if !page_size.is_power_of_two() || page_size < PAGE {
            return Err(value("page_size", page_size));
        }
        if iova % page_size != 0 || iova.checked_add(length).is_none() {
            return Err(value("iova", iova));
        }
        let words = length.div_ceil(page_size).div_ceil(64);
        if words * 8 > MAX_DATA.min(argsz) as u64 {
            return Err(value("length", length));
        }
        self.collect();
        let mut bitmap = vec![0u64; words as usize];
        if self.blind {
            let bits = length.div_ceil(page_size);
            (0..bits).for_each(|bit| bitmap[(bit / 64) as usize] |= 1 << (bit % 64));
            return Ok([report.as_bytes(), bitmap.as_bytes()].concat());
        }
        let last = (iova + length)
            .div_ceil(PAGE)
            .min(self.unreported.len() as u64 * 64);
        for page in iova / PAGE..last {
            if self.take(page) {
                let bit = (page * PAGE - iova) / page_size;
                bitmap[(bit / 64) as usize] |= 1 << (bit % 64);
            }
        }
        Ok([report.as_bytes(), bitmap.as_bytes()].concat())
    }

    /// Takes what was logged since the last time.
    fn collect(&mut self) {
        for (address, length) in self.log.take() {
            for page in address / PAGE..(address + length).div_ceil(PAGE) {
                let word = (page / 64) as usize;
                if word >= self.unreported.len() {
                    self.unreported.resize(word + 1, 0);
                }
                self.unreported[word] |= 1 << (page % 64);
            }
        }
    }

    /// Whether a page was written and not reported; now it is.
    fn take(&mut self, page: u64) -> bool {
        match self.unreported.get_mut((page / 64) as usize) {
            Some(word) if *word & 1 << (page % 64) != 0 => {
                *word &= !(1 << (page % 64));
                true
            }
            _ => false,
        }
    }
}

/// The first address behind a memory.
fn end_of(memory: &Memory) -> u64 {
    let last = memory.regions().last();
    last.map_or(0, |region| region.guest_address().saturating_add(region.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bitmap(logging: &mut Logging, iova: u64, length: u64, page_size: u64) -> Vec<u64> {
        let report = LoggingReport {
            iova,
            length,
            page_size,
        };
        let bytes = logging.report(&report, MAX_DATA).unwrap();
        let bitmap = bytes[size_of::<LoggingReport>()..].chunks_exact(8);
        bitmap
            .map(|word| u64::from_ne_bytes(word.try_into().unwrap()))
            .collect()
    }

    #[test]
    fn what_is_reported_is_what_was_written_since() {
        let memory = Memory::new(Vec::new()).unwrap();
        let mut logging = Logging::new([(0, 1 << 20)].into_iter(), &memory).unwrap();
        let log = logging.cover(&memory);
        log.mark(0x3000, 1);
        log.mark(0x4_0000, 0x2001);
        assert_eq!(bitmap(&mut logging, 0, 0x1_0000, 0x1000), [1 << 3]);
        // What lies elsewhere waits for its own report, in pages of any size.
        log.mark(0x4_8000, 1);
        assert_eq!(bitmap(&mut logging, 0, 0x10_0000, 0x4000), [1 << 16 | 1 << 18]);
        assert_eq!(bitmap(&mut logging, 0, 0x10_0000, 0x1000), [0; 4]);
        log.mark(0xf_f000, 0x1000);
        assert_eq!(bitmap(&mut logging, 0xf_f000, 0x1000, 0x1000), [1]);
    }

    #[test]
    fn a_log_grows_with_the_memory_and_forgets_nothing() {
        let empty = Memory::new(Vec::new()).unwrap();
        let mut logging = Logging::new([(0, 0x1_0000)].into_iter(), &empty).unwrap();
        logging.cover(&empty).mark(0x1000, 1);
        let mapping = Arc::new(ringwright_memory::Mapping::anonymous(0x1000).unwrap());
        let larger = Memory::new(vec![ringwright_memory::Region::new(0x80_0000, mapping)]).unwrap();
        logging.cover(&larger).mark(0x80_0000, 1);
        assert_eq!(bitmap(&mut logging, 0x80_0000, 0x1000, 0x1000), [1]);
        assert_eq!(bitmap(&mut logging, 0x1000, 0x1000, 0x1000), [1]);
    }

    #[test]
    fn behind_a_translation_everything_counts_as_written() {
        let memory = Memory::new(Vec::new()).unwrap();
        let mut logging = Logging::new([(0, 1 << 20)].into_iter(), &memory).unwrap();
        logging.cover(
            &memory
                .clone()
                .with_translation(Arc::new(ringwright_memory::Iotlb::new())),
        );
        assert_eq!(bitmap(&mut logging, 0x1000, 0x3000, 0x1000), [0b111]);
        logging.cover(&memory);
        assert_eq!(bitmap(&mut logging, 0, 0x1000, 0x1000), [1]);
    }

    #[test]
    fn reports_and_logs_that_cannot_be_are_refused() {
        let memory = Memory::new(Vec::new()).unwrap();
        assert!(Logging::new([(1 << 50, 4096)].into_iter(), &memory).is_err());
        assert!(Logging::new([(u64::MAX, 4096)].into_iter(), &memory).is_err());
        let mut logging = Logging::new([(0, 4096)].into_iter(), &memory).unwrap();
        for (iova, length, page_size) in [
            (0, 4096, 0),
            (0, 4096, 3000),
            (0, 4096, 512),
            (1, 4096, 4096),
            (0, u64::MAX, 4096),
            (u64::MAX - 4095, 8192, 4096),
        ] {
            let report = LoggingReport {
                iova,
                length,
                page_size,
            };
            assert!(logging.report(&report, MAX_DATA).is_err(), "{report:?}");
        }
        let long = LoggingReport {
            iova: 0,
            length: 1 << 30,
            page_size: 4096,
        };
        assert!(logging.report(&long, 4096).is_err());
        assert!(logging.report(&long, MAX_DATA).is_ok());
    }
}
