//! A machine with its devices, and what is behind them.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringwright_driver::transport::Registers;
use ringwright_qtest::Qemu;
use ringwright_spec::pci;

use crate::rows::{Bus, Interface, Way};

/// Longer than anything here takes.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Bytes of the disk.
pub const DISK: u64 = 4 << 20;

/// What the disk calls itself.
pub const SERIAL: &str = "ringwright-disk";

/// The MAC address of the network card.
pub const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

/// The machine, and the far ends of its devices.
pub struct World {
    pub qemu: Qemu,
    /// Configuration spaces by virtio device id, of a machine with PCI.
    pub functions: Option<HashMap<u32, Box<dyn Registers + Send>>>,
    pub outside: Outside,
}

/// The far ends of the devices.
pub struct Outside {
    pub image: PathBuf,
    pub cable: UnixStream,
    pub terminal: UnixStream,
    _folder: tempfile::TempDir,
}

impl World {
    pub fn start(way: &Way, peers: &Path) -> Self {
        let program = peers.join("bin").join(way.machine.program);
        assert!(program.exists(), "{} is missing", program.display());
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        let image = path("disk.img");
        File::create(&image).unwrap().set_len(DISK).unwrap();
        let listen = |name| UnixListener::bind(path(name)).unwrap();
        let (cable, terminal) = (listen("cable"), listen("terminal"));
        let arguments = arguments(way, &folder.path().display().to_string());
        let qemu = Qemu::start(&program, way.machine, &arguments).unwrap_or_else(|error| panic!("{error}"));
        let functions = match way.bus {
            Bus::Mmio => None,
            _ => Some(find_functions(&qemu)),
        };
        // QEMU has connected before it answered the first command.
        let accept = |listener: UnixListener| {
            let stream = listener.accept().unwrap().0;
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            stream.set_write_timeout(Some(DEADLINE)).unwrap();
            stream
        };
        let outside = Outside {
            image,
            cable: accept(cable),
            terminal: accept(terminal),
            _folder: folder,
        };
        Self {
            qemu,
            functions,
            outside,
        }
    }
}

fn find_functions(qemu: &Qemu) -> HashMap<u32, Box<dyn Registers + Send>> {
    let found = qemu.configure_pci().unwrap().into_iter();
    found
        .filter(|function| function.vendor_id == pci::VENDOR_ID)
        .filter_map(|function| Some((pci::virtio_id(function.device_id)?, function.config)))
        .collect()
}

/// What the machine is made of.
fn arguments(way: &Way, folder: &str) -> Vec<String> {
    let on_mmio = way.bus == Bus::Mmio;
    let suffix = if on_mmio { "device" } else { "pci" };
    let common = match way.interface {
        Interface::Legacy { any_layout: false } => "any_layout=off",
        Interface::Legacy { any_layout: true } => "any_layout=on",
        Interface::Transitional | Interface::Modern => "packed=on,in_order=on,queue_reset=on",
    };
    let interface = match way.interface {
        _ if on_mmio => "",
        Interface::Legacy { .. } => ",disable-legacy=off,disable-modern=on",
        Interface::Transitional => ",disable-legacy=off,disable-modern=off",
        Interface::Modern => ",disable-legacy=on,disable-modern=off",
    };
    let mut arguments = Vec::new();
    let mut add = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
    if on_mmio {
        let legacy = matches!(way.interface, Interface::Legacy { .. });
        add("-global", format!("virtio-mmio.force-legacy={legacy}"));
    }
    match way.bus {
        Bus::PciBridge => add("-device", "pci-bridge,id=bridge,chassis_nr=1".into()),
        Bus::RootPorts => {
            for port in 1..=4 {
                add(
                    "-device",
                    format!("pcie-root-port,id=port{port},chassis={port},slot={port}"),
                );
            }
        }
        Bus::Mmio | Bus::Pci => {}
    }
    add("-object", "rng-random,id=source,filename=/dev/urandom".into());
    add(
        "-drive",
        format!("if=none,id=disk,format=raw,file={folder}/disk.img"),
    );
    add(
        "-netdev",
        format!("stream,id=cable,server=off,addr.type=unix,addr.path={folder}/cable"),
    );
    add(
        "-chardev",
        format!("socket,id=terminal,server=off,path={folder}/terminal"),
    );
    let mac = MAC.map(|byte| format!("{byte:02x}")).join(":");
    let devices = [
        ("rng", "rng=source".to_owned()),
        ("blk", format!("drive=disk,serial={SERIAL}")),
        ("net", format!("netdev=cable,mac={mac}")),
        ("serial", "id=console".to_owned()),
    ];
    for (number, (name, options)) in (1..).zip(devices) {
        let bus = match way.bus {
            Bus::PciBridge => format!(",bus=bridge,addr={number}"),
            Bus::RootPorts => format!(",bus=port{number}"),
            Bus::Mmio | Bus::Pci => String::new(),
        };
        add(
            "-device",
            format!("virtio-{name}-{suffix},{options},{common}{interface}{bus}"),
        );
    }
    add("-device", "virtconsole,chardev=terminal,bus=console.0".into());
    arguments
}
