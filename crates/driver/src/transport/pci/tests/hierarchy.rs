//! Configuration mechanisms, buses and bridges, and addresses for BARs.

use std::collections::BTreeMap;
use std::string::ToString;

use ringwright_spec::pci::header::{bar, bridge};

use super::fake_hierarchy::{Hierarchy, Ports};
use super::*;

fn addresses<C>(found: &[Function<C>]) -> Vec<std::string::String> {
    found
        .iter()
        .map(|function| function.address.to_string())
        .collect()
}

fn windows() -> Windows {
    Windows {
        io: Window::new(0, 0x1_0000),
        memory: Window::new(0xe000_0000, 0x1000_0000),
        prefetchable: Window::new(0x80_0000_0000, 0x8_0000_0000),
    }
}

#[test]
fn addresses_have_32_devices_of_8_functions() {
    let address = Address::new(0xab, 31, 7).unwrap();
    assert_eq!(
        (address.bus(), address.device(), address.function()),
        (0xab, 31, 7)
    );
    assert_eq!(address.to_string(), "ab:1f.7");
    assert_eq!((Address::new(0, 32, 0), Address::new(0, 0, 8)), (None, None));
}

#[test]
fn both_mechanisms_lead_to_the_same_functions() {
    let hierarchy = Hierarchy::default();
    hierarchy.add(None, 0, 0, &[]);
    let function = hierarchy.add(None, 3, 0, &[]);
    hierarchy.set(function, header::HEADER_TYPE, &[header::MULTI_FUNCTION]);
    hierarchy.add(None, 3, 2, &[]);
    hierarchy.add(None, 3, 7, &[]);
    // No function 0 says that there are these.
    hierarchy.add(None, 4, 1, &[]);
    let single = hierarchy.add(None, 31, 0, &[]);
    hierarchy.add(None, 31, 1, &[]);
    hierarchy.set(single, header::INTERRUPT_PIN, &[3]);
    let expected = ["00:00.0", "00:03.0", "00:03.2", "00:03.7", "00:1f.0"];
    let by_ecam = scan(&hierarchy.ecam(0..=0), 0).unwrap();
    assert_eq!(addresses(&by_ecam), expected);
    let last = &by_ecam[4];
    assert_eq!(
        (last.vendor_id, last.device_id, last.interrupt_pin),
        (0x1af4, 0x1044, 3)
    );
    let cam = Cam::new(Ports::new(hierarchy));
    let mut by_cam = scan(&cam, 0).unwrap();
    assert_eq!(addresses(&by_cam), expected);
    // Of each width at each place, by either.
    let config = &mut by_cam[4].config;
    config.write16(0x42, 0x1234).unwrap();
    config.write8(0x41, 0x56).unwrap();
    assert_eq!(config.read32(0x40), Ok(0x1234_5600));
    assert_eq!((config.read8(0x43), config.read16(0x40)), (Ok(0x12), Ok(0x5600)));
    let Some(mut same) = by_ecam.into_iter().nth(4) else {
        unreachable!()
    };
    assert_eq!(same.config.read32(0x40), Ok(0x1234_5600));
    for (offset, width) in [
        (0x100, Width::One),
        (0xff, Width::Two),
        (0x41, Width::Two),
        (0x42, Width::Four),
        (u64::MAX, Width::One),
    ] {
        let refused = TransportError::Register { offset, width };
        assert_eq!(config.read(offset, width), Err(refused));
        assert_eq!(config.write(offset, width, 0), Err(refused));
    }
    // What an extended configuration space has, and no more.
    assert_eq!(same.config.read32(0xffc), Ok(u32::MAX));
    assert!(same.config.read32(0x1000).is_err() && same.config.read8(u64::MAX).is_err());
}

#[test]
fn ecam_of_some_buses() {
    let hierarchy = Hierarchy::default();
    hierarchy.add(None, 1, 0, &[]);
    // The registers start with bus 0, which a range from bus 2 on takes for its first.
    let ecam = hierarchy.ecam(2..=3);
    assert_eq!(addresses(&scan(&ecam, 2).unwrap()), ["02:01.0"]);
    assert_eq!(addresses(&scan(&ecam, 3).unwrap()), [""; 0]);
    assert_eq!(addresses(&scan(&ecam, 1).unwrap()), [""; 0]);
    assert!(ecam.function(Address::new(4, 0, 0).unwrap()).is_none());
}

