//! The configuration space: identity, header, base address registers, capabilities.

use ringwright_spec::pci::{self, Cap, Cap64, CfgType, VndrData};
use ringwright_spec::{DeviceType, device_type, feature};

use super::*;
use crate::SharedMemory;
use crate::transport::testing::{Probe, probe};

fn of_type(device_type: &'static DeviceType) -> Probe {
    let mut probe = probe(1);
    probe.description.device_type = device_type;
    probe.description.features = Features::NONE;
    probe.description.config_size = device_type.config_size;
    probe
}

fn with_kind(kind: Kind) -> Options {
    Options {
        kind,
        ..Options::default()
    }
}

fn function(device: Probe, options: Options) -> Result<Function, FunctionError> {
    Function::new(Box::new(device), options, Arc::new(Board::default()))
}

fn read<const N: usize>(function: &mut Function, offset: usize) -> [u8; N] {
    let mut data = [0xa5; N];
    function.config_read(offset as u64, &mut data);
    data
}

fn u16_at(function: &mut Function, offset: usize) -> u16 {
    u16::from_le_bytes(read(function, offset))
}

fn u32_at(function: &mut Function, offset: usize) -> u32 {
    u32::from_le_bytes(read(function, offset))
}

/// `dev:pci:pci-device-discovery:01`, `dev:pci:pci-device-discovery:02`, `dev:pci:pci-device-discovery:04` to
/// `dev:pci:pci-device-discovery:06`, and section 4.1.2.3 for transitional devices.
#[test]
fn every_device_type_has_its_ids() {
    for device_type in device_type::ALL {
        let mut modern = function(of_type(device_type), with_kind(Kind::NonTransitional)).unwrap();
        assert_eq!(u16_at(&mut modern, header::VENDOR_ID), 0x1af4);
        assert_eq!(
            u16_at(&mut modern, header::DEVICE_ID),
            0x1040 + device_type.id as u16
        );
        assert!(read::<1>(&mut modern, header::REVISION_ID)[0] >= 1);
        assert!(u16_at(&mut modern, header::SUBSYSTEM_ID) >= 0x40);
        for kind in [Kind::Transitional, Kind::Legacy] {
            let outcome = function(of_type(device_type), with_kind(kind));
            let Some(id) = device_type.transitional_pci_id else {
                assert!(matches!(outcome, Err(FunctionError::NotTransitional(_))));
                continue;
            };
            let mut legacy = outcome.unwrap();
            assert_eq!(u16_at(&mut legacy, header::VENDOR_ID), 0x1af4);
            assert_eq!(u16_at(&mut legacy, header::DEVICE_ID), id);
            assert_eq!(read(&mut legacy, header::REVISION_ID), [0]);
            assert_eq!(u16_at(&mut legacy, header::SUBSYSTEM_ID), device_type.id as u16);
        }
    }
    let options = Options {
        subsystem: Some((0x1234, 0x5678)),
        ..Options::default()
    };
    let mut function = function(probe(1), options).unwrap();
    assert_eq!(u32_at(&mut function, header::SUBSYSTEM_VENDOR_ID), 0x5678_1234);
}

#[test]
fn any_width_reads_the_same_and_what_is_beyond_reads_as_ones() {
    for conventional in [false, true] {
        let options = Options {
            conventional,
            ..Options::default()
        };
        let mut function = function(probe(2), options).unwrap();
        let size = function.config_size();
        assert_eq!(size, if conventional { 256 } else { 4096 });
        let mut image: Vec<u8> = function.space.bytes().to_vec();
        image.resize(size + 64, 0xff);
        for offset in (0..300).chain(size - 16..size + 16) {
            for width in [1, 2, 3, 4, 8] {
                let mut data = vec![0x5a; width];
                function.config_read(offset as u64, &mut data);
                assert_eq!(
                    data,
                    image[offset..offset + width],
                    "{width} bytes at {offset:#x}"
                );
            }
        }
        let mut data = [0; 4];
        function.config_read(u64::MAX - 1, &mut data);
        assert_eq!(data, [0xff; 4]);
        function.config_write(u64::MAX - 1, &data);
        function.config_write(size as u64 - 2, &data);
        assert_eq!(function.space.bytes(), &image[..size]);
    }
}

