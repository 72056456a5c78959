//! QEMU's own devices, without a guest: each specimen is a process of its own.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ringwright_driver::transport::Registers;
use ringwright_driver::transport::mmio::Mmio;
use ringwright_driver::transport::pci::{self, Bar, ConfigAccess, Interrupts, Pci};
use ringwright_qtest::{MICROVM, Q35, Qemu as Machine, RamMessages};
use ringwright_spec::pci::VENDOR_ID;

use super::{Bus, Change, Raw, RawPci, Specimen, Subject, SubjectError, Trace, Traced};

/// Bytes of a disk.
const DISK: u64 = 8 << 20;

/// How long QEMU may take to answer its monitor.
const PATIENCE: Duration = Duration::from_secs(10);

/// QEMU's device types that [`Qemu::new`] knows how to make, by the document's names.
pub const QEMU: &[&str] = &["block", "network", "console", "entropy"];

/// A device of QEMU.
#[derive(Clone, Debug)]
pub struct Qemu {
    program: PathBuf,
    device: &'static Device,
    bus: Bus,
    properties: String,
}

/// How a device is made.
#[derive(Debug)]
struct Device {
    name: &'static str,
    /// Name of QEMU's device, without that of the bus.
    device: &'static str,
    properties: &'static str,
    /// What it stands on. `DISK` stands for the path of a file, `CABLE` for the name of a socket.
    arguments: &'static [&'static str],
    /// What makes its configuration change: `SIZE` stands for a size that falls, `UP` for what is true every other time.
    change: Option<&'static str>,
}

/// A machine with a device, and what belongs to it.
struct Running {
    qemu: Arc<Machine>,
    change: Option<Change>,
    /// The far end of its cable, as in [`Specimen`].
    cable: Option<UnixStream>,
}

