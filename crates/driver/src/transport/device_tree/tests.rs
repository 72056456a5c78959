use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::transport::pci::{Region, Space, Window, Windows};

/// Makes a flattened device tree by hand (version 17).
#[derive(Default)]
struct Builder {
    structure: Vec<u8>,
    strings: Vec<u8>,
}

impl Builder {
    fn begin(mut self, name: &str) -> Self {
        self.word(1);
        self.padded(&[name.as_bytes(), &[0]].concat());
        self
    }

    fn end(mut self) -> Self {
        self.word(2);
        self
    }

    fn property(mut self, name: &str, value: &[u8]) -> Self {
        let at = self.strings.len() as u32;
        self.strings.extend([name.as_bytes(), &[0]].concat());
        self.word(3);
        self.word(value.len() as u32);
        self.word(at);
        self.padded(value);
        self
    }

    fn cells(self, name: &str, cells: &[u32]) -> Self {
        let bytes: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
        self.property(name, &bytes)
    }

    fn finish(mut self) -> Vec<u8> {
        self.word(9);
        let (reserved, structure) = (40, 56);
        let strings = structure + self.structure.len();
        let total = strings + self.strings.len();
        let header = [
            0xd00d_feed,
            total,
            structure,
            strings,
            reserved,
            17,
            16,
            0,
            self.strings.len(),
            self.structure.len(),
        ];
        let mut tree: Vec<u8> = header
            .iter()
            .flat_map(|word| (*word as u32).to_be_bytes())
            .collect();
        tree.extend([0; 16]);
        tree.extend(self.structure);
        tree.extend(self.strings);
        tree
    }

    fn word(&mut self, word: u32) {
        self.structure.extend(word.to_be_bytes());
    }

    fn padded(&mut self, bytes: &[u8]) {
        self.structure.extend(bytes);
        self.structure.resize(self.structure.len().next_multiple_of(4), 0);
    }
}

const VIRTIO: &[u8] = b"virtio,mmio\0";

fn root() -> Builder {
    Builder::default()
        .begin("")
        .cells("#address-cells", &[2])
        .cells("#size-cells", &[2])
}

fn device(address: u64, length: u64) -> Mmio {
    Mmio {
        address,
        length,
        interrupts: vec![],
    }
}

#[test]
fn devices_at_the_root() {
    let tree = root()
        .begin("virtio_mmio@a000000")
        .property("compatible", VIRTIO)
        .cells("reg", &[0, 0x0a00_0000, 0, 0x200])
        .cells("interrupts", &[0, 16, 1])
        .end()
        .begin("uart@9000000")
        .property("compatible", b"arm,pl011\0")
        .cells("reg", &[0, 0x0900_0000, 0, 0x1000])
        .end()
        .begin("virtio_mmio@12345a000200")
        .property("compatible", b"vendor,special\0virtio,mmio\0")
        .property("status", b"okay\0")
        .cells("reg", &[0x1_2345, 0x0a00_0200, 1, 0x200])
        .end()
        .end()
        .finish();
    let first = Mmio {
        interrupts: vec![0, 16, 1],
        ..device(0x0a00_0000, 0x200)
    };
    assert_eq!(
        mmio(&tree),
        Ok(vec![first, device(0x1_2345_0a00_0200, 0x1_0000_0200)])
    );
}

#[test]
fn addresses_go_through_the_buses_above() {
    let bus = |ranges: Option<&[u32]>| {
        let soc = root()
            .begin("soc")
            .cells("#address-cells", &[1])
            .cells("#size-cells", &[1]);
        let soc = match ranges {
            Some(ranges) => soc.cells("ranges", ranges),
            None => soc,
        };
        let tree = soc
            .begin("virtio@1e000")
            .property("compatible", VIRTIO)
            .cells("reg", &[0x1_e000, 0x200])
            .end();
        mmio(&tree.end().end().finish()).unwrap()
    };
    // The same addresses, a window, one that is too small, two of which the second fits, none at all.
    assert_eq!(bus(Some(&[])), [device(0x1_e000, 0x200)]);
    assert_eq!(
        bus(Some(&[0x1_0000, 7, 0x5000_0000, 0xe200])),
        [device(0x7_5000_e000, 0x200)]
    );
    assert_eq!(bus(Some(&[0x1_0000, 7, 0x5000_0000, 0xe1ff])), []);
    assert_eq!(
        bus(Some(&[0, 1, 0, 0x1000, 0x1_e000, 2, 0x10, 0x200])),
        [device(0x2_0000_0010, 0x200)]
    );
    assert_eq!(bus(Some(&[0, u32::MAX, u32::MAX, 0x10_0000])), []);
    assert_eq!(bus(None), []);
}