/// A driver writes ones and zeroes to every byte: only bits that are its to write change.
#[test]
fn read_only_bits_stay_as_they_are() {
    for kind in [Kind::NonTransitional, Kind::Transitional, Kind::Legacy] {
        let mut function = function(probe(2), with_kind(kind)).unwrap();
        let initial = function.space.bytes().to_vec();
        let mask = writable(&function);
        for offset in 0..function.config_size() {
            for byte in [0xff, 0, 0x5a] {
                // Not the bits that reset the function.
                let express = function
                    .offsets
                    .express
                    .map(|at| at + header::express::DEVICE_CONTROL + 1);
                let advanced = function
                    .offsets
                    .advanced
                    .map(|at| at + header::advanced_features::CONTROL);
                let byte = match () {
                    () if express == Some(offset) => byte & 0x7f,
                    () if advanced == Some(offset) => byte & 0xfe,
                    () => byte,
                };
                function.config_write(offset as u64, &[byte]);
                let expected = initial[offset] & !mask[offset] | byte & mask[offset];
                assert_eq!(function.space.bytes()[offset], expected, "{offset:#x}, {kind:?}");
            }
            function.config_write(offset as u64, &[initial[offset]]);
        }
        assert_eq!(function.space.bytes(), initial);
    }
}

/// The bits that a driver can write, as \[PCI\] and the document have them.
fn writable(function: &Function) -> Vec<u8> {
    let mut mask = vec![0; function.config_size()];
    let mut put = |at: usize, bits: &[u8]| mask[at..][..bits.len()].copy_from_slice(bits);
    let io = function.bars().iter().any(|bar| bar.kind == BarKind::Io);
    put(header::COMMAND, &[0x46 | u8::from(io), 0x05]);
    put(header::INTERRUPT_LINE, &[0xff]);
    for bar in function.bars() {
        let address = !(bar.size - 1);
        match bar.kind {
            BarKind::Io => put(bar.register(), &(address as u32 & !3).to_le_bytes()),
            BarKind::Memory32 => put(bar.register(), &(address as u32).to_le_bytes()),
            BarKind::Memory64 => put(bar.register(), &address.to_le_bytes()),
        }
    }
    let offsets = function.offsets;
    if let Some(at) = offsets.msix {
        put(at + 2, &[0, 0xc0]);
    }
    if let Some(at) = offsets.power {
        put(at + 4, &[3]);
    }
    if let Some(at) = offsets.express {
        put(at + 8, &[0xff, 0x7f]);
    }
    if let Some(at) = offsets.window {
        // bar, offset, length, data.
        put(at + 4, &[0xff]);
        put(at + 8, &[0xff; 12]);
    }
    mask
}

