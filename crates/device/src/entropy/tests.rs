use std::io;

use super::backend::Os;
use super::*;
use crate::testing::{Bench, formats};

#[test]
fn buffers_are_filled_with_randomness() {
    for features in formats() {
        let mut bench = Bench::new(Entropy::new(Arc::new(Os)), features);
        let mut queue = bench.start(0, 8);
        let first = queue.request(&[], &[700, 1, 300]);
        let second = queue.request(&[], &[700, 1, 300]);
        assert_eq!((first.written, second.written), (1001, 1001));
        assert_ne!(first.data, second.data);
        for data in [first.data, second.data] {
            // That 64 random bytes in a row are equal has a chance of 2^-504.
            assert!(
                data.windows(64)
                    .all(|window| window.iter().any(|byte| *byte != window[0]))
            );
        }
        let counters = bench.host.counters()[0];
        assert_eq!((counters.chains, counters.bytes_written), (2, 2002));
    }
}

#[test]
fn a_large_buffer_is_used_in_part_and_an_empty_one_not_at_all() {
    let mut bench = Bench::new(Entropy::new(Arc::new(Os)), formats()[0]);
    let mut queue = bench.start(0, 8);
    assert_eq!(queue.request(&[], &[1 << 20]).written, 64 * 1024);
    assert_eq!(queue.request(&[b"a mistake"], &[]).written, 0);
    assert_eq!(queue.request(&[b"a mistake"], &[3]).written, 3);
}

#[test]
fn without_randomness_the_device_needs_a_reset() {
    struct Broken;
    impl Backend for Broken {
        fn fill(&self, _into: &mut [u8]) -> io::Result<()> {
            Err(io::Error::other("the well is dry"))
        }
    }
    let mut bench = Bench::new(Entropy::new(Arc::new(Broken)), formats()[0]);
    let mut queue = bench.start(0, 8);
    queue.submit(&[], &[16]);
    assert!(bench.events.wait_needs_reset().contains("the well is dry"));
    bench.host.stop_queue(0).unwrap();
    assert_eq!(bench.host.counters()[0].errors, 1);
    assert_eq!(queue.poll(), None);
}
