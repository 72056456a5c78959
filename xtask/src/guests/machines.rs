//! The machines that QEMU makes for the guests.

use std::path::Path;

use super::Arch;

/// One machine with the four devices on one kind of bus.
pub struct Machine {
    /// Its processor.
    pub arch: Arch,
    /// Who makes it.
    pub maker: Maker,
    /// The maker's name for it, and its properties.
    name: &'static str,
    /// Where the devices are, and what they offer.
    bus: Bus,
}

/// Who makes a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// QEMU, devices included.
    Qemu,
    /// This project, devices included.
    Ringwright,
}

/// A bus with devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bus {
    /// Registers in memory.
    Mmio(Offer),
    /// PCI.
    Pci(Offer),
    /// Channel I/O, of this revision at most.
    Ccw(u8),
}

/// The interfaces that a device offers to its driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offer {
    /// The interface of version 1 of the document and later.
    Modern,
    /// Both.
    Transitional,
    /// The one from before the document.
    Legacy,
}

/// All of them.
pub const MACHINES: &[Machine] = &[
    Machine::new(Arch::X86_64, MICROVM, Bus::Mmio(Offer::Modern)),
    Machine::new(Arch::X86_64, MICROVM, Bus::Mmio(Offer::Legacy)),
    Machine::new(Arch::X86_64, "q35", Bus::Pci(Offer::Modern)),
    Machine::new(Arch::X86_64, "q35", Bus::Pci(Offer::Transitional)),
    Machine::new(Arch::X86_64, "pc", Bus::Pci(Offer::Transitional)),
    Machine::new(Arch::X86_64, "pc", Bus::Pci(Offer::Legacy)),
    Machine::new(Arch::Aarch64, "virt", Bus::Mmio(Offer::Modern)),
    Machine::new(Arch::Aarch64, "virt", Bus::Mmio(Offer::Legacy)),
    Machine::new(Arch::Aarch64, "virt", Bus::Pci(Offer::Modern)),
    Machine::new(Arch::Aarch64, "virt", Bus::Pci(Offer::Transitional)),
    Machine::new(Arch::Aarch64, "virt", Bus::Pci(Offer::Legacy)),
    Machine::new(Arch::Riscv64, "virt", Bus::Mmio(Offer::Modern)),
    Machine::new(Arch::Riscv64, "virt", Bus::Mmio(Offer::Legacy)),
    Machine::new(Arch::Riscv64, "virt", Bus::Pci(Offer::Modern)),
    Machine::new(Arch::Riscv64, "virt", Bus::Pci(Offer::Transitional)),
    Machine::new(
        Arch::Riscv64,
        "virt,aia=aplic-imsic",
        Bus::Pci(Offer::Transitional),
    ),
    Machine::new(Arch::Riscv64, "virt", Bus::Pci(Offer::Legacy)),
    Machine::ours(Bus::Mmio(Offer::Modern)),
    Machine::ours(Bus::Mmio(Offer::Legacy)),
    Machine::ours(Bus::Pci(Offer::Modern)),
    Machine::ours(Bus::Pci(Offer::Transitional)),
    Machine::ours(Bus::Pci(Offer::Legacy)),
    Machine::new(Arch::S390x, "s390-ccw-virtio", Bus::Ccw(2)),
    Machine::new(Arch::S390x, "s390-ccw-virtio", Bus::Ccw(1)),
    Machine::new(Arch::S390x, "s390-ccw-virtio", Bus::Ccw(0)),
];

/// Without ACPI, so that its devices are on the command line.
const MICROVM: &str = "microvm,acpi=off";

/// The devices, and what they are joined to.
const DEVICES: &[(&str, &str)] = &[
    ("virtio-blk", "drive=disk"),
    ("virtio-rng", ""),
    ("virtio-serial", ""),
    ("virtio-net", "netdev=net"),
];

/// Properties of a device that has all formats of virtqueues.
const RINGS: &str = "packed=on,in_order=on";

impl Machine {
    const fn new(arch: Arch, name: &'static str, bus: Bus) -> Self {
        let maker = Maker::Qemu;
        Self {
            arch,
            maker,
            name,
            bus,
        }
    }

    const fn ours(bus: Bus) -> Self {
        Self {
            arch: Arch::Riscv64,
            maker: Maker::Ringwright,
            name: "ringwright",
            bus,
        }
    }

    /// The name of the machine, and what it is told to be.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What the devices offer, in a few words.
    pub fn offer(&self) -> String {
        match self.bus {
            Bus::Mmio(offer) | Bus::Pci(offer) => format!("{offer:?}").to_lowercase(),
            Bus::Ccw(revision) => format!("revision {revision}"),
        }
    }

