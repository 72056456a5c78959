//! Virtqueues that are refused before anything is taken from them.

use super::*;

#[test]
fn set_up_refuses_illegal_sizes_alignments_and_places() {
    for start in STARTS {
        let driver = Hostile::split(start);
        let set_up =
            |layout, features| DeviceQueue::new(layout, features, driver.memory.clone(), State::default());
        for size in [0, 3, 32769, u16::MAX] {
            let found = set_up(
                Layout {
                    size,
                    ..driver.layout
                },
                SPLIT,
            )
            .unwrap_err();
            assert_eq!(found, SetupError::Size { size, packed: false });
        }
        for size in [0, 32769] {
            let found = set_up(
                Layout {
                    size,
                    ..driver.layout
                },
                PACKED,
            )
            .unwrap_err();
            assert_eq!(found, SetupError::Size { size, packed: true });
        }
        set_up(
            Layout {
                size: 7,
                ..driver.layout
            },
            PACKED,
        )
        .unwrap();
        let address = BASE + 8;
        let found = set_up(
            Layout {
                descriptor_area: address,
                ..driver.layout
            },
            SPLIT,
        )
        .unwrap_err();
        assert_eq!(found, SetupError::Misaligned { address, align: 16 });
        let address = BASE + 0x1001;
        let found = set_up(
            Layout {
                driver_area: address,
                ..driver.layout
            },
            SPLIT,
        )
        .unwrap_err();
        assert_eq!(found, SetupError::Misaligned { address, align: 2 });
        for features in [SPLIT, PACKED] {
            let address = BASE + 0x1002;
            let found = set_up(
                Layout {
                    device_area: address,
                    ..driver.layout
                },
                features,
            )
            .unwrap_err();
            assert_eq!(found, SetupError::Misaligned { address, align: 4 });
        }
        // Each part must be in one piece for the whole queue size.
        for address in [END - 16 * u64::from(SIZE) + 16, BORDER - 16, END, u64::MAX - 15] {
            for features in [SPLIT, PACKED] {
                let found = set_up(
                    Layout {
                        descriptor_area: address,
                        ..driver.layout
                    },
                    features,
                )
                .unwrap_err();
                assert!(matches!(found, SetupError::Address(_)), "{address:#x}: {found}");
            }
        }
        set_up(
            Layout {
                descriptor_area: END - 16 * u64::from(SIZE),
                ..driver.layout
            },
            SPLIT,
        )
        .unwrap();
        let state = State {
            next_available: SIZE + 1,
            ..State::default()
        };
        assert!(DeviceQueue::new(driver.layout, SPLIT, driver.memory.clone(), state).is_err());
        assert!(DeviceQueue::new(driver.layout, PACKED, driver.memory.clone(), state).is_err());
    }
}
