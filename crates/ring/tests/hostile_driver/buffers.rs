//! The elements of buffers: their order, their lengths, and the memory they are in.

use super::*;

#[test]
fn readable_after_writable_is_message_framing_01_and_scatter_gather_support_03() {
    for start in STARTS {
        let mut driver = Hostile::split(start);
        driver.descriptor(0, DATA, 16, NEXT | WRITE, 1);
        driver.descriptor(1, DATA, 16, 0, 0);
        driver.offer(0);
        assert_eq!(
            driver.caught(),
            (
                Violation::ReadableAfterWritable,
                Some("drv:split:message-framing:01")
            )
        );
        let mut driver = Hostile::packed(start);
        driver.descriptor(0, DATA, 16, 0, NEXT | WRITE | AVAIL);
        driver.descriptor(1, DATA, 16, 0, AVAIL);
        let expected = (
            Violation::ReadableAfterWritable,
            Some("drv:packed:scatter-gather-support:03"),
        );
        assert_eq!(driver.caught(), expected);
    }
}

#[test]
fn elements_of_no_length_are_nothing() {
    for start in STARTS {
        // No clause forbids them; their address does not matter.
        let mut driver = Hostile::split(start);
        driver.descriptor(0, u64::MAX, 0, NEXT, 1);
        driver.descriptor(1, DATA, 5, NEXT | WRITE, 2);
        driver.descriptor(2, 0, 0, WRITE, 0);
        driver.offer(0);
        assert_eq!(driver.taken(), (0, 5));
        let mut driver = Hostile::packed(start);
        driver.descriptor(0, u64::MAX, 0, 0, AVAIL);
        assert_eq!(driver.taken(), (0, 0));
    }
}

#[test]
fn addresses_outside_memory() {
    for start in STARTS {
        let unmapped = |address| Violation::Address(Fault::Unmapped { address });
        let cases = [
            (u64::MAX, 1, unmapped(u64::MAX)),
            (
                u64::MAX,
                2,
                Violation::Address(Fault::Overflow {
                    address: u64::MAX,
                    length: 2,
                }),
            ),
            (
                u64::MAX - 7,
                0x100,
                Violation::Address(Fault::Overflow {
                    address: u64::MAX - 7,
                    length: 0x100,
                }),
            ),
            (0, 1, unmapped(0)),
            (BASE - 1, 2, unmapped(BASE - 1)),
            (END - 1, 2, unmapped(END)),
            (END, 1, unmapped(END)),
            (BASE, u32::MAX, unmapped(END)),
            // Just after an address that was fine: the last hit must not be stretched.
            (BASE - 0x10, 0x20, unmapped(BASE - 0x10)),
        ];
        for (address, length, expected) in cases {
            for flags in [0, WRITE] {
                let mut driver = Hostile::split(start);
                driver.descriptor(0, DATA, 16, NEXT | flags, 1);
                driver.descriptor(1, address, length, flags, 0);
                driver.offer(0);
                assert_eq!(driver.caught(), (expected, None), "{address:#x} {length}");
                let mut driver = Hostile::packed(start);
                driver.descriptor(0, DATA, 16, 0, NEXT | flags | AVAIL);
                driver.descriptor(1, address, length, 0, flags | AVAIL);
                assert_eq!(driver.caught(), (expected, None), "{address:#x} {length}");
            }
        }
        let mut driver = Hostile::split(start);
        driver.descriptor(0, END - 16, 32, INDIRECT, 0);
        driver.offer(0);
        assert_eq!(driver.caught(), (unmapped(END), None));
    }
}

#[test]
fn buffers_and_tables_across_region_borders_are_whole() {
    for start in STARTS {
        for features in [SPLIT, PACKED] {
            let mut driver = Hostile::new(start, features);
            let flags = |flags| {
                if features == SPLIT {
                    (flags, 1)
                } else {
                    (0, flags | AVAIL)
                }
            };
            let bytes: Vec<u8> = (0..64).collect();
            driver.memory.write(BORDER - 40, &bytes).unwrap();
            let ((a, b), (c, d)) = (flags(NEXT), flags(WRITE));
            driver.descriptor(0, BORDER - 40, 64, a, b);
            driver.descriptor(1, BORDER - 1, 2, c, d);
            driver.offer(0);
            let chain = driver.device.pop().unwrap().unwrap();
            let mut read = [0; 64];
            chain.readable().read(0, &mut read).unwrap();
            assert_eq!(read[..], bytes[..]);
            chain.writable().write(0, &[0xaa, 0xbb]).unwrap();
            let mut read = [0; 2];
            driver.memory.read(BORDER - 1, &mut read).unwrap();
            assert_eq!(read, [0xaa, 0xbb]);
        }
        // A table whose second entry lies on the border, itself at an odd address.
        let mut driver = Hostile::split(start);
        let table = BORDER - 23;
        driver.entry(table, 0, DATA, 3, NEXT, 1);
        driver.entry(table, 1, DATA, 4, WRITE, 0);
        driver.descriptor(0, table, 32, INDIRECT, 0);
        driver.offer(0);
        assert_eq!(driver.taken(), (3, 4));
    }
}

#[test]
fn more_than_4_gibibytes_is_the_virtqueue_descriptor_table_01() {
    for start in STARTS {
        // Only reserved address space: nothing of it is ever touched.
        let huge = Region::new(1 << 40, Arc::new(Mapping::anonymous(1 << 32).unwrap()));
        for (last, expected) in [(1 << 31, None), ((1 << 31) + 1, Some((1 << 32) + 1))] {
            let mut driver = Hostile::split(start);
            let regions = driver
                .memory
                .regions()
                .iter()
                .cloned()
                .chain([huge.clone()])
                .collect();
            let memory = Arc::new(Memory::new(regions).unwrap());
            driver.device.set_memory(memory).unwrap();
            driver.descriptor(0, 1 << 40, 1 << 31, NEXT, 1);
            driver.descriptor(1, 1 << 40, last, WRITE, 0);
            driver.offer(0);
            match expected {
                None => assert_eq!(driver.taken(), (1 << 31, 1 << 31)),
                Some(length) => assert_eq!(
                    driver.caught(),
                    (
                        Violation::ChainTooLarge { length },
                        Some("drv:split:the-virtqueue-descriptor-table:01")
                    )
                ),
            }
        }
    }
}