#[test]
fn bridges_are_passed_as_they_were_configured() {
    let hierarchy = Hierarchy::default();
    let outer = hierarchy.add_bridge(None, 1);
    let inner = hierarchy.add_bridge(Some(outer), 0);
    hierarchy.add(Some(inner), 5, 0, &[]);
    hierarchy.add(Some(outer), 9, 0, &[]);
    let unused = hierarchy.add_bridge(None, 2);
    hierarchy.add(Some(unused), 0, 0, &[]);
    hierarchy.set(outer, bridge::PRIMARY_BUS, &[0, 4, 7]);
    hierarchy.set(inner, bridge::PRIMARY_BUS, &[4, 7, 7]);
    let found = scan(&hierarchy.ecam(0..=255), 0).unwrap();
    assert_eq!(
        addresses(&found),
        ["00:01.0", "00:02.0", "04:00.0", "04:09.0", "07:05.0"]
    );
    // A bridge that leads back is followed once.
    hierarchy.set(inner, bridge::PRIMARY_BUS, &[4, 4, 7]);
    assert!(scan(&hierarchy.ecam(0..=255), 0).unwrap().len() < 8);
}

#[test]
fn bars_are_measured_and_given_addresses() {
    let hierarchy = Hierarchy::default();
    let wide = bar::MEMORY_64 | bar::PREFETCHABLE;
    let first = hierarchy.add(
        None,
        1,
        0,
        &[
            (0, bar::IO, 0x20),
            (1, 0, 0x1000),
            (2, wide, 0x2_0000_0000),
            (4, bar::MEMORY_64, 0x4000),
        ],
    );
    let second = hierarchy.add(None, 2, 0, &[(0, 0, 0x10), (5, bar::PREFETCHABLE, 0x10_0000)]);
    let mut windows = windows();
    let found = configure(&hierarchy.ecam(0..=0), 0, &mut windows).unwrap();
    assert_eq!(addresses(&found), ["00:01.0", "00:02.0"]);
    let given = |function, index| hierarchy.address(function, index);
    // Port 0 is nobody's. The largest come first.
    assert_eq!(given(first, 0), 0x20);
    assert_eq!((given(first, 4), given(first, 1)), (0xe000_0000, 0xe000_4000));
    assert_eq!(given(first, 2), 0x80_0000_0000);
    assert_eq!((given(second, 5), given(second, 0)), (0xe010_0000, 0xe020_0000));
    let mut config = found.into_iter().next().unwrap().config;
    let bars = Bar::read_all(&mut config).unwrap();
    let expected = Bar {
        index: 2,
        space: Space::Memory,
        address: 0x80_0000_0000,
        length: 0x2_0000_0000,
        is_64_bit: true,
        is_prefetchable: true,
    };
    assert_eq!(bars.iter().map(|bar| bar.index).collect::<Vec<_>>(), [0, 1, 2, 4]);
    assert_eq!(bars[2], expected);
    assert_eq!((bars[0].space, bars[0].length), (Space::Io, 0x20));
    // Measuring leaves everything as it was.
    assert_eq!(given(first, 2), 0x80_0000_0000);
}

#[test]
fn bars_for_which_there_is_no_room_have_no_address() {
    let hierarchy = Hierarchy::default();
    let wide = bar::MEMORY_64 | bar::PREFETCHABLE;
    let bars = [
        (0, bar::IO, 0x20),
        (1, 0, 0x2000),
        (2, wide, 0x4000),
        (4, 0, 0x1000),
    ];
    let function = hierarchy.add(None, 1, 0, &bars);
    hierarchy.set(function, header::BAR0 + 4, &0xdead_0000_u32.to_le_bytes());
    let mut windows = Windows {
        memory: Window::new(0xe000_0000, 0x5000),
        ..Windows::default()
    };
    configure(&hierarchy.ecam(0..=0), 0, &mut windows).unwrap();
    let given = [0, 1, 2, 4].map(|index| hierarchy.address(function, index));
    assert_eq!(given, [0, 0, 0xe000_0000, 0xe000_4000]);
    assert_eq!(Window::new(u64::MAX, 2), None);
    let mut last = Window::new(u64::MAX - 0xfff, 0xfff).unwrap();
    assert_eq!(last.align(1 << 20), None);
}

