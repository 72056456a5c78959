//! The device tree that tells the kernel what the machine has.

use dtoolkit::ToPropertyValue;
use dtoolkit::model::{DeviceTree, DeviceTreeNode as Node, DeviceTreeProperty as Property};

use crate::interrupts::{IDENTITIES, SOURCES};
use crate::map::{self, Window};
use crate::{TIMEBASE_HZ, hart};

/// What varies from one machine to the next.
#[derive(Clone, Copy, Debug)]
pub struct Description<'a> {
    /// Bytes of memory.
    pub memory: u64,
    /// How many harts.
    pub harts: usize,
    /// The kernel's command line.
    pub arguments: &'a str,
    /// Where the initial file system is: first address, and the one after the last; equal if there is none.
    pub initrd: (u64, u64),
    /// Randomness for the kernel to begin with.
    pub seed: &'a [u8],
    /// The virtio-mmio slots that have a device.
    pub mmio_slots: &'a [usize],
    /// Whether there is a PCI host bridge.
    pub pci: bool,
}

/// Phandles: names by which one node refers to another.
mod phandle {
    pub const IMSIC: u32 = 1;
    pub const APLIC: u32 = 2;
    /// Of the first hart's interrupt controller; those of the others follow.
    pub const HART: u32 = 16;
}

/// What `interrupts` says of a wire that interrupts as long as it is high.
const LEVEL_HIGH: u32 = 4;

/// Number of the supervisor external interrupt.
const EXTERNAL: u32 = 9;

/// A property without a value: it is there.
const PRESENT: [u8; 0] = [];

impl Description<'_> {
    /// The device tree, flattened.
    pub fn flatten(&self) -> Vec<u8> {
        let mut tree = DeviceTree::new();
        for property in [
            property("#address-cells", 2u32),
            property("#size-cells", 2u32),
            property("compatible", "ringwright,machine"),
            property("model", "Ringwright's embedded machine"),
        ] {
            tree.root.add_property(property);
        }
        for child in [self.chosen(), self.memory(), self.harts(), self.soc()] {
            tree.root.add_child(child);
        }
        tree.to_dtb()
    }

    fn chosen(&self) -> Node {
        let mut chosen = node(
            "chosen",
            [
                property("bootargs", self.arguments),
                property("rng-seed", self.seed),
            ],
        );
        if self.initrd.0 != self.initrd.1 {
            chosen.add_property(property("linux,initrd-start", self.initrd.0));
            chosen.add_property(property("linux,initrd-end", self.initrd.1));
        }
        chosen
    }

    fn memory(&self) -> Node {
        let window = Window {
            length: self.memory,
            ..map::RAM
        };
        node(
            &format!("memory@{:x}", window.base),
            [property("device_type", "memory"), reg(window)],
        )
    }

    fn harts(&self) -> Node {
        let mut cpus = node(
            "cpus",
            [
                property("#address-cells", 1u32),
                property("#size-cells", 0u32),
                property("timebase-frequency", TIMEBASE_HZ as u32),
            ],
        );
        for (hart, handle) in self.hart_handles() {
            let mut cpu = node(
                &format!("cpu@{hart:x}"),
                [
                    property("device_type", "cpu"),
                    property("reg", hart),
                    property("status", "okay"),
                    property("compatible", "riscv"),
                    property("riscv,isa", isa()),
                    property("riscv,isa-base", "rv64i"),
                    property("riscv,isa-extensions", hart::EXTENSIONS),
                    property("riscv,cboz-block-size", hart::ZERO_BLOCK),
                    property("mmu-type", hart::MMU),
                ],
            );
            cpu.add_child(node(
                "interrupt-controller",
                [
                    property("compatible", "riscv,cpu-intc"),
                    property("interrupt-controller", PRESENT),
                    property("#interrupt-cells", 1u32),
                    property("phandle", handle),
                ],
            ));
            cpus.add_child(cpu);
        }
        cpus
    }

    fn soc(&self) -> Node {
        let mut soc = node(
            "soc",
            [
                property("compatible", "simple-bus"),
                property("#address-cells", 2u32),
                property("#size-cells", 2u32),
                property("ranges", PRESENT),
            ],
        );
        soc.add_child(self.imsic());
        soc.add_child(aplic());
        soc.add_child(rtc());
        for slot in self.mmio_slots {
            soc.add_child(mmio(*slot));
        }
        if self.pci {
            soc.add_child(pci());
        }
        soc
    }

    fn imsic(&self) -> Node {
        let harts = self.hart_handles().flat_map(|(_, handle)| [handle, EXTERNAL]);
        device(
            "interrupt-controller",
            map::IMSIC,
            [
                property("compatible", "riscv,imsics"),
                property("interrupt-controller", PRESENT),
                property("#interrupt-cells", 0u32),
                property("msi-controller", PRESENT),
                property("#msi-cells", 0u32),
                property("interrupts-extended", harts.collect::<Vec<u32>>()),
                property("riscv,num-ids", IDENTITIES),
                property("phandle", phandle::IMSIC),
            ],
        )
    }

    /// Number and interrupt controller of each hart.
    fn hart_handles(&self) -> impl Iterator<Item = (u32, u32)> {
        (0..self.harts as u32).map(|hart| (hart, phandle::HART + hart))
    }
}