#[test]
fn base_address_registers_tell_their_size_and_take_an_address() {
    for kind in [Kind::NonTransitional, Kind::Transitional, Kind::Legacy] {
        let mut probe = probe(2);
        probe.description.shared_memory = vec![SharedMemory {
            id: 1,
            length: 5 << 30,
        }];
        let mut function = function(probe, with_kind(kind)).unwrap();
        let command = header::COMMAND as u64;
        let kinds: Vec<_> = function.bars().iter().map(|bar| (bar.index, bar.kind)).collect();
        let io = (0, BarKind::Io);
        let (msix, shared) = ((1, BarKind::Memory32), (2, BarKind::Memory64));
        let modern = (4, BarKind::Memory64);
        assert_eq!(
            kinds,
            match kind {
                Kind::NonTransitional => vec![msix, shared, modern],
                Kind::Transitional => vec![io, msix, shared, modern],
                Kind::Legacy => vec![io, msix, shared],
            }
        );
        for bar in function.bars() {
            let register = bar.register();
            let low = u32_at(&mut function, register);
            let (flags, mask) = match bar.kind {
                BarKind::Io => (1, 3),
                BarKind::Memory32 => (0, 0xf),
                BarKind::Memory64 => (if bar.prefetchable { 0xc } else { 0x4 }, 0xf),
            };
            assert_eq!(low, flags);
            // As drivers find out the size.
            function.config_write(register as u64, &[0xff; 4]);
            let mut size = u64::from(u32_at(&mut function, register) & !mask) | 0xffff_ffff << 32;
            if bar.kind == BarKind::Memory64 {
                function.config_write(register as u64 + 4, &[0xff; 4]);
                size = size & 0xffff_ffff | u64::from(u32_at(&mut function, register + 4)) << 32;
            }
            assert_eq!((!size).wrapping_add(1), bar.size);
            // All ones are no address, nor is zero.
            let all = (command::IO | command::MEMORY).to_le_bytes();
            function.config_write(command, &all);
            assert_eq!(address(&function, bar.index), None);
            function.config_write(register as u64, &[0; 8]);
            assert_eq!(address(&function, bar.index), None);
            let address64 = if bar.kind == BarKind::Memory64 {
                0x12_0000_0000
            } else {
                0
            };
            let place = (address64 | 0x4000_0000) & !(bar.size - 1) | address64;
            let place = if bar.kind == BarKind::Io { 0x2000 } else { place };
            let changed = function.config_write(register as u64, &(place as u32).to_le_bytes());
            if bar.kind == BarKind::Memory64 {
                function.config_write(register as u64 + 4, &((place >> 32) as u32).to_le_bytes());
            } else {
                assert!(changed);
            }
            assert_eq!(address(&function, bar.index), Some(place));
            assert_eq!(u32_at(&mut function, register), place as u32 | flags);
            // It answers only in a space that is enabled.
            let other = if bar.kind == BarKind::Io {
                command::MEMORY
            } else {
                command::IO
            };
            assert!(function.config_write(command, &other.to_le_bytes()));
            assert_eq!(address(&function, bar.index), None);
            assert!(!function.config_write(header::INTERRUPT_LINE as u64, &[5]));
            function.reset();
            assert_eq!(u32_at(&mut function, register), flags);
        }
    }
}

fn address(function: &Function, index: u8) -> Option<u64> {
    function
        .bars()
        .into_iter()
        .find(|bar| bar.index == index)
        .unwrap()
        .address
}

/// Offsets of the virtio structure capabilities of this type.
fn structures(function: &Function, cfg_type: CfgType) -> Vec<usize> {
    let bytes = function.space.bytes();
    let mut found = Vec::new();
    let mut at = usize::from(bytes[header::CAPABILITIES]);
    while at != 0 {
        if bytes[at] == pci::CAP_ID_VNDR && bytes[at + 3] == cfg_type.0 {
            found.push(at);
        }
        at = usize::from(bytes[at + 1]);
    }
    found
}

