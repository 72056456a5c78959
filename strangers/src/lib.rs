//! Drivers of other projects in this process, for the conformance suite to watch.
//!
//! [`VirtioDrivers`] has the drivers of the crate `virtio-drivers`. Its own transports read and write memory that is
//! mapped from a device, which nobody can watch in a process; so its drivers are given another one, that goes to the
//! strict device call by call, and its transports are not looked at.

mod platform;
mod transport;

use ringwright_conformance::driver::{Act, Driver, Seat, Stage};
use ringwright_conformance::subject::Bus;
use ringwright_spec::{DeviceType, block, console, entropy, network};
use virtio_drivers::device::blk::VirtIOBlk;
use virtio_drivers::device::console::VirtIOConsole;
use virtio_drivers::device::net::{TxBuffer, VirtIONet};
use virtio_drivers::device::rng::VirtIORng;

use platform::Platform;
use transport::Calls;

/// Rounds of requests, so that rings wrap.
const ROUNDS: usize = 20;

/// Buffers that the network card receives into.
const RECEIVED: usize = 8;

/// The driver of one device type.
pub struct VirtioDrivers {
    device: &'static DeviceType,
    live: fn(Calls<'_>) -> virtio_drivers::Result,
}

impl VirtioDrivers {
    /// The driver for devices of type `device`; `None` if it is not asked to do anything with one.
    pub fn new(device: &'static DeviceType) -> Option<Self> {
        let live = match device.id {
            id if id == block::DEVICE.id => disk,
            id if id == console::DEVICE.id => terminal,
            id if id == entropy::DEVICE.id => source,
            id if id == network::DEVICE.id => card,
            _ => return None,
        };
        Some(Self { device, live })
    }
}

impl Driver for VirtioDrivers {
    fn name(&self) -> String {
        format!("virtio-drivers, {}", self.device.name)
    }

    fn device(&self) -> &'static DeviceType {
        self.device
    }

    fn bus(&self) -> Bus {
        Bus::Direct
    }

    fn meet(&self, stage: &mut Stage<'_>) -> Result<(), String> {
        let Some(mut seat) = stage.seat(self.device, Bus::Direct)? else {
            return Ok(());
        };
        platform::settle(&seat.area);
        let live = |seat: &mut Seat| {
            let calls = Calls::new(&mut *seat.transport, &mut seat.wait);
            (self.live)(calls).map_err(|error| error.to_string())
        };
        let first = live(&mut seat);
        match seat.act {
            Act::Twice => live(&mut seat),
            _ => first,
        }
    }
}

fn disk(transport: Calls<'_>) -> virtio_drivers::Result {
    let mut disk = VirtIOBlk::<Platform, _>::new(transport)?;
    let mut name = [0; 20];
    disk.device_id(&mut name)?;
    let mut sectors = [0; 1024];
    for round in 0..ROUNDS {
        disk.write_blocks(2 * round, &[round as u8; 1024])?;
        disk.read_blocks(2 * round, &mut sectors)?;
        if sectors != [round as u8; 1024] {
            return Err(virtio_drivers::Error::IoError);
        }
    }
    disk.flush()
}

fn source(transport: Calls<'_>) -> virtio_drivers::Result {
    let mut source = VirtIORng::<Platform, _>::new(transport)?;
    let mut bytes = [0; 32];
    for _ in 0..ROUNDS {
        source.request_entropy(&mut bytes)?;
    }
    Ok(())
}

fn terminal(transport: Calls<'_>) -> virtio_drivers::Result {
    let mut terminal = VirtIOConsole::<Platform, _>::new(transport)?;
    terminal.size()?;
    for _ in 0..ROUNDS {
        terminal.send_bytes(b"ringwright\n")?;
        while terminal.recv(true)?.is_some() {}
    }
    Ok(())
}

fn card(transport: Calls<'_>) -> virtio_drivers::Result {
    let mut card = VirtIONet::<Platform, _, RECEIVED>::new(transport, 2048)?;
    // From the card itself, to nobody in particular.
    let mut packet = [0; 60];
    packet[6..12].copy_from_slice(&card.mac_address());
    for _ in 0..ROUNDS {
        card.send(TxBuffer::from(&packet))?;
        if let Ok(frame) = card.receive() {
            card.recycle_rx_buffer(frame)?;
        }
    }
    Ok(())
}
