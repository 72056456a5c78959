//! What is served in the loops of the commonest shapes is checked as well.

use super::*;

/// Where a region lies besides the usual ones.
const APART: u64 = 1 << 40;

/// A device end that serves, with another region, in which it has read and written as far as it may.
fn serving(features: Features, region: Region, writable: u64) -> Hostile {
    let mut driver = Hostile::new(Start::Serving, features);
    let regions = driver.memory.regions().iter().cloned().chain([region]);
    let memory = Arc::new(Memory::new(regions.collect()).unwrap());
    driver.device.set_memory(memory).unwrap();
    for number in 0..2 {
        driver.request(number, (APART, 1 << 31), (writable, 1));
        assert_eq!(driver.device.serve(1, |_| Some(0)), Ok(1));
        driver.device.publish().unwrap();
    }
    driver
}

impl Hostile {
    /// Makes a chain of a readable and a writable element available, the one of this number.
    fn request(&mut self, number: u16, readable: (u64, u32), writable: (u64, u32)) {
        if self.packed {
            self.descriptor(2 * number, readable.0, readable.1, 0, NEXT | AVAIL);
            self.descriptor(2 * number + 1, writable.0, writable.1, 0, WRITE | AVAIL);
        } else {
            self.descriptor(0, readable.0, readable.1, NEXT, 1);
            self.descriptor(1, writable.0, writable.1, WRITE, 0);
            self.offer(0);
        }
    }
}

#[test]
fn more_than_4_gibibytes_are_not_served_either() {
    for features in [SPLIT, PACKED] {
        // Only reserved address space: nothing of it is ever touched.
        let huge = Region::new(APART, Arc::new(Mapping::anonymous(1 << 32).unwrap()));
        let mut driver = serving(features, huge, APART);
        driver.request(2, (APART, 1 << 31), (APART, (1 << 31) + 1));
        let (violation, _) = driver.caught();
        let length = (1 << 32) + 1;
        assert_eq!(violation, Violation::ChainTooLarge { length });
    }
}

#[test]
fn memory_that_was_read_is_not_memory_to_write() {
    for features in [SPLIT, PACKED] {
        let mapping = Arc::new(Mapping::anonymous(1 << 32).unwrap());
        // SAFETY: the mapping is the owner of all this memory.
        let constant = unsafe { Region::from_raw(APART, mapping.segment(), false, mapping.clone()) };
        let mut driver = serving(features, constant, DATA);
        driver.request(2, (APART, 1), (APART, 1));
        let (violation, _) = driver.caught();
        assert!(matches!(violation, Violation::Address(_)), "{violation:?}");
    }
}

#[test]
fn a_request_that_is_in_flight_is_not_served_again() {
    let mut driver = Hostile::split(Start::Serving);
    driver.request(0, (DATA, 16), (DATA, 16));
    assert_eq!(driver.taken(), (16, 16));
    driver.offer(0);
    assert_eq!(driver.caught().0, Violation::InUse { id: 0 });
}

#[test]
fn packed_request_whose_id_is_the_queue_size_is_not_served() {
    let mut driver = Hostile::packed(Start::Serving);
    driver.descriptor(0, DATA, 16, 0, NEXT | AVAIL);
    driver.descriptor(1, DATA, 16, SIZE, WRITE | AVAIL);
    let expected = Violation::BufferId { id: SIZE, size: SIZE };
    assert_eq!(driver.caught().0, expected);
}

#[test]
fn packed_request_is_not_served_before_its_first_descriptor_is_available() {
    let mut driver = Hostile::packed(Start::Serving);
    for flags in [NEXT, NEXT | USED, NEXT | USED | AVAIL] {
        driver.descriptor(0, DATA, 16, 0, flags);
        driver.descriptor(1, DATA, 16, 0, WRITE | AVAIL);
        let served = driver.device.serve(1, |_| panic!("not available"));
        assert_eq!(served, Ok(0));
    }
}

#[test]
fn packed_request_over_a_full_ring_is_not_served() {
    let mut driver = Hostile::packed(Start::Serving);
    for id in 0..SIZE / 2 {
        driver.descriptor(2 * id, DATA, 16, 0, NEXT | AVAIL);
        driver.descriptor(2 * id + 1, DATA, 16, id, WRITE | AVAIL);
        assert_eq!(driver.taken(), (16, 16));
    }
    // In the next lap, with an id that is free.
    driver.descriptor(0, DATA, 16, 0, NEXT | USED);
    driver.descriptor(1, DATA, 16, SIZE - 1, WRITE | USED);
    assert_eq!(driver.caught().0, Violation::Overrun { size: SIZE });
}
