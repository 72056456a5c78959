//! The machine: put together, given a kernel, and set going.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use ringwright_device::transport::mmio::{self, InterruptLine, Mmio};
use ringwright_device::transport::pci::{self, Function, FunctionError, PciInterrupts};
use ringwright_device::{Device, HostError};
use ringwright_memory::{MapError, Memory};

use crate::board::{Board, MmioSlot, SlotRegisters, Wire};
use crate::boot::{self, Description, Image, ImageError, LoadError};
use crate::control::{Control, Outcome};
use crate::interrupts::{Aplic, Imsic};
use crate::pci::{FunctionRegisters, Intx, PciHost, SlotInterrupts};
use crate::rtc::Rtc;
use crate::sbi::Sbi;
use crate::snapshot::{self, Resumption, SnapshotError};
use crate::{Clock, Exit, Hart, Ram, RamError, Signals, map};

/// Instructions between two looks of a hart's thread at what the machine wants.
const BUDGET: u64 = 1 << 22;

/// How large a machine is.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of memory, a multiple of 4096.
    pub memory: u64,
    /// How many harts, each with a thread of this process: from 1 to [`MAX_HARTS`](map::MAX_HARTS).
    pub harts: usize,
}

/// What a machine starts.
#[derive(Clone, Copy, Debug)]
pub struct Kernel<'a> {
    /// The bytes of the kernel's file: an [`Image`].
    pub file: &'a [u8],
    /// The initial file system; may be empty.
    pub initrd: &'a [u8],
    /// The command line.
    pub arguments: &'a str,
    /// Randomness for the kernel to begin with.
    pub seed: [u8; 32],
}

