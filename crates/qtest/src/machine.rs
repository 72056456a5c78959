//! QEMU's machines, as far as their devices are reached from outside.

use std::ops::RangeInclusive;

use ringwright_driver::transport::pci::{Window, Windows};

/// A machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its name, for people.
    pub name: &'static str,
    /// QEMU's name of the machine, with its options.
    pub machine: &'static str,
    /// QEMU's program for the processor.
    pub program: &'static str,
    /// Where RAM starts that no firmware or device has a claim to.
    pub ram: u64,
    /// Bytes of RAM below that.
    pub ram_before: u64,
    /// Places of devices over MMIO: address of the first, distance, number.
    pub mmio: Option<(u64, u64, u32)>,
    /// The PCI host bridge.
    pub pci: Option<Pci>,
}

/// A PCI host bridge.
#[derive(Clone, Debug)]
pub struct Pci {
    /// How configuration spaces are reached.
    pub config: PciConfig,
    /// Addresses for base address registers.
    pub windows: Windows,
    /// Where I/O space lies in memory; `None` for a processor with ports.
    pub io: Option<u64>,
}

/// How configuration spaces are reached.
#[derive(Clone, Debug)]
pub enum PciConfig {
    /// Configuration mechanism 1, at ports 0xcf8 and 0xcfc.
    Cam,
    /// ECAM at an address, for some buses.
    Ecam(u64, RangeInclusive<u8>),
    /// ECAM at an address, for some buses, after it has been switched on by mechanism 1 as firmware does on a Q35.
    Q35(u64, RangeInclusive<u8>),
}

/// An x86-64 machine whose virtio devices are over MMIO.
pub const MICROVM: Machine = Machine {
    name: "x86-64 microvm",
    machine: "microvm",
    program: "qemu-system-x86_64",
    ram: 0x10_0000,
    ram_before: 0x10_0000,
    mmio: Some((0xfeb0_0000, 0x200, 24)),
    pci: None,
};

/// An x86-64 machine with conventional PCI.
pub const PC: Machine = Machine {
    name: "x86-64 pc",
    machine: "pc",
    mmio: None,
    pci: Some(Pci {
        config: PciConfig::Cam,
        windows: Windows {
            io: Window::new(0xc000, 0x3000),
            memory: Window::new(0xe000_0000, 0x1000_0000),
            prefetchable: None,
        },
        io: None,
    }),
    ..MICROVM
};

/// An x86-64 machine with PCI Express.
pub const Q35: Machine = Machine {
    name: "x86-64 q35",
    machine: "q35",
    mmio: None,
    pci: Some(Pci {
        config: PciConfig::Q35(0xb000_0000, 0..=255),
        windows: Windows {
            io: Window::new(0xc000, 0x3000),
            memory: Window::new(0xe000_0000, 0x1000_0000),
            prefetchable: Window::new(0x80_0000_0000, 0x4000_0000),
        },
        io: None,
    }),
    ..MICROVM
};

/// A 64-bit Arm machine.
pub const AARCH64_VIRT: Machine = Machine {
    name: "aarch64 virt",
    machine: "virt,highmem=off",
    program: "qemu-system-aarch64",
    ram: 0x4000_0000,
    ram_before: 0,
    mmio: Some((0x0a00_0000, 0x200, 32)),
    pci: Some(Pci {
        config: PciConfig::Ecam(0x3f00_0000, 0..=15),
        windows: Windows {
            io: Window::new(0x1000, 0xf000),
            memory: Window::new(0x1000_0000, 0x2eff_0000),
            prefetchable: None,
        },
        io: Some(0x3eff_0000),
    }),
};

/// A 64-bit RISC-V machine.
pub const RISCV64_VIRT: Machine = Machine {
    name: "riscv64 virt",
    machine: "virt",
    program: "qemu-system-riscv64",
    ram: 0x8000_0000,
    ram_before: 0,
    mmio: Some((0x1000_1000, 0x1000, 8)),
    pci: Some(Pci {
        config: PciConfig::Ecam(0x3000_0000, 0..=255),
        windows: Windows {
            io: Window::new(0x1000, 0xf000),
            memory: Window::new(0x4000_0000, 0x4000_0000),
            prefetchable: Window::new(0x4_0000_0000, 0x4_0000_0000),
        },
        io: Some(0x0300_0000),
    }),
};