#[test]
fn disabled_and_broken_nodes_are_left_out() {
    let node = |build: fn(Builder) -> Builder| {
        let node = root().begin("virtio").property("compatible", VIRTIO);
        mmio(&build(node).end().end().finish()).unwrap()
    };
    assert_eq!(node(|node| node.cells("reg", &[0, 1, 0, 2])), [device(1, 2)]);
    for build in [
        (|node: Builder| node) as fn(Builder) -> Builder,
        |node| node.cells("reg", &[0, 1, 0]),
        |node| node.cells("reg", &[]),
        |node| node.cells("reg", &[0, 1, 0, 2]).property("status", b"disabled\0"),
        |node| node.cells("reg", &[0, 1, 0, 2]).property("status", b"what\0"),
    ] {
        assert_eq!(node(build), []);
    }
}

#[test]
fn what_is_no_device_tree() {
    let tree = root().end().finish();
    assert_eq!(mmio(&tree), Ok(vec![]));
    assert_eq!(mmio(&[]), Err(NoDeviceTree));
    assert_eq!(mmio(&tree[..tree.len() - 20]), Err(NoDeviceTree));
    let mut other = tree.clone();
    other[0] = 0;
    assert_eq!(mmio(&other), Err(NoDeviceTree));
}

#[test]
fn nodes_that_are_too_deep_are_not_looked_at() {
    let deep = |depth: usize| {
        let mut tree = root();
        for _ in 0..depth {
            tree = tree
                .begin("bus")
                .cells("#address-cells", &[1])
                .cells("#size-cells", &[1])
                .property("ranges", &[]);
        }
        // Below the root an address has two cells, below a bus one.
        let register: &[u32] = if depth == 0 { &[0, 1, 0, 2] } else { &[1, 2] };
        tree = tree
            .begin("virtio")
            .property("compatible", VIRTIO)
            .cells("reg", register)
            .end();
        for _ in 0..=depth {
            tree = tree.end();
        }
        mmio(&tree.finish()).unwrap().len()
    };
    assert_eq!([0, 1, DEPTH - 1, DEPTH].map(deep), [1, 1, 1, 0]);
}

/// The host bridge of a machine, with its buses and ranges.
fn bridge(buses: &[u32], ranges: &[u32]) -> PciHost {
    let node = root()
        .begin("pcie@30000000")
        .property("compatible", b"pci-host-ecam-generic\0")
        .cells("#address-cells", &[3])
        .cells("#size-cells", &[2])
        .cells("reg", &[1, 0x3000_0000, 0, 0x1000_0000])
        .cells("ranges", ranges);
    let node = match buses {
        [] => node,
        _ => node.cells("bus-range", buses),
    };
    let mut hosts = pci_hosts(&node.end().end().finish()).unwrap();
    assert_eq!(hosts.len(), 1);
    hosts.remove(0)
}

#[test]
fn pci_host_bridges_and_what_they_pass_on() {
    #[rustfmt::skip]
    let ranges = [
        0x0100_0000, 0, 0, 0, 0x0300_0000, 0, 0x1_0000,
        0x0200_0000, 0, 0x4000_0000, 0, 0x4000_0000, 0, 0x4000_0000,
        0x4300_0000, 4, 0, 4, 0, 4, 0,
        // Configuration space, which is no range.
        0x0000_0000, 0, 0, 9, 0, 0, 0x1000,
    ];
    let host = bridge(&[0, 0x7f], &ranges);
    assert_eq!(
        (host.ecam, host.length, host.buses.clone()),
        (0x1_3000_0000, 0x1000_0000, 0..=0x7f)
    );
    let range = |space, is_64_bit, bus_address, address, length| PciRange {
        space,
        is_64_bit,
        bus_address,
        address,
        length,
    };
    let expected = [
        range(Space::Io, false, 0, 0x300_0000, 0x1_0000),
        range(Space::Memory, false, 0x4000_0000, 0x4000_0000, 0x4000_0000),
        range(Space::Memory, true, 0x4_0000_0000, 0x4_0000_0000, 0x4_0000_0000),
    ];
    assert_eq!(host.ranges, expected);
    let windows = host.windows();
    assert_eq!(windows.io, Window::new(0, 0x1_0000));
    assert_eq!(windows.memory, Window::new(0x4000_0000, 0x4000_0000));
    assert_eq!(windows.prefetchable, Window::new(0x4_0000_0000, 0x4_0000_0000));
    let physical = |space, address, length| {
        let (bar, offset) = (0, 0);
        host.physical(&Region {
            bar,
            offset,
            length,
            space,
            address,
        })
    };
    assert_eq!(physical(Space::Io, Some(0x1000), 0x20), Some(0x300_1000));
    assert_eq!(physical(Space::Io, Some(0xfff0), 0x20), None);
    assert_eq!(
        physical(Space::Memory, Some(0x4000_1000), 0x20),
        Some(0x4000_1000)
    );
    assert_eq!(physical(Space::Memory, Some(0x1000), 0x20), None);
    assert_eq!(physical(Space::Memory, None, 0x20), None);
    assert_eq!(bridge(&[], &[]).buses, 0..=255);
    assert_eq!(bridge(&[], &[]).windows(), Windows::default());
}
