//! Indirect tables that cannot be, or only look so (sections 2.7.5.3, 2.8.7).

use super::*;

#[test]
fn indirect_table_of_no_or_odd_length() {
    for start in STARTS {
        for length in [0, 1, 15, 17, 16 * 3 + 8, u32::MAX] {
            let expected = (Violation::IndirectLength { length }, None);
            let mut driver = Hostile::split(start);
            driver.descriptor(0, DATA, length, INDIRECT, 0);
            driver.offer(0);
            assert_eq!(driver.caught(), expected);
            let mut driver = Hostile::packed(start);
            driver.descriptor(0, DATA, length, 0, INDIRECT | AVAIL);
            assert_eq!(driver.caught(), expected);
        }
    }
}

#[test]
fn indirect_table_longer_than_the_queue() {
    for start in STARTS {
        let length = 16 * (u32::from(SIZE) + 1);
        let mut driver = Hostile::packed(start);
        driver.descriptor(0, DATA, length, 0, INDIRECT | AVAIL);
        let expected = Violation::ChainTooLong { limit: SIZE };
        assert_eq!(
            driver.caught(),
            (expected, Some("drv:packed:scatter-gather-support:02"))
        );
        // Split tables may have entries that no chain uses, but not such a chain.
        let mut driver = Hostile::split(start);
        for index in 0..=SIZE {
            driver.entry(
                DATA,
                index,
                DATA,
                1,
                if index == SIZE { 0 } else { NEXT },
                index + 1,
            );
        }
        driver.descriptor(0, DATA, length, INDIRECT, 0);
        driver.offer(0);
        assert_eq!(
            driver.caught(),
            (expected, Some("drv:split:indirect-descriptors:03"))
        );
        let mut driver = Hostile::split(start);
        driver.entry(DATA, 0, DATA, 1, NEXT, SIZE);
        driver.entry(DATA, SIZE, DATA, 2, 0, 0);
        driver.descriptor(0, DATA, length, INDIRECT, 0);
        driver.offer(0);
        assert_eq!(driver.taken(), (3, 0));
    }
}

#[test]
fn split_next_beyond_the_indirect_table() {
    for start in STARTS {
        let mut driver = Hostile::split(start);
        driver.entry(DATA, 0, DATA, 1, NEXT, 2);
        driver.entry(DATA, 2, DATA, 1, 0, 0);
        driver.descriptor(0, DATA, 32, INDIRECT, 0);
        driver.offer(0);
        assert_eq!(
            driver.caught(),
            (Violation::DescriptorIndex { index: 2, size: 2 }, None)
        );
    }
}

#[test]
fn split_nested_indirect_is_indirect_descriptors_02() {
    for start in STARTS {
        let mut driver = Hostile::split(start);
        driver.entry(DATA, 0, DATA, 16, INDIRECT, 0);
        driver.descriptor(0, DATA, 16, INDIRECT, 0);
        driver.offer(0);
        assert_eq!(
            driver.caught(),
            (
                Violation::NestedIndirect,
                Some("drv:split:indirect-descriptors:02")
            )
        );
    }
}

#[test]
fn tables_at_any_address_with_split_entries_in_any_order() {
    for start in STARTS {
        for table in [
            DATA + 0x100,
            DATA + 0x108,
            DATA + 0x101,
            BORDER - 0x28,
            BORDER + 0x100,
        ] {
            for mut driver in [Hostile::split(start), Hostile::packed(start)] {
                if driver.packed {
                    driver.entry(table, 0, DATA, 1, 0, 0);
                    driver.entry(table, 1, DATA, 2, 0, 0);
                    driver.entry(table, 2, DATA, 4, 0, WRITE);
                    driver.descriptor(0, table, 48, 3, INDIRECT | AVAIL);
                } else {
                    driver.entry(table, 0, DATA, 1, NEXT, 3);
                    driver.entry(table, 3, DATA, 2, NEXT, 1);
                    driver.entry(table, 1, DATA, 4, WRITE, 9);
                    // Used by no chain.
                    driver.entry(table, 2, 0, 0, INDIRECT, 0);
                    driver.descriptor(3, table, 64, INDIRECT, 0);
                }
                driver.offer(3);
                let lengths =
                    |chain: &Chain<'_>| (chain.id(), chain.readable().len(), chain.writable().len());
                let mut taken = None;
                if start == Start::Serving {
                    let served = driver.device.serve(9, |chain| {
                        taken = Some(lengths(chain));
                        Some(4)
                    });
                    assert_eq!(served, Ok(1));
                    assert!(driver.device.publish().unwrap());
                } else {
                    taken = driver.device.pop().unwrap().map(|chain| lengths(&chain));
                    assert_eq!(driver.device.in_flight(), 1);
                }
                assert_eq!(taken, Some((3, 3, 4)), "{table:#x}");
            }
        }
    }
}