/// `dev:pci:virtio-structure-pci-capabilities:01`, `dev:pci:common-configuration-structure-layout:01`,
/// `dev:pci:common-configuration-structure-layout:02`, `dev:pci:notification-capability:01`,
/// `dev:pci:isr-status-capability:01`, `dev:pci:device-specific-configuration:01`,
/// `dev:pci:pci-configuration-access-capability:01`
#[test]
fn every_structure_has_a_capability_and_lies_within_its_bar() {
    for kind in [Kind::NonTransitional, Kind::Transitional] {
        let mut function = function(probe(2), with_kind(kind)).unwrap();
        assert_ne!(
            u16_at(&mut function, header::STATUS) & header::status::CAPABILITIES,
            0
        );
        let bars = function.bars();
        let mut ranges = Vec::new();
        for (cfg_type, size, align, length) in [
            (CfgType::COMMON_CFG, 16, 4, 64),
            (CfgType::NOTIFY_CFG, 20, 4, 8),
            (CfgType::ISR_CFG, 16, 1, 1),
            (
                CfgType::DEVICE_CFG,
                16,
                4,
                ringwright_spec::block::DEVICE.config_size as u32,
            ),
            (CfgType::PCI_CFG, 20, 1, 0),
        ] {
            let found = structures(&function, cfg_type);
            assert_eq!(found.len(), 1, "{cfg_type:?}");
            let bytes = &function.space.bytes()[found[0]..];
            let cap = Cap::read_from_prefix(bytes).unwrap().0;
            assert_eq!((cap.cap_len, cap.length.get()), (size, length), "{cfg_type:?}");
            assert!(cap.offset.get().is_multiple_of(align));
            if length > 0 {
                let bar = bars.iter().find(|bar| bar.index == cap.bar).unwrap();
                let end = u64::from(cap.offset.get()) + u64::from(length);
                assert!(end <= bar.size);
                ranges.push(u64::from(cap.offset.get())..end);
            }
        }
        ranges.sort_by_key(|range| range.start);
        assert!(
            ranges.windows(2).all(|pair| pair[0].end <= pair[1].start),
            "{ranges:?}"
        );
    }
    // A device without a configuration space has no structure for it, a legacy one has none at all.
    let entropy = function(of_type(&ringwright_spec::entropy::DEVICE), Options::default()).unwrap();
    assert_eq!(structures(&entropy, CfgType::DEVICE_CFG), []);
    let legacy = function(probe(1), with_kind(Kind::Legacy)).unwrap();
    for (cfg_type, _) in CfgType::ALL {
        assert_eq!(structures(&legacy, *cfg_type), []);
    }
}

/// `dev:pci:shared-memory-capability:01`, `dev:pci:shared-memory-capability:02`
#[test]
fn shared_memory_regions_lie_within_their_bar() {
    let mut probe = probe(1);
    let regions = [(7, 0x1000), (1, 3 << 30), (0, 0x1_2345_6000)];
    probe.description.shared_memory = regions.map(|(id, length)| SharedMemory { id, length }).to_vec();
    let options = Options {
        conventional: true,
        ..Options::default()
    };
    let function = function(probe, options).unwrap();
    let found = structures(&function, CfgType::SHARED_MEMORY_CFG);
    assert_eq!(found.len(), 3);
    let mut end = 0;
    for ((at, (id, length)), place) in found.iter().zip(regions).zip(function.shared_memory()) {
        let cap = Cap64::read_from_prefix(&function.space.bytes()[*at..]).unwrap().0;
        let whole = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
        let offset = whole(cap.cap.offset.get(), cap.offset_hi.get());
        assert_eq!((cap.cap.cap_len, cap.cap.id), (24, id));
        assert_eq!(whole(cap.cap.length.get(), cap.length_hi.get()), length);
        let bar = function
            .bars()
            .into_iter()
            .find(|bar| bar.index == cap.cap.bar)
            .unwrap();
        assert!(
            offset >= end && offset + length <= bar.size,
            "regions do not overlap"
        );
        end = offset + length;
        let expected = SharedMemoryPlace {
            id,
            bar: cap.cap.bar,
            offset,
            length,
        };
        assert_eq!(*place, expected);
    }
}

