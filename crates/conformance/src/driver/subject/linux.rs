//! Linux in the embedded machine, over MMIO or PCI.

mod archive;
mod place;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ringwright_machine::{Kernel, Machine, MachineError, Options, Outcome, Running};
use ringwright_spec::DeviceType;

use super::pulse::{Pulse, STEP};
use super::{Driver, Stage};
use crate::driver::scenario::{Completes, Identity, Scenario};
use crate::driver::strict::Strict;
use crate::subject::Bus;
use place::Place;

/// What the kernel is told: no console but the firmware's, and to end the machine after a panic. Memory that a driver forgets
/// to write is never zero by accident.
const ARGUMENTS: &str = "earlycon=sbi keep_bootcon console=none printk.devkmsg=on panic=-1 quiet init_on_alloc=0 \
                         slub_debug=P,skbuff_small_head,kmalloc-* initcall_blacklist=jent_mod_init";
/// Bytes of memory.
const MEMORY: u64 = 256 << 20;
/// How long a guest may take.
const DEADLINE: Duration = Duration::from_secs(150);

/// Where the parts of a guest are.
#[derive(Clone, Debug)]
pub struct LinuxParts {
    /// The kernel, an Image for RISC-V, perhaps compressed with gzip.
    pub kernel: PathBuf,
    /// The folder of its modules, with `modules.dep`.
    pub modules: PathBuf,
    /// A busybox for RISC-V that needs no libraries.
    pub busybox: PathBuf,
}

/// A Linux guest whose driver of one device type is watched.
pub struct Linux {
    name: String,
    device: &'static DeviceType,
    bus: Bus,
    kernel: Vec<u8>,
    initrd: Vec<u8>,
}

/// Why there is no guest.
#[derive(Debug, thiserror::Error)]
pub enum LinuxError {
    /// A part cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// Its file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The guest would not know what to do with the device.
    #[error("Linux is not asked to do anything with a device of type {0}")]
    NoWork(&'static str),
    /// The machine has no such bus.
    #[error("the embedded machine has virtio over mmio and pci, and not over {0}")]
    NoBus(Bus),
}

impl Linux {
    /// The guest of `parts`, with the driver for devices of type `device` on `bus`, MMIO or PCI.
    pub fn new(parts: &LinuxParts, device: &'static DeviceType, bus: Bus) -> Result<Self, LinuxError> {
        let bus_module = match bus {
            Bus::Mmio => "virtio_mmio",
            Bus::Pci => "virtio_pci",
            _ => return Err(LinuxError::NoBus(bus)),
        };
        let work = work(device).ok_or(LinuxError::NoWork(device.name))?;
        let dependencies = String::from_utf8_lossy(&read(&parts.modules.join("modules.dep"))?).into_owned();
        let mut archive = archive::Archive::default();
        archive.folder("bin");
        archive.folder("dev");
        archive.folder("modules");
        archive.device("dev/console", 5, 1);
        archive.device("dev/null", 1, 3);
        archive.file("bin/busybox", 0o755, &read(&parts.busybox)?);
        let mut script = String::from(PROLOGUE);
        for (number, module) in order(&dependencies, &[bus_module, work.module])
            .iter()
            .enumerate()
        {
            let name = format!("modules/{number}.ko");
            archive.file(&name, 0o644, &read(&parts.modules.join(module))?);
            script += &format!("$b insmod /{name}\n");
        }
        script += work.script;
        // A driver that is built in stays, and leaves the device.
        let module = work.module;
        let unbind = format!("echo virtio0 >/sys/bus/virtio/drivers/{module}/unbind");
        script += &format!("$b rmmod {module} 2>/dev/null || {unbind}\n{EPILOGUE}");
        archive.file("init", 0o755, script.as_bytes());
        Ok(Self {
            name: format!("Linux, {}", device.name),
            device,
            bus,
            kernel: read(&parts.kernel)?,
            initrd: archive.finish(),
        })
    }

    /// Whether Linux' drivers come to an end in this scenario. None of them waits for a request with a limit of time.
    pub fn bears(scenario: &Scenario) -> bool {
        scenario.completes != Completes::Never && scenario.demands_reset == 0
    }

    fn boot(&self, stage: &mut Stage<'_>, log: &Log) -> Result<(Running, Place), String> {
        let text = |error: MachineError| error.to_string();
        let mut machine = Machine::new(Options {
            memory: MEMORY,
            harts: 1,
        })
        .map_err(text)?;
        let place = match self.bus {
            Bus::Pci => place::function(&mut machine, self.device, stage),
            _ => place::registers(&mut machine, self.device, stage),
        }?;
        machine
            .load(&Kernel {
                file: &self.kernel,
                initrd: &self.initrd,
                arguments: ARGUMENTS,
                seed: [7; 32],
            })
            .map_err(text)?;
        let running = machine.start(Box::new(log.clone())).map_err(text)?;
        Ok((running, place))
    }
}

impl Driver for Linux {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn device(&self) -> &'static DeviceType {
        self.device
    }

    fn bus(&self) -> Bus {
        self.bus
    }