fn aplic() -> Node {
    device(
        "interrupt-controller",
        map::APLIC,
        [
            property("compatible", "riscv,aplic"),
            property("interrupt-controller", PRESENT),
            property("#interrupt-cells", 2u32),
            property("#address-cells", 0u32),
            property("msi-parent", phandle::IMSIC),
            property("riscv,num-sources", SOURCES),
            property("phandle", phandle::APLIC),
        ],
    )
}

fn rtc() -> Node {
    let [parent, interrupts] = wire(map::RTC_SOURCE);
    device(
        "rtc",
        map::RTC,
        [property("compatible", "google,goldfish-rtc"), parent, interrupts],
    )
}

fn mmio(slot: usize) -> Node {
    let [parent, interrupts] = wire(map::mmio_source(slot));
    device(
        "virtio_mmio",
        map::mmio_slot(slot),
        [property("compatible", "virtio,mmio"), parent, interrupts],
    )
}

fn pci() -> Node {
    /// The space that a range of bus addresses is in: the first cell of `ranges`.
    const IO: u32 = 0x0100_0000;
    const MEMORY_32: u32 = 0x0200_0000;
    const MEMORY_64: u32 = 0x0300_0000;
    let range = |space: u32, bus: u64, window: Window| {
        [vec![space], cells(&[bus, window.base, window.length])].concat()
    };
    let ranges = [
        range(IO, 0, map::PCI_IO),
        range(MEMORY_32, map::PCI_MEMORY_32.base, map::PCI_MEMORY_32),
        range(MEMORY_64, map::PCI_MEMORY_64.base, map::PCI_MEMORY_64),
    ];
    // By the lowest two bits of the device number, as the wires repeat after that.
    let pins = (0..4).flat_map(|device| (0..4).map(move |pin| (device, pin)));
    let wires = pins.flat_map(|(device, pin)| {
        let source = map::intx_source(device, pin);
        [
            (device as u32) << 11,
            0,
            0,
            pin as u32 + 1,
            phandle::APLIC,
            source,
            LEVEL_HIGH,
        ]
    });
    device(
        "pci",
        map::PCI_CONFIG,
        [
            property("compatible", "pci-host-ecam-generic"),
            property("device_type", "pci"),
            property("#address-cells", 3u32),
            property("#size-cells", 2u32),
            property("#interrupt-cells", 1u32),
            property("bus-range", [0u32, 0]),
            property("dma-coherent", PRESENT),
            property("msi-parent", phandle::IMSIC),
            property("ranges", ranges.concat()),
            property("interrupt-map-mask", [3u32 << 11, 0, 0, 7]),
            property("interrupt-map", wires.collect::<Vec<u32>>()),
        ],
    )
}

/// The wire that a device interrupts by.
fn wire(source: u32) -> [Property; 2] {
    [
        property("interrupt-parent", phandle::APLIC),
        property("interrupts", [source, LEVEL_HIGH]),
    ]
}

/// A node with registers.
fn device<const N: usize>(name: &str, window: Window, properties: [Property; N]) -> Node {
    let mut node = node(&format!("{name}@{:x}", window.base), properties);
    node.add_property(reg(window));
    node
}

fn reg(window: Window) -> Property {
    property("reg", cells(&[window.base, window.length]))
}

/// Numbers of two cells each.
fn cells(numbers: &[u64]) -> Vec<u32> {
    numbers
        .iter()
        .flat_map(|number| [(number >> 32) as u32, *number as u32])
        .collect()
}

fn node<const N: usize>(name: &str, properties: [Property; N]) -> Node {
    let mut node = Node::new_unchecked(name);
    for property in properties {
        node.add_property(property);
    }
    node
}

/// The names here are all legal ones.
fn property(name: &str, value: impl ToPropertyValue) -> Property {
    Property::new_unchecked(name, value)
}

/// The instruction set in one word: letters first, then the longer names with underscores between.
fn isa() -> String {
    let (letters, names): (Vec<&str>, Vec<&str>) = hart::EXTENSIONS
        .iter()
        .partition(|extension| extension.len() == 1);
    format!("rv64{}_{}", letters.concat(), names.join("_"))
}

#[cfg(test)]
#[path = "fdt_tests.rs"]
mod tests;
