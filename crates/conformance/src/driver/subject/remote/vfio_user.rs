//! A strict device that is a PCI function behind a vfio-user socket.
//!
//! The BAR and its structures are seen as they are behind any PCI bus. Of the configuration space the client answers a part
//! itself, and reads and writes some on its own account; the table of MSI-X vectors is the client's.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use ringwright_memory::Memory;
use ringwright_socket::Stop;
use ringwright_spec::pci::header;
use ringwright_vfio_user::server::{Interrupts, PciFunction, Server};

use super::Served;
use crate::driver::scenario::Oddity;
use crate::driver::strict::pci::{BAR, BAR_INDEX, BAR_SIZE, IO_SIZE};
use crate::driver::strict::{Shared, Strict, StrictPci, with};

/// Bytes of the widest access of a driver; what is wider comes in several.
const WIDEST: usize = 4;

/// The function that `device` is, for the client at the other end of `stream`.
pub(super) fn serve(device: &Shared, stream: UnixStream, stop: &Stop) -> Served {
    let interrupts = Arc::new(Interrupts::default());
    let function = StrictFunction::new(device, &interrupts);
    let (stop, shared) = (stop.clone(), interrupts.clone());
    // The table of vectors is the client's, so that none is masked here.
    let registers = StrictPci::new(device);
    Served {
        settle: Box::new(move || registers.signal(&*shared)),
        run: Box::new(move || {
            let mut server = Server::new(Box::new(function), interrupts);
            let outcome = server.serve_connection(stream, &stop);
            outcome.map_err(|error| format!("vfio-user: {error}"))
        }),
    }
}

/// The function, as the server needs it.
struct StrictFunction {
    device: Shared,
    registers: StrictPci,
    interrupts: Arc<Interrupts>,
    vectors: u16,
    /// It has I/O registers as well, as transitional devices have.
    is_transitional: bool,
}

impl StrictFunction {
    fn new(device: &Shared, interrupts: &Arc<Interrupts>) -> Self {
        let function = with(device, |device| device.past().scenario.function);
        Self {
            device: device.clone(),
            registers: StrictPci::new(device),
            interrupts: interrupts.clone(),
            vectors: function.vectors,
            is_transitional: function.oddity == Oddity::Transitional,
        }
    }

    fn read(&mut self, offset: u64, data: &mut [u8]) {
        for (piece, offset) in data.chunks_mut(WIDEST).zip((offset..).step_by(WIDEST)) {
            self.registers.read_bytes(offset, piece);
        }
        self.registers.signal(&*self.interrupts);
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        for (piece, offset) in data.chunks(WIDEST).zip((offset..).step_by(WIDEST)) {
            self.registers.write_bytes(offset, piece);
        }
        self.registers.signal(&*self.interrupts);
    }
}

impl PciFunction for StrictFunction {
    fn config_size(&self) -> u64 {
        header::EXPRESS_SIZE as u64
    }

    fn read_config(&mut self, offset: u64, data: &mut [u8]) {
        if data.len() <= WIDEST {
            return self.read(offset, data);
        }
        // No driver reads so much at a time.
        for (byte, offset) in data.iter_mut().zip(offset..) {
            *byte = self.registers.peek(offset);
        }
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        self.write(offset, data);
    }

    fn bar_size(&self, bar: u8) -> u64 {
        match bar {
            BAR_INDEX => BAR_SIZE.into(),
            0 if self.is_transitional => IO_SIZE.into(),
            _ => 0,
        }
    }

    fn read_bar(&mut self, bar: u8, offset: u64, data: &mut [u8]) {
        match bar {
            BAR_INDEX => self.read(BAR + offset, data),
            _ => data.fill(0),
        }
    }

    fn write_bar(&mut self, bar: u8, offset: u64, data: &[u8]) {
        if bar == BAR_INDEX {
            self.write(BAR + offset, data);
        }
    }

    fn vectors(&self) -> u16 {
        self.vectors
    }

    fn set_memory(&mut self, memory: Arc<Memory>) {
        with(&self.device, |device| device.set_memory(memory));
    }

    fn reset(&mut self) {
        with(&self.device, Strict::withdraw);
    }
}
