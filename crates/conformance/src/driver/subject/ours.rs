//! Our own drivers, in this process.

use ringwright_driver::block::{Block, Range, Ranges, Request};
use ringwright_driver::entropy::Entropy;
use ringwright_memory::Buffer;
use ringwright_spec::block::{DiscardWriteZeroes, ID_BYTES};
use ringwright_spec::{DeviceType, block, console, entropy, network};

use super::{Driver, Seat, Stage, card, rings, terminal};
use crate::driver::scenario::Act;
use crate::subject::Bus;

/// Our drivers: those of the device types, and our initialization and rings alone, which do what no such driver does.
pub const OURS: &[&str] = &["rings", "block", "network", "console", "entropy"];

/// How often a driver waits for something before it gives up.
const PATIENCE: usize = 50;

/// Our driver of that name without a bus; `None` if there is none.
pub fn ours(name: &str) -> Option<Ours> {
    ours_on(name, Bus::Direct)
}

/// Our driver of that name on `bus`, of this process; `None` if there is none.
pub fn ours_on(name: &str, bus: Bus) -> Option<Ours> {
    let (device, live): (_, Live) = match name {
        "rings" => (&block::DEVICE, |seat| rings::live(seat).map_err(text)),
        "block" => (&block::DEVICE, disk),
        "network" => (&network::DEVICE, card::live),
        "console" => (&console::DEVICE, terminal::live),
        "entropy" => (&entropy::DEVICE, source),
        _ => return None,
    };
    Some(Ours {
        name: format!("our {name}"),
        bus,
        device,
        live,
    })
}

type Live = fn(&mut Seat) -> Result<(), String>;

/// One of our drivers.
pub struct Ours {
    name: String,
    bus: Bus,
    device: &'static DeviceType,
    live: Live,
}

impl Driver for Ours {
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
        let Some(mut seat) = stage.seat(self.device, self.bus)? else {
            return Ok(());
        };
        let first = (self.live)(&mut seat);
        match seat.act {
            Act::Twice => (self.live)(&mut seat),
            _ => first,
        }
    }
}

pub(super) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn disk(seat: &mut Seat) -> Result<(), String> {
    let mut disk = Block::new(&mut *seat.transport, &seat.area, 1, seat.options).map_err(text)?;
    let buffer = |content: u8| -> Result<Buffer, String> {
        let buffer = seat.area.allocate(4096, 16).ok_or("no memory")?;
        // It has just been made of this length.
        let _ = buffer.write(0, &[content; 4096]);
        Ok(buffer)
    };
    let mut requests = Vec::new();
    for round in 0..10 {
        requests.push(Request::write(8 * round, buffer(round as u8 + 1)?));
        requests.push(Request::read(8 * round, buffer(0)?));
    }
    if disk.geometry().flush {
        requests.push(Request::flush());
    }
    let allocate = |length| seat.area.allocate(length, 16).ok_or("no memory");
    requests.push(Request::get_id(allocate(ID_BYTES)?));
    let ranges = || -> Result<Ranges, String> {
        let range = Range {
            sector: 8,
            sectors: 8,
            unmap: false,
        };
        let buffer = allocate(size_of::<DiscardWriteZeroes>())?;
        Ranges::new(buffer, &[range]).map_err(|_| "no range".into())
    };
    let geometry = disk.geometry();
    if geometry.write_zeroes.is_some() {
        requests.push(Request::write_zeroes(ranges()?));
    }
    if geometry.discard.is_some() {
        requests.push(Request::discard(ranges()?));
    }
    if geometry.secure_erase.is_some() {
        requests.push(Request::secure_erase(ranges()?));
    }
    if let Some(zones) = geometry.zones {
        let zone = u64::from(zones.zone_sectors);
        requests.extend([
            Request::zone_report(zone + 1, allocate(5 * 64)?),
            Request::zone_reset_all(),
            Request::zone_open(zone),
            Request::zone_append(zone, buffer(9)?),
            Request::zone_close(zone),
            Request::zone_finish(zone),
            Request::zone_reset(zone),
        ]);
    }
    disk.cache_mode().map_err(text)?;
    for request in requests {
        disk.submit(0, request, 0)
            .map_err(|refused| text(refused.reason))?;
        disk.publish(0).map_err(text)?;
        if seat.act == Act::Leave {
            return Ok(());
        }
        until(&mut seat.wait, || {
            let completion = disk.poll(0).map_err(text)?;
            completion.map_or(Ok(false), |completion| {
                completion.result.map(|()| true).map_err(text)
            })
        })?;
    }
    Ok(())
}

fn source(seat: &mut Seat) -> Result<(), String> {
    let mut source = Entropy::new(&mut *seat.transport, &seat.area, seat.options).map_err(text)?;
    for _ in 0..20 {
        let buffer = seat.area.allocate(32, 16).ok_or("no memory")?;
        if source.request(buffer).map_err(text)?.is_err() {
            return Err("the virtqueue is full".into());
        }
        if seat.act == Act::Leave {
            return Ok(());
        }
        until(&mut seat.wait, || {
            source.poll().map(|got| got.is_some()).map_err(text)
        })?;
    }
    Ok(())
}

/// Waits until `done`, as long as a device may take.
pub(super) fn until(
    wait: &mut (dyn FnMut() + Send),
    mut done: impl FnMut() -> Result<bool, String>,
) -> Result<(), String> {
    for _ in 0..PATIENCE {
        if done()? {
            return Ok(());
        }
        wait();
    }
    Err("the device does not answer".into())
}
