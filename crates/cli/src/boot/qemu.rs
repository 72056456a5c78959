//! QEMU's command line: what it emulates, and how our devices come to it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::ValueEnum;
use ringwright_spec::{DeviceType, block, console, entropy, network};

use super::engine::{Interrupts, Ring};
use super::guest::Guest;
use super::peers::Parts;

/// The socket of each device.
pub type Sockets = Vec<(&'static DeviceType, PathBuf)>;

/// How devices come to QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// vhost-user: the registers are QEMU's, the virtqueues ours.
    VhostUser,
    /// vfio-user: whole PCI functions of ours.
    VfioUser,
}

/// A processor that QEMU emulates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Processor {
    /// x86-64, machine q35.
    #[value(name = "x86_64")]
    X86_64,
    /// 64-bit ARM, machine virt.
    Aarch64,
    /// RISC-V, machine virt.
    Riscv64,
    /// IBM Z.
    S390x,
}

/// What QEMU emulates, and how the devices come to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emulation {
    /// The processor.
    pub processor: Processor,
    /// How the devices come.
    pub transport: Transport,
    /// They are behind a virtio-iommu.
    pub iommu: bool,
    /// QEMU shares the guest's memory with nobody: the devices reach it by messages.
    pub private_memory: bool,
}

impl Emulation {
    /// What there is for vhost-user.
    pub const VHOST_USER: Self = Self {
        processor: Processor::X86_64,
        transport: Transport::VhostUser,
        iommu: false,
        private_memory: false,
    };

    /// Refuses what cannot be.
    pub fn check(&self, interrupts: Interrupts) -> anyhow::Result<()> {
        let Self {
            processor,
            transport,
            iommu,
            private_memory,
        } = *self;
        let usual = processor == Processor::X86_64 && !iommu && !private_memory;
        if transport == Transport::VhostUser && !usual {
            bail!("another processor than x86-64, an IOMMU and private memory need --transport vfio-user");
        }
        if iommu && processor != Processor::X86_64 {
            bail!("there is a virtio-iommu on x86-64 only");
        }
        if processor == Processor::S390x && interrupts == Interrupts::Intx {
            bail!("IBM Z knows no PCI interrupts but messages: --interrupts msix");
        }
        Ok(())
    }
}

impl Processor {
    /// The name that QEMU, kernels and folders have for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
            Self::Riscv64 => "riscv64",
            Self::S390x => "s390x",
        }
    }

    /// The machine with these interrupts for PCI.
    fn machine(self, interrupts: Interrupts) -> &'static str {
        match (self, interrupts) {
            (Self::X86_64, _) => "q35",
            (Self::Aarch64, _) => "virt",
            (Self::Riscv64, Interrupts::Intx) => "virt",
            (Self::Riscv64, Interrupts::Msix) => "virt,aia=aplic-imsic",
            (Self::S390x, _) => "s390-ccw-virtio",
        }
    }

    /// What the kernel is to take for its console, and what else it is told.
    fn kernel_arguments(self) -> &'static str {
        match self {
            // Emulated on a busy machine, the timer can be too late for Linux, which then gives up: it does not test it.
            Self::X86_64 => "console=ttyS0 no_timer_check",
            Self::Riscv64 => "console=ttyS0",
            Self::Aarch64 => "console=ttyAMA0",
            Self::S390x => "console=ttysclp0",
        }
    }
}

/// The arguments for a guest; `append` goes to the kernel's command line.
pub fn arguments(
    guest: &Guest,
    parts: &Parts,
    initrd: &Path,
    sockets: &Sockets,
    append: &str,
) -> anyhow::Result<Vec<OsString>> {
    let presentation = &guest.setting.presentation;
    let emulation = presentation.emulation.unwrap_or(Emulation::VHOST_USER);
    let interrupts = presentation
        .wiring
        .map_or(Interrupts::Msix, |wiring| wiring.interrupts);
    let processor = emulation.processor;
    let memory = guest.setting.memory;
    let mut line = Line(Vec::new());
    let machine = processor.machine(interrupts);
    if emulation.private_memory {
        line.add("-machine", machine);
    } else {
        line.add("-machine", format!("{machine},memory-backend=mem"));
        line.add(
            "-object",
            format!("memory-backend-memfd,id=mem,size={memory}M,share=on"),
        );
    }
    line.add("-m", format!("{memory}M"));
    line.add("-accel", "tcg");
    line.add("-cpu", "max");
    line.add("-display", "none");
    match processor {
        Processor::S390x => {
            line.add("-chardev", "stdio,id=boot");
            line.add("-device", "sclpconsole,chardev=boot");
        }
        _ => line.add("-serial", "stdio"),
    }
    let pins = match interrupts {
        Interrupts::Msix => "",
        Interrupts::Intx => "pci=nomsi",
    };
    line.add(
        "-append",
        format!("{} panic=-1 quiet {pins} {append}", processor.kernel_arguments()),
    );
    line.add("-kernel", parts.kernel()?);
    line.add("-initrd", initrd);
    if emulation.iommu {
        line.add("-device", "virtio-iommu-pci");
    }
    for (device, socket) in sockets {
        match emulation.transport {
            Transport::VhostUser => line.add_vhost_user(device, socket, presentation.ring),
            Transport::VfioUser => {
                let device = serde_json::json!({
                    "driver": "vfio-user-pci",
                    "socket": { "type": "unix", "path": socket },
                });
                line.add("-device", device.to_string());
            }
        }
    }
    line.0
        .extend(["-nodefaults", "-no-user-config", "-no-reboot"].map(Into::into));
    Ok(line.0)
}

/// A command line in the making.
struct Line(Vec<OsString>);

impl Line {
    fn add(&mut self, option: &str, value: impl AsRef<OsStr>) {
        self.0.push(option.into());
        self.0.push(value.as_ref().into());
    }

    fn add_vhost_user(&mut self, device: &DeviceType, socket: &Path, ring: Ring) {
        let id = device.name;
        // A comma in an option's value is written twice.
        let socket = socket.display().to_string().replace(',', ",,");
        self.add("-chardev", format!("socket,id={id},path={socket}"));
        let front = match device.id {
            id if id == block::DEVICE.id => "vhost-user-blk-pci,chardev=block".to_owned(),
            id if id == entropy::DEVICE.id => "vhost-user-rng-pci,chardev=entropy".to_owned(),
            id if id == network::DEVICE.id => {
                self.add("-netdev", "vhost-user,id=net,chardev=network");
                "virtio-net-pci,netdev=net,romfile=".to_owned()
            }
            // No frontend of QEMU's own: its generic one is told what the device is.
            other => format!(
                "vhost-user-test-device-pci,chardev={id},virtio-id={other},num_vqs={},vq_size=64,config_size={}",
                console::DEVICE.queues.len().min(2),
                device.config_size
            ),
        };
        let packed = match ring {
            Ring::Split => "packed=off",
            Ring::Packed => "packed=on",
        };
        self.add("-device", format!("{front},{packed}"));
    }
}

impl fmt::Display for Emulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            Transport::VhostUser => "vhost-user",
            Transport::VfioUser => "vfio-user",
        };
        write!(f, "{}, {transport}", self.processor.name())?;
        if self.iommu {
            f.write_str(", virtio-iommu")?;
        }
        if self.private_memory {
            f.write_str(", private memory")?;
        }
        Ok(())
    }
}
