//! What is a virtio device, and what its capabilities may say.

use std::vec;

use ringwright_spec::pci::CfgType;
use ringwright_spec::pci::header::{bar, status};

use super::fake::{COMMON, ISR, capability};
use super::*;

/// A modern device whose capabilities, without MSI-X, `change` has changed.
fn changed(change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Fake {
    let fake = Fake::modern(ENTROPY, MODERN, &[8]);
    fake.board().capabilities.remove(0);
    change(&mut fake.board().capabilities);
    fake.board().seal();
    fake
}

fn works(fake: &Fake) -> bool {
    match drive(fake, &Shared::new(), Options::default()) {
        Ok(()) => true,
        Err(DriverError::Transport(TransportError::Unsupported(_) | TransportError::Protocol(_))) => false,
        Err(error) => panic!("{error}"),
    }
}

/// drv:pci:pci-device-discovery:01, :02, :03
#[test]
fn ids_of_virtio_devices() {
    for (vendor, device, expected) in [
        (0x1af4, 0x1041, Some(1)),
        (0x1af4, 0x107f, Some(0x3f)),
        (0x1af4, 0x1000, Some(1)),
        (0x1af4, 0x1001, Some(2)),
        (0x1af4, 0x1003, Some(3)),
        (0x1af4, 0x1005, Some(4)),
        (0x1af4, 0x1040, None),
        (0x1af4, 0x1080, None),
        (0x1af4, 0x0fff, None),
        (0x1af4, 0x103f, None),
        (0x1af5, 0x1041, None),
        (0x8086, 0x1041, None),
        (0xffff, 0xffff, None),
    ] {
        for revision in [0, 1, 0xff] {
            let fake = Fake::modern(ENTROPY, MODERN, &[8]);
            {
                let mut board = fake.board();
                board.config[..2].copy_from_slice(&u16::to_le_bytes(vendor));
                board.config[2..4].copy_from_slice(&u16::to_le_bytes(device));
                board.config[header::REVISION_ID] = revision;
                board.config[header::SUBSYSTEM_VENDOR_ID..][..4].copy_from_slice(&[revision; 4]);
            }
            let found = try_probe(&fake, Options::default()).unwrap();
            assert_eq!(found.map(|device| device.device_id()), expected);
        }
    }
}

/// drv:pci:virtio-structure-pci-capabilities:02
#[test]
fn the_first_structure_of_each_type_that_can_be_used_is_used() {
    // Ones that lead elsewhere, in front of the good ones and behind them.
    let other = |cfg_type, extra: &[u32]| capability(cfg_type, super::fake::MSIX_BAR, 0, 0x100, 0x100, extra);
    let decoys = [
        other(CfgType::COMMON_CFG, &[]),
        other(CfgType::ISR_CFG, &[]),
        other(CfgType::NOTIFY_CFG, &[0]),
    ];
    let behind = changed(|capabilities| {
        capabilities.remove(2);
        capabilities.extend(decoys.clone());
    });
    assert!(works(&behind));
    let before = changed(|capabilities| {
        capabilities.remove(2);
        capabilities.splice(..0, decoys.clone());
    });
    // The registers of MSI-X take them for what they are not, and the device never becomes ready.
    let mut device = probe(&before);
    assert_eq!(device.status().map(|status| status.0), Ok(0));
    let log = before.board().log.last().copied();
    assert_eq!(log, Some((super::fake::MSIX_BAR, 0x114)));
    // An I/O BAR first, which this platform does not reach: the memory BAR is used.
    let fake = Fake::transitional(ENTROPY, MODERN, &[8]);
    let notify = capability(CfgType::NOTIFY_CFG, IO_BAR, 0, 0x10, 0x10, &[0]);
    fake.board().capabilities.insert(1, notify);
    fake.board().reaches = [false, true];
    fake.board().seal();
    assert!(works(&fake));
    assert!(fake.board().log.contains(&(BAR, NOTIFY.into())));
}

/// drv:pci:virtio-structure-pci-capabilities:01, :03, :04, :06
#[test]
fn capabilities_that_are_ignored_and_ones_that_are_not() {
    let good: [fn(&mut Vec<Vec<u8>>); 9] = [
        |_| {},
        // Reserved types, and BARs.
        |capabilities| {
            for cfg_type in [0, 6, 7, 10, 0xff] {
                capabilities.insert(0, capability(CfgType(cfg_type), BAR, 0, 0, 64, &[]));
            }
        },
        |capabilities| {
            for bar in [6, 7, 0xff] {
                capabilities.insert(0, capability(CfgType::COMMON_CFG, bar, 0, 0, 64, &[]));
            }
        },
        // A BAR that the function does not have, offsets beyond the end of one, no alignment, no length.
        |capabilities| capabilities.insert(0, capability(CfgType::COMMON_CFG, 3, 0, 0, 64, &[])),
        |capabilities| {
            for offset in [0x4000, 0x4001, u32::MAX, 2, 0x3fe0] {
                capabilities.insert(0, capability(CfgType::COMMON_CFG, BAR, 0, offset, 64, &[]));
            }
        },
        |capabilities| {
            capabilities.insert(0, capability(CfgType::COMMON_CFG, BAR, 0, COMMON, 55, &[]));
            capabilities.insert(0, capability(CfgType::ISR_CFG, BAR, 0, ISR, 0, &[]));
            capabilities.insert(0, capability(CfgType::NOTIFY_CFG, BAR, 0, NOTIFY, 1, &[0]));
            capabilities.insert(0, capability(CfgType::NOTIFY_CFG, BAR, 0, NOTIFY + 1, 4, &[0]));
        },
        // Too short to be what they say.
        |capabilities| {
            let mut short = capability(CfgType::COMMON_CFG, super::fake::MSIX_BAR, 0, 0, 64, &[]);
            short[2] = 15;
            capabilities.insert(0, short);
            let notify = capability(CfgType::NOTIFY_CFG, super::fake::MSIX_BAR, 0, 0, 64, &[]);
            capabilities.insert(0, notify);
        },
        // Longer than needed, and structures that are said to be huge.
        |capabilities| {
            for capability in capabilities.iter_mut() {
                capability[2] += 8;
                capability.extend([0xee; 8]);
                capability[12..16].fill(0xff);
            }
        },
        // Capabilities of other kinds between them.
        |capabilities| {
            capabilities.insert(1, vec![0x01, 0, 0, 0, 0, 0, 0, 0]);
            capabilities.insert(0, vec![0xff, 0, 0, 0]);
        },
    ];
    for (number, change) in good.into_iter().enumerate() {
        assert!(works(&changed(change)), "case {number}");
    }
    // Without one of these it cannot be used.
    for needed in [0, 1, 3] {
        let fake = changed(|capabilities| drop(capabilities.remove(needed)));
        assert!(!works(&fake), "{needed}");
    }
    // A device-specific configuration that cannot be reached is not taken for one that is not there.
    let fake = changed(|capabilities| {
        capabilities[2] = capability(CfgType::DEVICE_CFG, IO_BAR, 0, 0, 64, &[]);
        capabilities.pop();
    });
    fake.board().bars.push((IO_BAR, bar::IO, 0x80));
    fake.board().seal();
    fake.board().reaches = [false, true];
    assert!(!works(&fake));
}

#[test]
fn lists_that_go_round_in_circles_or_leave_the_capabilities() {
    // The last capability leads back, to itself, into the header, to the end, between two.
    for (next, expected) in [
        (0x40, true),
        (0x90, true),
        (0x3c, true),
        (0x04, true),
        (0xfc, true),
        (0x43, true),
    ] {
        let fake = Fake::modern(ENTROPY, MODERN, &[8]);
        let mut at = 0x40;
        while fake.board().config[at + 1] != 0 {
            at = fake.board().config[at + 1].into();
        }
        fake.board().config[at + 1] = next;
        assert_eq!(works(&fake), expected, "{next:#x}");
        let reads = fake.board().log.len();
        assert!(reads < 1500, "{reads}");
    }
    // All of it vendor-specific capabilities that overlap.
    let fake = Fake::modern(ENTROPY, MODERN, &[8]);
    fake.board().capabilities.clear();
    for at in (0x40..0x100).step_by(4) {
        let next = if at < 0xfc { at as u8 + 4 } else { 0x40 };
        fake.board().config[at..at + 4].copy_from_slice(&[9, next, 16, 1]);
    }
    assert!(!works(&fake));
    // A list that nobody says is there.
    let fake = Fake::modern(ENTROPY, MODERN, &[8]);
    fake.board().config[header::STATUS] &= !status::CAPABILITIES as u8;
    assert!(!works(&fake));
    let legacy = Fake::legacy(ENTROPY, Features::NONE, &[8]);
    legacy.board().config[header::STATUS] = 0;
    assert!(works(&legacy));
}

#[test]
fn a_legacy_device_has_its_registers_in_an_io_bar() {
    for change in [
        (|fake: &Fake| fake.board().bars.truncate(0)) as fn(&Fake),
        // In memory space, where the legacy interface never is.
        |fake| fake.board().bars[0].1 = 0,
    ] {
        let fake = Fake::legacy(ENTROPY, Features::NONE, &[8]);
        change(&fake);
        fake.board().config[header::BAR0..header::BAR0 + 24].fill(0);
        fake.board().seal();
        let refused = try_probe(&fake, Options::default()).err();
        assert!(matches!(refused, Some(TransportError::Protocol(_))));
    }
}

#[test]
fn shared_memory_regions() {
    let region = |id, offset, length: u64, high: u32| {
        let extra = [high, (length >> 32) as u32];
        capability(CfgType::SHARED_MEMORY_CFG, 2, id, offset, length as u32, &extra)
    };
    let fake = Fake::modern(ENTROPY, MODERN, &[8]);
    fake.board()
        .bars
        .push((2, bar::MEMORY_64 | bar::PREFETCHABLE, 1 << 40));
    let mut short = region(3, 0, 0x1000, 0);
    short[2] = 20;
    // Without the structures that a shorter list leaves room for.
    fake.board().capabilities.truncate(5);
    fake.board().capabilities.extend([
        region(1, 0x1000, 0x2_0000_0000, 3),
        region(1, 0, 0x1000, 0),
        // Not within the BAR, and too short to say.
        region(2, 0, 1 << 40, 1),
        short,
    ]);
    fake.board().seal();
    let register = header::BAR0 + 8;
    fake.board().config[register..register + 8].copy_from_slice(&0x500_0000_000c_u64.to_le_bytes());
    let mut device = probe(&fake);
    let found = [0, 1, 2, 3].map(|id| device.shared_memory(id).unwrap());
    assert_eq!(found, [None, Some((0x503_0000_1000, 0x2_0000_0000)), None, None]);
    let mapped = fake.board().log.iter().any(|(bar, _)| *bar == 2);
    assert!(!mapped, "nobody has asked for what is in it");
}

/// drv:core:device-configuration-space:03
#[test]
fn configuration_spaces_may_have_any_size_that_has_the_fields_in_use() {
    for (length, works) in [
        (4, true),
        (5, true),
        (64, true),
        (0x1000, true),
        (u32::MAX, true),
        (2, false),
    ] {
        let fake = Fake::modern(3, MODERN | lives::features(3), &[8, 8]);
        let device = fake.board().capabilities.len() - 3;
        fake.board().capabilities[device] = capability(CfgType::DEVICE_CFG, BAR, 0, 0x2000, length, &[]);
        fake.board().seal();
        lives::configure(&mut fake.board().model, ByteOrder::Little);
        let transport = probe(&fake);
        let area = Shared::new().area;
        let mut console = crate::console::Console::new(transport, &area, DriverOptions::default()).unwrap();
        assert_eq!(console.size().is_ok(), works, "{length}");
    }
}
