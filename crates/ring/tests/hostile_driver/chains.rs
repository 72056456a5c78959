//! Rings and lists of descriptors that cannot be (sections 2.7.5, 2.7.6, 2.8.6).

use super::*;

#[test]
fn split_available_index_back_or_too_far_ahead_is_the_available_ring_01() {
    for start in STARTS {
        for index in [SIZE + 1, u16::MAX, 0x8000] {
            let mut driver = Hostile::split(start);
            driver.word(driver.layout.driver_area + 2, index);
            let expected = Violation::AvailableIndex {
                found: index,
                taken: 0,
                size: SIZE,
            };
            assert_eq!(
                driver.caught(),
                (expected, Some("drv:split:the-virtqueue-available-ring:01"))
            );
        }
    }
}

#[test]
fn split_head_and_next_out_of_range() {
    for start in STARTS {
        for index in [SIZE, SIZE + 1, 0x7fff, u16::MAX] {
            let expected = (
                Violation::DescriptorIndex {
                    index,
                    size: SIZE.into(),
                },
                None,
            );
            let mut driver = Hostile::split(start);
            driver.offer(index);
            assert_eq!(driver.caught(), expected);
            let mut driver = Hostile::split(start);
            driver.descriptor(0, DATA, 16, NEXT, index);
            driver.offer(0);
            assert_eq!(driver.caught(), expected);
        }
    }
}

#[test]
fn split_loop_is_a_chain_longer_than_the_queue_indirect_descriptors_03() {
    for start in STARTS {
        let expected = (
            Violation::ChainTooLong { limit: SIZE },
            Some("drv:split:indirect-descriptors:03"),
        );
        for flags in [0, WRITE] {
            let mut driver = Hostile::split(start);
            driver.descriptor(0, DATA, 16, NEXT | flags, 1);
            driver.descriptor(1, DATA, 16, NEXT | flags, 0);
            driver.offer(0);
            assert_eq!(driver.caught(), expected);
            // One that refers to itself.
            let mut driver = Hostile::split(start);
            driver.descriptor(5, DATA, 16, NEXT | flags, 5);
            driver.offer(5);
            assert_eq!(driver.caught(), expected);
            // In a table.
            let mut driver = Hostile::split(start);
            driver.entry(DATA, 0, DATA, 16, NEXT | flags, 0);
            driver.descriptor(0, DATA, 16, INDIRECT, 0);
            driver.offer(0);
            assert_eq!(driver.caught(), expected);
        }
    }
}

#[test]
fn split_chain_of_the_whole_queue_is_legal() {
    for start in STARTS {
        let mut driver = Hostile::split(start);
        for index in 0..SIZE {
            let flags = if index < 4 {
                NEXT
            } else if index + 1 < SIZE {
                NEXT | WRITE
            } else {
                WRITE
            };
            driver.descriptor(index, DATA, 16, flags, index + 1);
        }
        driver.offer(0);
        assert_eq!(driver.taken(), (64, 64));
    }
}

#[test]
fn packed_list_longer_than_the_queue_is_scatter_gather_support_02() {
    for start in STARTS {
        let mut driver = Hostile::packed(start);
        for index in 0..SIZE {
            driver.descriptor(index, DATA, 16, 0, NEXT | AVAIL);
        }
        let expected = Violation::ChainTooLong { limit: SIZE };
        assert_eq!(
            driver.caught(),
            (expected, Some("drv:packed:scatter-gather-support:02"))
        );
    }
}

#[test]
fn packed_list_that_runs_into_buffers_in_flight_is_the_virtqueue_descriptor_table_01() {
    for start in STARTS {
        let mut driver = Hostile::packed(start);
        driver.descriptor(0, DATA, 16, 0, AVAIL);
        assert_eq!(driver.taken(), (16, 0));
        for index in 1..SIZE {
            driver.descriptor(index, DATA, 16, 1, NEXT | AVAIL);
        }
        let expected = Violation::Overrun { size: SIZE };
        assert_eq!(
            driver.caught(),
            (expected, Some("drv:packed:the-virtqueue-descriptor-table:01"))
        );
    }
}

#[test]
fn packed_ring_full_in_flight_and_more_available_is_the_virtqueue_descriptor_table_01() {
    for start in STARTS {
        let mut driver = Hostile::packed(start);
        for id in 0..SIZE {
            driver.descriptor(id, DATA, 16, id, AVAIL);
            assert_eq!(driver.taken(), (16, 0));
        }
        driver.descriptor(0, DATA, 16, 0, USED);
        let expected = Violation::Overrun { size: SIZE };
        assert_eq!(
            driver.caught(),
            (expected, Some("drv:packed:the-virtqueue-descriptor-table:01"))
        );
    }
}