/// Why there is no machine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MachineError {
    /// Its memory.
    #[error(transparent)]
    Ram(#[from] RamError),
    /// Devices cannot be given the memory.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The number of harts.
    #[error("{0} harts: from 1 to {most} are possible", most = map::MAX_HARTS)]
    Harts(usize),
    /// The number of devices.
    #[error("no place is left for another device on {0}")]
    Full(&'static str),
    /// A device cannot be run.
    #[error(transparent)]
    Device(#[from] HostError),
    /// A device cannot be a PCI function.
    #[error(transparent)]
    Function(#[from] FunctionError),
    /// The kernel's file.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Kernel and initial file system do not go into memory.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The operating system refuses a thread or an event.
    #[error("a machine needs threads and events of the operating system: {0}")]
    System(#[from] io::Error),
}

/// A machine that does not run yet.
pub struct Machine {
    ram: Arc<Ram>,
    memory: Arc<Memory>,
    control: Arc<Control>,
    board: Board,
    intx: Arc<Intx>,
    resumption: Option<Resumption>,
}

/// A machine that runs. It ends when this is dropped.
pub struct Running {
    ram: Arc<Ram>,
    control: Arc<Control>,
    board: Arc<Board>,
    clock: Clock,
    harts: Vec<JoinHandle<()>>,
}

impl Machine {
    /// A machine without devices and with nothing in its memory.
    pub fn new(options: Options) -> Result<Self, MachineError> {
        if !(1..=map::MAX_HARTS).contains(&options.harts) {
            return Err(MachineError::Harts(options.harts));
        }
        let ram = Ram::new(map::RAM.base, options.memory)?;
        let signals: Vec<_> = (0..options.harts).map(|_| Arc::new(Signals::default())).collect();
        let imsic = Arc::new(Imsic::new(&signals));
        let aplic = Arc::new(Aplic::new(imsic.clone()));
        Ok(Self {
            intx: Arc::new(Intx::new(aplic.clone())),
            memory: Arc::new(Memory::new(vec![ram.region().clone()])?),
            ram: Arc::new(ram),
            control: Arc::new(Control::new(signals)?),
            board: Board {
                aplic,
                imsic,
                rtc: Rtc::default(),
                mmio: Vec::new(),
                foreign: Vec::new(),
                pci: PciHost::default(),
            },
            resumption: None,
        })
    }

    /// Puts `device` into the next virtio-mmio slot.
    pub fn attach_mmio(
        &mut self,
        device: Box<dyn Device>,
        options: mmio::Options,
    ) -> Result<(), MachineError> {
        let slot = self.board.mmio.len();
        if slot + self.board.foreign.len() == map::MMIO_SLOTS {
            return Err(MachineError::Full("virtio-mmio"));
        }
        let wire = self.wire(slot);
        let mut model = Mmio::new(device, options, Arc::new(wire))?;
        model.set_memory(self.memory.clone());
        self.board.mmio.push(MmioSlot::new(model));
        Ok(())
    }

    /// The memory that devices reach.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Puts registers of another make into a virtio-mmio slot, the last one that is free: `make` is given their interrupt
    /// line. Snapshots leave them out.
    pub fn attach_registers(
        &mut self,
        make: impl FnOnce(Arc<dyn InterruptLine>) -> Arc<dyn SlotRegisters>,
    ) -> Result<(), MachineError> {
        let taken = self.board.foreign.len();
        if self.board.mmio.len() + taken == map::MMIO_SLOTS {
            return Err(MachineError::Full("virtio-mmio"));
        }
        let wire = self.wire(map::MMIO_SLOTS - 1 - taken);
        let registers = make(Arc::new(wire));
        self.board.foreign.push(registers);
        Ok(())
    }

    /// Makes `device` function 0 of the next device on the PCI bus.
    pub fn attach_pci(&mut self, device: Box<dyn Device>, options: pci::Options) -> Result<(), MachineError> {
        let mut function = Function::new(device, options, self.next_pci()?)?;
        function.set_memory(self.memory.clone());
        self.board.pci.attach(function);
        Ok(())
    }

    /// Makes registers of another make function 0 of the next device on the PCI bus: `make` is given their interrupts.
    /// Snapshots leave them out.
    pub fn attach_function(
        &mut self,
        make: impl FnOnce(Arc<dyn PciInterrupts>) -> Arc<dyn FunctionRegisters>,
    ) -> Result<(), MachineError> {
        let function = make(self.next_pci()?);
        self.board.pci.attach_registers(function);
        Ok(())
    }

    /// The interrupts of the next device on the PCI bus.
    fn next_pci(&self) -> Result<Arc<SlotInterrupts>, MachineError> {
        let slot = self.board.pci.len();
        if slot == map::PCI_SLOTS {
            return Err(MachineError::Full("PCI"));
        }
        Ok(Arc::new(SlotInterrupts {
            imsic: self.board.imsic.clone(),
            intx: self.intx.clone(),
            slot,
        }))
    }

    /// Loads `kernel`, for the first hart to start with.
    pub fn load(&mut self, kernel: &Kernel<'_>) -> Result<(), MachineError> {
        let image = Image::new(kernel.file)?;
        let layout = boot::Layout::new(&self.ram, &image, kernel.initrd.len() as u64)?;
        let foreign = map::MMIO_SLOTS - self.board.foreign.len()..map::MMIO_SLOTS;
        let slots: Vec<usize> = (0..self.board.mmio.len()).chain(foreign).collect();
        let tree = Description {
            memory: self.ram.len(),
            harts: self.control.signals().len(),
            arguments: kernel.arguments,
            initrd: layout.initrd,
            seed: &kernel.seed,
            mmio_slots: &slots,
            pci: self.board.pci.len() > 0,
        };
        boot::load(&self.ram, &layout, &image, kernel.initrd, &tree.flatten())?;
        self.control.start(0, layout.kernel, layout.device_tree);
        Ok(())
    }

    /// Takes up what [`Running::save`] wrote, perhaps in another process, instead of loading a kernel. The machine must have
    /// the same devices, with the same files and the like behind them, as far as the guest can tell. After an error it
    /// cannot be used.
    pub fn restore(&mut self, from: &mut dyn Read) -> Result<(), SnapshotError> {
        self.resumption = Some(snapshot::restore(from, &self.control, &self.board, &self.ram)?);
        Ok(())
    }

    /// The wire of a virtio-mmio slot.
    fn wire(&self, slot: usize) -> Wire {
        Wire {
            aplic: self.board.aplic.clone(),
            source: map::mmio_source(slot),
        }
    }

    /// Sets the machine going. What the kernel writes to the debug console goes to `console`.
    pub fn start(self, console: Box<dyn Write + Send>) -> Result<Running, MachineError> {
        let sbi = Arc::new(Sbi::new(console));
        let mut running = Running {
            ram: self.ram,
            control: self.control,
            board: Arc::new(self.board),
            clock: Clock::starting_at(self.resumption.as_ref().map_or(0, |resumption| resumption.ticks)),
            harts: Vec::new(),
        };
        let mut harts = Vec::new();
        for (id, signals) in running.control.signals().iter().enumerate() {
            let (ram, board) = (running.ram.clone(), running.board.clone());
            let mut hart = Hart::new(id as u64, ram, board, signals.clone(), running.clock);
            if let Some(file) = running.board.imsic.file(id) {
                hart = hart.with_interrupt_file(file);
            }
            if let Some(state) = self
                .resumption
                .as_ref()
                .and_then(|resumption| resumption.harts.get(id))
            {
                hart.restore(state);
            }
            harts.push(hart);
        }
        // Not before the harts have their state, which says what interrupts are pending.
        if self.resumption.is_some() {
            running.board.resume();
        }
        for hart in harts {
            let (control, sbi, ram) = (running.control.clone(), sbi.clone(), running.ram.clone());
            let thread = std::thread::Builder::new().name(format!("hart-{}", hart.id()));
            running
                .harts
                .push(thread.spawn(move || run(hart, &control, &sbi, &ram))?);
        }
        Ok(running)
    }
}

impl Running {
    /// Waits for the end, until `deadline` if there is one. The descriptor of [`Running`] is readable then.
    pub fn wait(&self, deadline: Option<Instant>) -> Option<Outcome> {
        self.control.wait_for_end(deadline)
    }

    /// Instructions that the harts have retired, up to a moment ago.
    pub fn instructions(&self) -> u64 {
        self.control.instructions()
    }

    /// The registers of all harts that have been started, for a person to read.
    pub fn dump(&self) -> String {
        let was_paused = self.control.is_paused();
        let goes_on = self.control.pause();
        let dump = self.control.dump();
        if goes_on && !was_paused {
            self.control.resume();
        }
        dump
    }

    /// Lets harts and devices rest: what devices are processing is completed, then nothing changes until
    /// [`Running::resume`]. `false` if the machine has ended.
    pub fn pause(&self) -> bool {
        let goes_on = self.control.pause();
        self.board.pause();
        goes_on
    }

    /// Goes on after [`Running::pause`].
    pub fn resume(&self) {
        self.board.resume();
        self.control.resume();
    }

    /// Writes a snapshot, for [`Machine::restore`]. The machine must be paused.
    pub fn save(&self, into: &mut dyn Write) -> Result<(), SnapshotError> {
        snapshot::save(into, &self.control, &self.board, &self.ram, &self.clock)
    }

    /// Ends the machine, if it has not ended by itself, and says how it ended.
    pub fn end(&mut self) -> Outcome {
        self.control.end(Outcome::Ended);
        for hart in self.harts.drain(..) {
            // A thread that panicked has said so.
            let _ = hart.join();
        }
        self.control.outcome().unwrap_or(Outcome::Ended)
    }
}

/// Readable once the machine has ended.
impl AsFd for Running {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// The thread of a hart.
fn run(mut hart: Hart, control: &Control, sbi: &Sbi, ram: &Ram) {
    let number = hart.id() as usize;
    let _ending = EndOnPanic(control);
    while control.may_run(&mut hart) {
        match hart.run(BUDGET) {
            Exit::Budget | Exit::Left => {}
            Exit::Wfi => hart.sleep(None),
            Exit::Ecall => sbi.call(&mut hart, control, ram),
            Exit::Fatal(fatal) => control.end(Outcome::Fatal { hart: number, fatal }),
        }
    }
}

/// Lets no machine wait for a hart whose thread has panicked.
struct EndOnPanic<'a>(&'a Control);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end(Outcome::Panicked);
        }
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