#[test]
fn packed_ignores_all_flags_but_write_in_a_table() {
    for start in STARTS {
        // Section 2.8.7; so there is no nesting either.
        let mut driver = Hostile::packed(start);
        driver.entry(DATA, 0, DATA, 3, 7, INDIRECT | USED);
        driver.entry(DATA, 1, DATA, 4, 9, WRITE | NEXT | AVAIL);
        driver.descriptor(0, DATA, 32, 5, INDIRECT | WRITE | AVAIL);
        let chain = driver.device.pop().unwrap().unwrap();
        assert_eq!(
            (chain.id(), chain.readable().len(), chain.writable().len()),
            (5, 3, 4)
        );
    }
}

#[test]
fn split_ignores_write_of_an_indirect_descriptor_dev_indirect_descriptors_01() {
    for start in STARTS {
        let mut driver = Hostile::split(start);
        driver.entry(DATA, 0, DATA, 3, 0, 0);
        driver.descriptor(0, DATA, 16, INDIRECT | WRITE, 0);
        driver.offer(0);
        assert_eq!(driver.taken(), (3, 0));
    }
}

#[test]
fn split_takes_direct_descriptors_before_an_indirect_one_dev_indirect_descriptors_02() {
    for start in STARTS {
        let mut driver = Hostile::split(start);
        driver.descriptor(3, DATA, 5, NEXT, 1);
        driver.descriptor(1, DATA, 32, INDIRECT, 0);
        driver.entry(DATA, 0, DATA, 6, NEXT | WRITE, 1);
        driver.entry(DATA, 1, DATA, 7, WRITE, 0);
        driver.offer(3);
        assert_eq!(driver.taken(), (5, 13));
    }
}

#[test]
fn indirect_with_next_is_split_04_and_packed_04() {
    for start in STARTS {
        let mut driver = Hostile::split(start);
        driver.descriptor(0, DATA, 16, INDIRECT | NEXT, 1);
        driver.offer(0);
        assert_eq!(
            driver.caught(),
            (
                Violation::IndirectWithNext,
                Some("drv:split:indirect-descriptors:04")
            )
        );
        let expected = (
            Violation::IndirectWithNext,
            Some("drv:packed:indirect-descriptors:04"),
        );
        let mut driver = Hostile::packed(start);
        driver.descriptor(0, DATA, 16, 0, INDIRECT | NEXT | AVAIL);
        assert_eq!(driver.caught(), expected);
        let mut driver = Hostile::packed(start);
        driver.descriptor(0, DATA, 16, 0, NEXT | AVAIL);
        driver.descriptor(1, DATA, 16, 0, INDIRECT | AVAIL);
        assert_eq!(driver.caught(), expected);
    }
}

#[test]
fn indirect_without_the_feature_is_indirect_descriptors_01() {
    for start in STARTS {
        let mut driver = Hostile::split(start);
        driver.device =
            DeviceQueue::new(driver.layout, SPLIT, driver.memory.clone(), State::default()).unwrap();
        driver.descriptor(0, DATA, 16, INDIRECT, 0);
        driver.offer(0);
        assert_eq!(
            driver.caught(),
            (
                Violation::IndirectNotNegotiated,
                Some("drv:split:indirect-descriptors:01")
            )
        );
        let mut driver = Hostile::packed(start);
        driver.device =
            DeviceQueue::new(driver.layout, PACKED, driver.memory.clone(), State::default()).unwrap();
        driver.descriptor(0, DATA, 16, 0, INDIRECT | AVAIL);
        assert_eq!(
            driver.caught(),
            (
                Violation::IndirectNotNegotiated,
                Some("drv:packed:indirect-descriptors:01")
            )
        );
    }
}
