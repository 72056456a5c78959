//! The machines that QEMU makes for the guests.

use std::path::Path;

use super::Arch;

/// One machine with the four devices on one kind of bus.
pub struct Machine {
    /// Its processor.
    pub arch: Arch,
    /// QEMU's name for it.
    pub name: &'static str,
    /// Where the devices are, and what they offer.
    pub bus: Bus,
}

/// A bus with devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bus {
    /// Registers in memory.
    Mmio(Interface),
    /// Channel I/O, of this revision at most.
    Ccw(u8),
}

/// What a device offers to its driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// The interface of version 1 of the document and later.
    Modern,
    /// The one from before the document.
    Legacy,
}

/// All of them.
pub const MACHINES: &[Machine] = &[
    Machine::new(Arch::X86_64, MICROVM, Bus::Mmio(Interface::Modern)),
    Machine::new(Arch::X86_64, MICROVM, Bus::Mmio(Interface::Legacy)),
    Machine::new(Arch::Aarch64, "virt", Bus::Mmio(Interface::Modern)),
    Machine::new(Arch::Aarch64, "virt", Bus::Mmio(Interface::Legacy)),
    Machine::new(Arch::Riscv64, "virt", Bus::Mmio(Interface::Modern)),
    Machine::new(Arch::Riscv64, "virt", Bus::Mmio(Interface::Legacy)),
    Machine::new(Arch::S390x, "s390-ccw-virtio", Bus::Ccw(2)),
    Machine::new(Arch::S390x, "s390-ccw-virtio", Bus::Ccw(1)),
    Machine::new(Arch::S390x, "s390-ccw-virtio", Bus::Ccw(0)),
];

/// Without ACPI, so that its devices are on the command line.
const MICROVM: &str = "microvm,acpi=off";

/// What the devices are joined to, and what QEMU says for it.
const DEVICES: &[(&str, &str)] = &[
    ("virtio-blk", "drive=disk"),
    ("virtio-rng", ""),
    ("virtio-serial", ""),
    ("virtio-net", "netdev=net"),
];

impl Machine {
    const fn new(arch: Arch, name: &'static str, bus: Bus) -> Self {
        Self { arch, name, bus }
    }

    /// What a driver of this machine's devices does with them: each interface that it drives them by, with each format of
    /// virtqueues, in the words of the guest's report.
    pub fn ways(&self) -> Vec<Way> {
        let way = |interface, ring| Way {
            bus: self.bus.name(),
            interface,
            ring,
        };
        match self.bus {
            Bus::Mmio(Interface::Legacy) | Bus::Ccw(0) => vec![way("legacy", "split")],
            Bus::Mmio(Interface::Modern) | Bus::Ccw(_) => {
                vec![way("modern", "split"), way("modern", "packed")]
            }
        }
    }

    /// The name of the machine alone.
    pub fn short_name(&self) -> &'static str {
        self.name.split(',').next().unwrap_or(self.name)
    }

    /// What the devices offer, in a few words.
    pub fn offer(&self) -> String {
        match self.bus {
            Bus::Mmio(Interface::Modern) => "modern".into(),
            Bus::Mmio(Interface::Legacy) => "legacy".into(),
            Bus::Ccw(revision) => format!("revision {revision}"),
        }
    }

    /// The status that QEMU ends with when the guest says that all is well.
    pub fn good_status(&self) -> i32 {
        match self.arch {
            // The device for this cannot make it 0.
            Arch::X86_64 => 33,
            _ => 0,
        }
    }

    /// Arguments for QEMU that make the machine, run `program` on it, and join its devices to the file `disk`, to the
    /// listening socket `port`, and to a network of QEMU's own.
    pub fn arguments(&self, program: &Path, disk: &Path, port: &Path) -> Vec<String> {
        let words = "-nodefaults -no-user-config -no-reboot -accel tcg -m 256M -display none -serial stdio";
        let words = [
            words,
            "-machine",
            self.name,
            self.arch_arguments(),
            self.bus_arguments(),
        ];
        let mut arguments: Vec<String> = words
            .iter()
            .flat_map(|words| words.split_whitespace())
            .map(str::to_owned)
            .collect();
        let mut add = |option: &str, value: String| arguments.extend([option.to_owned(), value]);
        add("-kernel", program.display().to_string());
        let file = disk.display();
        add("-blockdev", format!("driver=file,node-name=disk,filename={file}"));
        add("-chardev", format!("socket,id=port,path={}", port.display()));
        add("-netdev", "user,id=net".into());
        for (device, joined) in DEVICES {
            let given = [self.bus.device(device), joined.to_string(), self.bus.properties()];
            let given: Vec<String> = given.into_iter().filter(|some| !some.is_empty()).collect();
            add("-device", given.join(","));
        }
        add("-device", "virtconsole,chardev=port".into());
        arguments
    }

    /// How the guest says that it has ended, and with what.
    fn arch_arguments(&self) -> &'static str {
        match self.arch {
            Arch::X86_64 => "-device isa-debug-exit,iobase=0xf4,iosize=4",
            Arch::Aarch64 => "-cpu max -semihosting-config enable=on,target=native",
            Arch::Riscv64 => "",
            Arch::S390x => "-action panic=exit-failure",
        }
    }

    fn bus_arguments(&self) -> &'static str {
        match self.bus {
            Bus::Mmio(Interface::Legacy) => "-global virtio-mmio.force-legacy=true",
            Bus::Mmio(Interface::Modern) => "-global virtio-mmio.force-legacy=false",
            Bus::Ccw(_) => "",
        }
    }
}

impl Bus {
    fn name(self) -> &'static str {
        match self {
            Self::Mmio(_) => "mmio",
            Self::Ccw(_) => "ccw",
        }
    }

    /// QEMU's name for `device` on this bus.
    fn device(self, device: &str) -> String {
        let end = match self {
            Self::Mmio(_) => "device",
            Self::Ccw(_) => "ccw",
        };
        format!("{device}-{end}")
    }

    /// Properties of every device.
    fn properties(self) -> String {
        match self {
            Self::Mmio(Interface::Legacy) => String::new(),
            Self::Mmio(Interface::Modern) => "packed=on".into(),
            Self::Ccw(0) => "max_revision=0".into(),
            Self::Ccw(revision) => format!("max_revision={revision},packed=on"),
        }
    }
}

/// One way to drive the four devices of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The bus.
    pub bus: &'static str,
    /// The interface that the driver uses.
    pub interface: &'static str,
    /// The format of the virtqueues.
    pub ring: &'static str,
}