/// `dev:pci:vendor-data-capability:01`, `dev:pci:vendor-data-capability:02`, `dev:pci:vendor-data-capability:03`
#[test]
fn vendor_data_are_there_to_be_read() {
    let data = |vendor_id, data: &[u8]| VendorData {
        vendor_id,
        data: data.to_vec(),
    };
    let options = |vendor_data| Options {
        vendor_data,
        conventional: true,
        ..Options::default()
    };
    let all = vec![data(0x1b36, b""), data(0x1b36, b"12345"), data(0x8086, b"1")];
    let mut function_with = function(probe(1), options(all.clone())).unwrap();
    let found = structures(&function_with, CfgType::VENDOR_CFG);
    assert_eq!(found.len(), 3);
    function_with.pause();
    let before = function_with.save().unwrap();
    for (at, data) in found.into_iter().zip(all) {
        let bytes = &function_with.space.bytes()[at..];
        let head = VndrData::read_from_prefix(bytes).unwrap().0;
        assert_eq!(head.vendor_id.get(), data.vendor_id);
        assert_ne!(head.vendor_id.get(), 0x1af4);
        assert!(head.cap_len.is_multiple_of(4) && usize::from(head.cap_len) >= 6 + data.data.len());
        assert_eq!(bytes[6..][..data.data.len()], data.data);
        for offset in at..at + usize::from(head.cap_len) {
            read::<4>(&mut function_with, offset);
        }
    }
    assert!(function_with.save().unwrap() == before);
    let refused = |vendor_data| function(probe(1), options(vendor_data)).unwrap_err();
    assert!(matches!(
        refused(vec![data(0x1af4, b"")]),
        FunctionError::VendorData(0x1af4)
    ));
    assert!(matches!(
        refused(vec![data(1, &[0; 250])]),
        FunctionError::VendorData(1)
    ));
    assert!(matches!(refused(vec![data(1, &[0; 100])]), FunctionError::NoRoom));
}

/// `dev:feat:reserved-feature-bits:09`
#[test]
fn sr_iov_is_offered_with_its_capability_only() {
    use header::sr_iov;
    let offers = |function: &Function| function.offered_features().contains(feature::SR_IOV);
    assert!(!offers(&function(probe(1), Options::default()).unwrap()));
    let options = Options {
        sr_iov: Some(SrIov {
            total: 5,
            first_offset: 0x80,
            stride: 2,
        }),
        ..Options::default()
    };
    let mut with = function(probe(1), options.clone()).unwrap();
    assert!(offers(&with));
    let at = with.offsets.sr_iov.unwrap();
    assert_eq!(at, 0x100);
    assert_eq!(u32_at(&mut with, at), 0x0001_0010);
    for (offset, value) in [
        (sr_iov::INITIAL_VFS, 5),
        (sr_iov::TOTAL_VFS, 5),
        (sr_iov::NUM_VFS, 0),
        (sr_iov::FIRST_VF_OFFSET, 0x80),
        (sr_iov::VF_STRIDE, 2),
        (sr_iov::VF_DEVICE_ID, 0x1042),
    ] {
        assert_eq!(u16_at(&mut with, at + offset), value);
    }
    let control = (at + sr_iov::CONTROL) as u64;
    assert_eq!(with.virtual_functions(), 0);
    with.config_write((at + sr_iov::NUM_VFS) as u64, &3u16.to_le_bytes());
    assert_eq!(with.virtual_functions(), 0);
    with.config_write(control, &(sr_iov::VF_ENABLE | sr_iov::VF_MEMORY).to_le_bytes());
    assert_eq!(with.virtual_functions(), 3);
    with.config_write((at + sr_iov::NUM_VFS) as u64, &9u16.to_le_bytes());
    assert_eq!(with.virtual_functions(), 5, "no more than there can be");
    // Each virtual function takes as much as this one.
    for bar in with.bars() {
        let place = at + sr_iov::VF_BAR0 + 4 * usize::from(bar.index);
        with.config_write(place as u64, &[0xff; 4]);
        assert_eq!(!(u32_at(&mut with, place) & !0xf), bar.size as u32 - 1);
    }
    with.reset();
    assert_eq!(with.virtual_functions(), 0);
    let conventional = Options {
        conventional: true,
        ..options
    };
    let outcome = function(probe(1), conventional);
    assert!(matches!(outcome, Err(FunctionError::ConventionalSrIov)));
}

#[test]
fn options_that_leave_no_room_are_refused() {
    let mut probe = probe(1);
    probe.description.shared_memory = (0..3).map(|id| SharedMemory { id, length: 4096 }).collect();
    let description = probe.description.clone();
    let outcome = function(probe, Options::default());
    assert!(matches!(outcome, Err(FunctionError::NoRoom)));
    assert_eq!(description.shared_memory.len(), 3);
}