const DEVICES: &[Device] = &[
    Device {
        name: "block",
        device: "virtio-blk",
        properties: ",drive=disk,id=device",
        arguments: &["-blockdev", "driver=file,node-name=disk,filename=DISK"],
        change: Some(r#"{"execute":"block_resize","arguments":{"node-name":"disk","size":SIZE}}"#),
    },
    Device {
        name: "network",
        device: "virtio-net",
        properties: ",netdev=cable,id=device",
        arguments: &[
            "-netdev",
            "stream,id=cable,server=off,addr.type=unix,addr.path=CABLE,addr.abstract=on",
        ],
        change: Some(r#"{"execute":"set_link","arguments":{"name":"device","up":UP}}"#),
    },
    Device {
        name: "console",
        device: "virtio-serial",
        properties: ",id=device",
        arguments: &[
            "-chardev",
            "null,id=terminal",
            "-device",
            "virtconsole,chardev=terminal",
        ],
        change: None,
    },
    Device {
        name: "entropy",
        device: "virtio-rng",
        properties: "",
        arguments: &[],
        change: None,
    },
];

impl Qemu {
    /// The device of the type of that name, of [`QEMU`], on a microvm ([`Bus::Mmio`]) or on a Q35 ([`Bus::Pci`]); `None` if
    /// it is on another bus, or of another type. `program` is `qemu-system-x86_64`.
    pub fn new(program: impl Into<PathBuf>, name: &str, bus: Bus) -> Option<Self> {
        Some(Self {
            program: program.into(),
            device: DEVICES.iter().find(|device| device.name == name)?,
            bus: Some(bus).filter(|bus| matches!(bus, Bus::Mmio | Bus::Pci))?,
            properties: String::new(),
        })
    }

    /// The same with more properties of the device, as QEMU writes them: `packed=on,queue_reset=on`.
    pub fn with(mut self, properties: &str) -> Self {
        self.properties = format!(",{properties}");
        self
    }

    fn arguments(&self, disk: &str, cable: &str) -> Vec<String> {
        let suffix = if self.bus == Bus::Mmio { "device" } else { "pci" };
        let Device {
            device,
            properties,
            arguments,
            ..
        } = self.device;
        let this = format!("{device}-{suffix}{properties}{}", self.properties);
        let mut all = vec!["-global".to_owned(), "virtio-mmio.force-legacy=false".into()];
        let (before, after) = match *device {
            // Its ports come after it.
            "virtio-serial" => (&[][..], *arguments),
            _ => (*arguments, &[][..]),
        };
        all.extend(
            before
                .iter()
                .map(|argument| argument.replace("DISK", disk).replace("CABLE", cable)),
        );
        all.extend(["-device".to_owned(), this]);
        all.extend(after.iter().map(|argument| (*argument).to_owned()));
        all
    }

    fn start(&self) -> Result<Running, SubjectError> {
        let disk = disk().map_err(system("a file in memory"))?;
        let path = format!("/proc/{}/fd/{}", std::process::id(), disk.as_raw_fd());
        let (far, name) = listen().map_err(system("a cable"))?;
        let mut arguments = self.arguments(&path, &name);
        let (listener, name) = listen().map_err(system("a socket for QEMU's monitor"))?;
        arguments.extend([
            "-chardev".into(),
            format!("socket,id=qmp,path={name},abstract=on"),
            "-mon".into(),
            "chardev=qmp,mode=control".into(),
        ]);
        let machine = if self.bus == Bus::Mmio { &MICROVM } else { &Q35 };
        // It has opened the file, and connected to the socket, when it answers.
        let qemu = Machine::start(&self.program, machine, &arguments)?;
        let (stream, _) = listener.accept().map_err(system("QEMU's monitor"))?;
        let change = match self.device.change {
            Some(command) => {
                let mut monitor = Monitor::new(stream).map_err(system("QEMU's monitor"))?;
                let mut number = 0;
                let change = move || {
                    number += 1;
                    let command = command
                        .replace("SIZE", &(DISK - 512 * number).to_string())
                        .replace("UP", &(number % 2 == 0).to_string());
                    monitor
                        .ask(&command)
                        .is_ok_and(|answer| answer.contains("\"return\""))
                };
                Some(Box::new(change) as Change)
            }
            None => None,
        };
        // Where there is a cable, QEMU is at the other end by now.
        let cable = match self
            .device
            .arguments
            .iter()
            .any(|argument| argument.contains("CABLE"))
        {
            true => Some(far.accept().map_err(system("a cable"))?.0),
            false => None,
        };
        Ok(Running {
            qemu: Arc::new(qemu),
            change,
            cable,
        })
    }

    fn mmio(&self, trace: &Trace) -> Result<Specimen, SubjectError> {
        let Running { qemu, change, cable } = self.start()?;
        let places: Vec<_> = qemu.mmio_places().collect();
        for place in places {
            let registers = Traced::new(place, "mmio", trace);
            if let Some(transport) = Mmio::probe(registers.clone())? {
                return Ok(Specimen {
                    transport: Box::new(transport),
                    area: qemu.area().clone(),
                    raw: Raw::Mmio(Box::new(registers)),
                    change,
                    cable,
                    keep: Box::new(qemu),
                });
            }
        }
        Err(SubjectError::NoDevice(Bus::Mmio))
    }

    fn pci(&self, trace: &Trace) -> Result<Specimen, SubjectError> {
        let none = || SubjectError::NoDevice(Bus::Pci);
        let Running { qemu, change, cable } = self.start()?;
        let functions = qemu.configure_pci()?.into_iter();
        let mut function = functions
            .filter(|function| function.vendor_id == VENDOR_ID)
            .last()
            .ok_or_else(none)?;
        let bars = Bar::read_all(&mut function.config)?;
        let again = qemu
            .config()?
            .and_then(|config| config.function(function.address));
        let map = {
            let (qemu, trace) = (qemu.clone(), trace.clone());
            move |region: &pci::Region| {
                let window = qemu.map(region)?;
                Some(Box::new(Traced::new(window, "bar", &trace)) as Box<dyn Registers + Send>)
            }
        };
        let options = pci::Options {
            interrupts: Interrupts::Messages(Box::new(RamMessages::new(qemu.area()))),
            ..pci::Options::default()
        };
        let config = Traced::new(function.config, "config", trace);
        let transport = Pci::probe(config, map.clone(), options)?.ok_or_else(none)?;
        Ok(Specimen {
            transport: Box::new(transport),
            area: qemu.area().clone(),
            raw: Raw::Pci(RawPci {
                config: Box::new(Traced::new(again.ok_or_else(none)?, "config", trace)),
                bars,
                map: Box::new(map),
            }),
            change,
            cable,
            keep: Box::new(qemu),
        })
    }
}

impl Subject for Qemu {
    fn name(&self) -> String {
        format!("QEMU's {} ({})", self.device.name, self.bus)
    }

    fn bus(&self) -> Bus {
        self.bus
    }

    fn open(&self, trace: &Trace) -> Result<Specimen, SubjectError> {
        match self.bus {
            Bus::Mmio => self.mmio(trace),
            _ => self.pci(trace),
        }
    }

    fn is_parallel(&self) -> bool {
        true
    }
}

/// QEMU's monitor, by which its operator changes devices.
struct Monitor(BufReader<UnixStream>);

impl Monitor {
    fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut monitor = Self(BufReader::new(stream));
        monitor.ask(r#"{"execute":"qmp_capabilities"}"#)?;
        Ok(monitor)
    }

    /// Gives a command, and returns the answer. The greeting and events are passed over.
    fn ask(&mut self, command: &str) -> io::Result<String> {
        writeln!(self.0.get_mut(), "{command}")?;
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if line.starts_with("{\"return\"") || line.starts_with("{\"error\"") {
                return Ok(line);
            }
        }
    }
}

/// A disk's content: a file whose name is gone.
fn disk() -> io::Result<File> {
    let path = std::env::temp_dir().join(unique());
    let file = File::create_new(&path)?;
    std::fs::remove_file(&path)?;
    file.set_len(DISK)?;
    Ok(file)
}

/// A name that no other process or specimen has.
fn unique() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("ringwright-conformance-{}-{number}", std::process::id())
}

/// A socket that QEMU connects to, and its name.
fn listen() -> io::Result<(UnixListener, String)> {
    let name = unique();
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    Ok((listener, name))
}

fn system(what: &str) -> impl FnOnce(io::Error) -> SubjectError {
    let what = what.to_owned();
    move |source| SubjectError::System { what, source }
}