    /// Every way in which a guest drives the devices.
    pub fn ways(&self) -> Vec<Way> {
        let interfaces: &[&str] = match self.bus {
            Bus::Mmio(Offer::Legacy) | Bus::Pci(Offer::Legacy) | Bus::Ccw(0) => &["legacy"],
            Bus::Pci(Offer::Transitional) => &["modern", "legacy"],
            _ => &["modern"],
        };
        let signals: &[&str] = match self.bus {
            Bus::Mmio(_) => &["status"],
            Bus::Pci(_) => &["msi-x", "pin"],
            Bus::Ccw(_) => &["classic", "adapter"],
        };
        let mut ways = Vec::new();
        for &interface in interfaces {
            let rings: &[&str] = match interface {
                "legacy" => &["split"],
                _ => &["split", "packed", "split-in-order", "packed-in-order"],
            };
            for &signal in signals {
                ways.extend(rings.iter().map(|&ring| Way {
                    bus: self.bus.name(),
                    interface,
                    signal,
                    ring,
                }));
            }
        }
        ways
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
    pub fn qemu(&self, program: &Path, disk: &Path, port: &Path) -> Vec<String> {
        let words = "-nodefaults -no-user-config -no-reboot -accel tcg -m 256M -display none -serial stdio";
        let words = [words, "-machine", self.name, self.ending()];
        let words = words.iter().flat_map(|words| words.split_whitespace());
        let mut arguments: Vec<String> = words.map(str::to_owned).collect();
        let mut add = |option: &str, value: String| arguments.extend([option.to_owned(), value]);
        add("-kernel", program.display().to_string());
        let file = disk.display();
        add("-blockdev", format!("driver=file,node-name=disk,filename={file}"));
        add("-chardev", format!("socket,id=port,path={}", port.display()));
        add("-netdev", "user,id=net".into());
        if let Bus::Mmio(offer) = self.bus {
            let legacy = offer == Offer::Legacy;
            add("-global", format!("virtio-mmio.force-legacy={legacy}"));
        }
        for (device, joined) in DEVICES {
            let given = [self.bus.device(device), joined.to_string(), self.bus.properties()];
            let given: Vec<String> = given.into_iter().filter(|some| !some.is_empty()).collect();
            add("-device", given.join(","));
        }
        add("-device", "virtconsole,chardev=port".into());
        arguments
    }

    /// Arguments for `ringwright` that do the same with its own machine, devices and network. The console is its standard
    /// input and output.
    pub fn ringwright(&self, image: &Path, initrd: &Path, disk: &Path) -> Vec<String> {
        let (bus, offer) = match self.bus {
            Bus::Mmio(offer) => ("mmio", offer),
            Bus::Pci(offer) => ("pci", offer),
            Bus::Ccw(_) => unreachable!("it has no channel subsystem"),
        };
        let interface = format!("{offer:?}").to_lowercase();
        let ring = if offer == Offer::Legacy { "split" } else { "packed" };
        let words = "boot --engine machine --verbose --bus";
        let words = format!("{words} {bus} --interface {interface} --ring {ring}");
        let mut arguments: Vec<String> = words.split(' ').map(str::to_owned).collect();
        for (option, file) in [("--kernel", image), ("--initrd", initrd), ("--disk", disk)] {
            arguments.extend([option.into(), file.display().to_string()]);
        }
        arguments
    }

    /// How the guest can say that it has ended, and with what.
    fn ending(&self) -> &'static str {
        match self.arch {
            Arch::X86_64 => "-device isa-debug-exit,iobase=0xf4,iosize=4",
            Arch::Aarch64 => "-cpu max -semihosting-config enable=on,target=native",
            Arch::Riscv64 => "",
            Arch::S390x => "-action panic=exit-failure",
        }
    }
}

impl Bus {
    /// The guest's word for it; channel I/O with the revision that its driver selects.
    fn name(self) -> &'static str {
        match self {
            Self::Mmio(_) => "mmio",
            Self::Pci(_) => "pci",
            Self::Ccw(0) => "ccw-0",
            Self::Ccw(1) => "ccw-1",
            Self::Ccw(_) => "ccw-2",
        }
    }

    /// QEMU's name for `device` on this bus.
    fn device(self, device: &str) -> String {
        match self {
            Self::Mmio(_) => format!("{device}-device"),
            Self::Pci(_) => format!("{device}-pci"),
            Self::Ccw(_) => format!("{device}-ccw"),
        }
    }

    /// Properties of every device.
    fn properties(self) -> String {
        match self {
            Self::Mmio(Offer::Legacy) => String::new(),
            Self::Mmio(_) => RINGS.into(),
            Self::Pci(Offer::Modern) => format!("disable-legacy=on,{RINGS}"),
            Self::Pci(Offer::Transitional) => format!("disable-legacy=off,{RINGS}"),
            Self::Pci(Offer::Legacy) => "disable-legacy=off,disable-modern=on".into(),
            Self::Ccw(0) => "max_revision=0".into(),
            Self::Ccw(revision) => format!("max_revision={revision},{RINGS}"),
        }
    }
}

/// One way to drive the four devices of a machine, in the words of the guest's report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The bus.
    pub bus: &'static str,
    /// The interface that the driver uses.
    pub interface: &'static str,
    /// How the device notifies.
    pub signal: &'static str,
    /// The format of the virtqueues.
    pub ring: &'static str,
}