#[test]
fn buses_behind_bridges_are_numbered_and_their_addresses_passed_on() {
    let hierarchy = Hierarchy::default();
    let wide = bar::MEMORY_64 | bar::PREFETCHABLE;
    let before = hierarchy.add(None, 0, 0, &[(0, 0, 0x1000)]);
    let outer = hierarchy.add_bridge(None, 1);
    let inner = hierarchy.add_bridge(Some(outer), 0);
    let deep = hierarchy.add(
        Some(inner),
        5,
        0,
        &[(0, bar::IO, 0x40), (1, 0, 0x1000), (4, wide, 0x4000)],
    );
    let shallow = hierarchy.add(Some(outer), 9, 0, &[(1, 0, 0x2000)]);
    let empty = hierarchy.add_bridge(None, 2);
    let after = hierarchy.add(
        None,
        3,
        0,
        &[(0, bar::IO, 0x20), (1, 0, 0x1000), (2, wide, 0x4000)],
    );
    let mut windows = windows();
    let found = configure(&hierarchy.ecam(0..=255), 0, &mut windows).unwrap();
    let mut found = addresses(&found);
    found.sort();
    let expected = [
        "00:00.0", "00:01.0", "00:02.0", "00:03.0", "01:00.0", "01:09.0", "02:05.0",
    ];
    assert_eq!(found, expected);
    let buses = [outer, inner, empty].map(|bridge| hierarchy.get::<3>(bridge, bridge::PRIMARY_BUS));
    assert_eq!(buses, [[0, 1, 2], [1, 2, 2], [0, 3, 3]]);

    let given: BTreeMap<&str, u64> = [
        ("before", hierarchy.address(before, 0)),
        ("deep", hierarchy.address(deep, 1)),
        ("shallow", hierarchy.address(shallow, 1)),
        ("after", hierarchy.address(after, 1)),
        ("deep io", hierarchy.address(deep, 0)),
        ("after io", hierarchy.address(after, 0)),
        ("deep wide", hierarchy.address(deep, 4)),
        ("after wide", hierarchy.address(after, 2)),
    ]
    .into();
    let expected: BTreeMap<&str, u64> = [
        ("before", 0xe000_0000),
        ("deep", 0xe010_0000),
        ("shallow", 0xe020_0000),
        ("after", 0xe030_0000),
        ("deep io", 0x1000),
        ("after io", 0x2000),
        ("deep wide", 0x80_0000_0000),
        ("after wide", 0x80_0010_0000),
    ]
    .into();
    assert_eq!(given, expected);
    // Memory of both bridges, as the first and the last MiB; I/O as the first and the last 4 KiB.
    let memory = |bridge| hierarchy.get::<4>(bridge, bridge::MEMORY_BASE);
    assert_eq!(memory(outer), [0x10, 0xe0, 0x2f, 0xe0]);
    assert_eq!(memory(inner), [0x10, 0xe0, 0x1f, 0xe0]);
    assert_eq!(hierarchy.get::<2>(outer, bridge::IO_BASE), [0x10, 0x1f]);
    assert_eq!(
        hierarchy.get::<4>(outer, bridge::PREFETCHABLE_BASE),
        [0, 0, 0xf, 0]
    );
    let upper = hierarchy.get::<8>(outer, bridge::PREFETCHABLE_BASE_UPPER);
    assert_eq!(upper, [0x80, 0, 0, 0, 0x80, 0, 0, 0]);
    let command = u16::from_le_bytes(hierarchy.get(outer, header::COMMAND));
    assert_eq!(command & 7, 7);
    // What has nothing behind it passes on nothing: its base lies above its limit.
    let [base_low, base, limit_low, limit] = memory(empty);
    assert!(u16::from_le_bytes([base_low, base]) > u16::from_le_bytes([limit_low, limit]));
    let [base, limit] = hierarchy.get::<2>(empty, bridge::IO_BASE);
    assert!(base & 0xf0 > limit & 0xf0);
}

#[test]
fn more_bridges_than_bus_numbers() {
    let hierarchy = Hierarchy::with_root(250);
    let mut behind = None;
    for _ in 0..10 {
        behind = Some(hierarchy.add_bridge(behind, 0));
    }
    let ecam = hierarchy.ecam(0..=255);
    assert_eq!(configure(&ecam, 250, &mut windows()).unwrap().len(), 6);
    assert_eq!(scan(&ecam, 250).unwrap().len(), 6);
}

#[test]
fn bars_of_functions_that_lie() {
    // All bits writable, of every kind of register; a wide one in the last place.
    let hierarchy = Hierarchy::default();
    let function = hierarchy.add(None, 0, 0, &[]);
    hierarchy.set(function, header::HEADER_TYPE, &[2]);
    hierarchy.set(function, header::BAR0, &[0xff; 24]);
    let mut config = hierarchy
        .ecam(0..=0)
        .function(Address::new(0, 0, 0).unwrap())
        .unwrap();
    let bars = Bar::read_all(&mut config).unwrap();
    assert!(bars.iter().all(|bar| bar.length.is_power_of_two()));
    hierarchy.set(function, header::BAR0 + 20, &[0x4, 0, 0, 0]);
    let bars = Bar::read_all(&mut config).unwrap();
    assert!(!bars.last().unwrap().is_64_bit);
    // A bridge has two of them: what comes next is not touched.
    let bridge = hierarchy.add(None, 1, 0, &[(0, 0, 0x1000), (1, bar::MEMORY_64, 0x1000)]);
    hierarchy.set(bridge, header::HEADER_TYPE, &[bridge::TYPE]);
    hierarchy.set(bridge, bridge::PRIMARY_BUS, &[1, 2, 3]);
    let mut config = hierarchy
        .ecam(0..=0)
        .function(Address::new(0, 1, 0).unwrap())
        .unwrap();
    let bars = Bar::read_all(&mut config).unwrap();
    assert_eq!(bars.len(), 2);
    assert_eq!(hierarchy.get::<3>(bridge, bridge::PRIMARY_BUS), [1, 2, 3]);
}