    fn meet(&self, stage: &mut Stage<'_>) -> Result<(), String> {
        let log = Log::default();
        let (mut running, place) = self.boot(stage, &log)?;
        let end = Instant::now() + DEADLINE;
        let mut pulse = Pulse::new();
        let outcome = loop {
            if let Some(outcome) = running.wait(Some(Instant::now() + STEP)) {
                break outcome;
            }
            if Instant::now() > end {
                place.act(&mut Strict::abandon);
                running.end();
                return Err(format!("the guest did not end in time\n{}", log.end()));
            }
            place.act(&mut |device| pulse.beat(device));
        };
        running.end();
        let well = match stage.scenario.identity {
            Identity::True => log.says("ringwright: works"),
            // The bus's driver would name itself.
            Identity::Nobody => log.says("ringwright: ends") && !log.says("virtio-mmio"),
            Identity::Magic | Identity::Version => log.says("ringwright: ends"),
        };
        match (outcome, well) {
            (Outcome::PowerOff, true) => Ok(()),
            (outcome, _) => Err(format!("{outcome:?}\n{}", log.end())),
        }
    }
}

/// What Linux is asked to do with a device.
struct Work {
    module: &'static str,
    script: &'static str,
}

fn work(device: &DeviceType) -> Option<Work> {
    match device.name {
        "block" => Some(Work {
            module: "virtio_blk",
            script: "
cat_() { $b dd if=/dev/vda of=/tmp/$1 bs=$2 count=$3 iflag=direct 2>/dev/null; }
$b mkdir -p /tmp
i=0
while [ $i -lt 12 ]; do
    $b dd if=/bin/busybox of=/dev/vda bs=512 count=4 seek=$i oflag=direct conv=notrunc 2>/dev/null
    i=$((i + 1))
done
$b dd if=/bin/busybox of=/dev/vda bs=512 count=4 2>/dev/null
$b sync
cat_ a 4096 8
$b dd if=/dev/vda of=/dev/null bs=64k 2>/dev/null
$b dd if=/bin/busybox of=/tmp/b bs=512 count=4 2>/dev/null
$b dd if=/dev/vda of=/tmp/c bs=512 count=4 2>/dev/null
[ -b /dev/vda ] && $b cmp /tmp/b /tmp/c && say works
",
        }),
        "entropy" => Some(Work {
            module: "virtio_rng",
            script: "
$b mkdir -p /tmp
$b dd if=/dev/hwrng of=/tmp/r bs=16 count=20 2>/dev/null && [ -s /tmp/r ] && say works
",
        }),
        // The terminal must not echo what it receives: everything comes back from the device, and would go round for ever.
        "console" => Some(Work {
            module: "virtio_console",
            script: "
echo_() { # lines to the device of fd 3 and back
    i=0
    while [ $i -lt 8 ]; do
        echo line $i >&3
        read -r line <&3 && [ \"$line\" = \"line $i\" ] || return
        i=$((i + 1))
    done
}
i=0
until $b stty -F /dev/hvc0 >/dev/null 2>&1 || [ $i -gt 100 ]; do
    $b usleep 50000
    i=$((i + 1))
done
exec 3<>/dev/hvc0
$b stty -F /dev/hvc0 raw -echo
echo_ && works=y
exec 3>&-
if [ -c /dev/vport0p1 ]; then
    exec 3<>/dev/vport0p1
    echo_ || works=
    exec 3>&-
fi
[ \"$works\" ] && say works
",
        }),
        "network" => Some(Work {
            module: "virtio_net",
            script: "
n=/sys/class/net/eth0
$b ip address add 10.0.0.2/24 dev eth0
$b ip link set eth0 up
$b arping -c 2 -w 2 -I eth0 10.0.0.1 >/dev/null
[ $($b cat $n/statistics/rx_packets) -gt 0 ] && say works
",
        }),
        _ => None,
    }
}

/// Before the work.
const PROLOGUE: &str = "#!/bin/busybox sh
b=/bin/busybox
$b mkdir -p /proc /sys
$b mount -t devtmpfs dev /dev
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
say() { echo \"<1>ringwright: $1\" > /dev/kmsg; }
";

/// After it.
const EPILOGUE: &str = "say ends\n$b poweroff -f\n";

/// The kernel's messages.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn says(&self, words: &str) -> bool {
        self.text().contains(words)
    }

    /// The last lines.
    fn end(&self) -> String {
        let text = self.text();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }

    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn read(file: &Path) -> Result<Vec<u8>, LinuxError> {
    std::fs::read(file).map_err(|source| LinuxError::Read {
        file: file.into(),
        source,
    })
}

/// From the lines `name.ko: first.ko second.ko` of modules.dep: what each of `wanted` needs, in order, then itself.
fn order(dependencies: &str, wanted: &[&str]) -> Vec<String> {
    let mut order: Vec<String> = Vec::new();
    for name in wanted {
        let line = dependencies.lines().find_map(|line| {
            let (module, needs) = line.split_once(':')?;
            let file = module.rsplit('/').next()?;
            let same = file.split('.').next()?.replace('-', "_") == *name;
            same.then_some((module, needs))
        });
        // What is not there is built in.
        let Some((module, needs)) = line else { continue };
        for file in needs.split_whitespace().chain([module]) {
            if !order.iter().any(|known| known == file) {
                order.push(file.to_owned());
            }
        }
    }
    order
}
