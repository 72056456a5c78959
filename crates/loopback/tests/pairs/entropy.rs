//! Sources of randomness; here of numbers that can be checked.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ringwright_device::entropy;
use ringwright_driver::Transport;
use ringwright_driver::entropy::Entropy;
use ringwright_memory::Area;
use ringwright_spec::feature;

use crate::common::*;

const REQUESTS: usize = 400;

/// Hands out [`STREAM`] from its start.
struct Counting(AtomicUsize);

impl entropy::backend::Backend for Counting {
    fn fill(&self, into: &mut [u8]) -> io::Result<()> {
        let start = self.0.fetch_add(into.len(), Ordering::Relaxed);
        into.copy_from_slice(&STREAM[start..start + into.len()]);
        Ok(())
    }
}

pub fn device() -> entropy::Entropy {
    entropy::Entropy::new(Arc::new(Counting(AtomicUsize::new(0))))
}

#[test]
fn many_requests_get_each_byte_once() {
    for (format, size) in shapes() {
        for polling in [false, true] {
            let loopback = join(device(), format);
            let area = loopback.area().clone();
            let mut driver = Entropy::new(loopback, &area, options(format, size)).unwrap();
            assert_eq!(driver.session().features(), format);
            exercise(&mut driver, &area, size, polling, wait);
            drop(driver);
            assert!(area.allocate(area.len(), 1).is_some(), "all memory is free again");
        }
    }
}

/// Many requests on a device that nobody has used yet.
pub fn exercise<T: Transport>(
    driver: &mut Entropy<T>,
    area: &Arc<Area>,
    size: u16,
    polling: bool,
    mut wait: impl FnMut(&mut T),
) {
    let (mut start, mut issued) = (0, 0);
    // The device takes requests in their order.
    let mut expected = VecDeque::new();
    let deadline = Deadline::new();
    while issued < REQUESTS || !expected.is_empty() {
        deadline.check();
        while issued < REQUESTS {
            let length = 1 + mix(issued as u64) as usize % 300;
            if driver
                .request(area.allocate(length, 1).unwrap())
                .unwrap()
                .is_err()
            {
                assert_eq!(expected.len(), usize::from(size));
                break;
            }
            expected.push_back(start..start + length);
            (start, issued) = (start + length, issued + 1);
        }
        while let Some((buffer, written)) = driver.poll().unwrap() {
            let range = expected.pop_front().unwrap();
            assert_eq!((written, buffer.len()), (range.len(), range.len()));
            assert!(crate::block::bytes(&buffer) == STREAM[range]);
        }
        if polling {
            std::thread::yield_now();
        } else if !expected.is_empty() && !driver.enable_notifications() {
            wait(driver.session().transport());
        }
    }
}

#[test]
fn a_queue_of_one_descriptor() {
    for format in [feature::VERSION_1, feature::VERSION_1 | feature::RING_PACKED] {
        let loopback = join(device(), format);
        let area = loopback.area().clone();
        let mut driver = Entropy::new(loopback, &area, options(format, 1)).unwrap();
        for number in 0..100 {
            driver.request(area.allocate(8, 1).unwrap()).unwrap().unwrap();
            assert!(driver.request(area.allocate(8, 1).unwrap()).unwrap().is_err());
            wait(driver.session().transport());
            let (buffer, _) = driver.poll().unwrap().unwrap();
            assert!(crate::block::bytes(&buffer) == STREAM[8 * number..][..8]);
        }
    }
}
