//! What strict devices do with buffers: as little as their drivers can live with.

mod administration;
mod card;
mod terminal;

use ringwright_memory::Memory;
use ringwright_spec::block::{self, ReqHead, ReqType, zoned};
use ringwright_spec::data::Le64;
use ringwright_spec::{DeviceType, Features, console, entropy, feature, network};
use zerocopy::{FromBytes, IntoBytes};

use crate::driver::event::{Chain, WRITE};
pub(super) use administration::administer;
use card::Card;
pub(in crate::driver) use card::{
    CONTEXTS, HASH_TYPES, MAC, MTU, PAIRS, RSS_ENTRIES, STATISTICS, TUNNEL_TYPES,
};
pub(in crate::driver) use terminal::PORTS;
use terminal::Terminal;

/// A device type.
pub trait Model: Send {
    /// Which it is.
    fn device(&self) -> &'static DeviceType;

    /// The features of the device type that it can do, and [`feature::VERSION_1`].
    fn features(&self) -> Features;

    /// The driver has accepted these features.
    fn negotiated(&mut self, _: Features) {}

    /// How many virtqueues it has.
    fn queues(&self) -> u16;

    /// Its configuration space.
    fn config(&mut self) -> &mut Vec<u8>;

    /// Changes the configuration, as far as drivers can live with that.
    fn change(&mut self);

    /// Takes a buffer of a virtqueue; says which buffers are to be given back. They are filled in part only if `short`,
    /// where that is the device's choice.
    fn serve(&mut self, memory: &Memory, queue: u16, chain: Chain, short: bool) -> Vec<Done>;

    /// The control messages of a console that the driver has been given since the last time.
    fn told(&mut self) -> Vec<console::Control> {
        Vec::new()
    }

    /// Forgets the buffers of the virtqueues that were reset; of all if there is no number.
    fn forget(&mut self, queue: Option<u16>);
}

/// A buffer that is to be given back.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// Its virtqueue.
    pub queue: u16,
    /// Its id.
    pub id: u16,
    /// How many bytes were written to it.
    pub written: u32,
}

/// The model of a device type; `None` if there is none.
pub fn model(device: &DeviceType) -> Option<Box<dyn Model>> {
    match device.id {
        id if id == block::DEVICE.id => Some(Box::new(Disk::new())),
        id if id == entropy::DEVICE.id => Some(Box::new(Source(Vec::new()))),
        id if id == console::DEVICE.id => Some(Box::new(Terminal::new())),
        id if id == network::DEVICE.id => Some(Box::new(Card::new())),
        _ => None,
    }
}

/// The device-readable bytes of a buffer, `most` of them at the most.
pub(super) fn readable(memory: &Memory, chain: &Chain, most: usize) -> Vec<u8> {
    let mut all = Vec::new();
    for element in chain
        .elements()
        .filter(|element| !element.has(WRITE) && element.reached)
    {
        let mut bytes = vec![0; (element.length as usize).min(most - all.len())];
        let _ = memory.read(element.address, &mut bytes);
        all.extend(bytes);
    }
    all
}

/// Writes to the device-writable part of a buffer, as much as it holds from `skip` bytes on. How many bytes that was.
fn fill(memory: &Memory, chain: &Chain, mut skip: u64, mut from: &[u8]) -> u32 {
    let mut done = 0;
    for element in chain
        .elements()
        .filter(|element| element.has(WRITE) && element.reached)
    {
        let length = u64::from(element.length);
        if skip >= length {
            skip -= length;
            continue;
        }
        let now = from.len().min((length - skip) as usize);
        let (bytes, rest) = from.split_at(now);
        let _ = memory.write(element.address.wrapping_add(skip), bytes);
        (from, skip, done) = (rest, 0, done + now as u32);
    }
    done
}

/// Most segments of a request to the disk: with head and status it has room in the smallest virtqueue of any scenario. Linux
/// waits for ever if it has not.
pub(in crate::driver) const SEG_MAX: u32 = 2;

/// Most bytes of a request that are looked at.
const MOST: usize = 1 << 20;

/// Bytes of the disk.
pub(in crate::driver) const DISK: usize = 256 << 10;

/// Most ranges of a request.
pub(in crate::driver) const RANGES: u32 = 1;

/// Sectors of a zone of the disk, if it has zones: all are sequential.
pub(in crate::driver) const ZONE_SECTORS: u64 = 64;

/// Most sectors that are appended to a zone.
pub(in crate::driver) const APPEND: u64 = 16;

/// Bytes that data written to zones are a multiple of.
pub(in crate::driver) const GRANULARITY: u64 = 4096;

/// A disk in memory.
struct Disk {
    content: Vec<u8>,
    /// The write pointer of each zone, from its start on.
    written: Vec<u64>,
    config: Vec<u8>,
}

impl Disk {
    fn new() -> Self {
        let config = block::Config {
            capacity: Le64::new(DISK as u64 / block::SECTOR_SIZE),
            size_max: 4096.into(),
            seg_max: SEG_MAX.into(),
            blk_size: 512.into(),
            writeback: 1,
            num_queues: 1.into(),
            max_discard_sectors: 64.into(),
            max_discard_seg: RANGES.into(),
            discard_sector_alignment: 1.into(),
            max_write_zeroes_sectors: 64.into(),
            max_write_zeroes_seg: RANGES.into(),
            max_secure_erase_sectors: 64.into(),
            max_secure_erase_seg: RANGES.into(),
            secure_erase_sector_alignment: 1.into(),
            zoned: zoned::Characteristics {
                zone_sectors: (ZONE_SECTORS as u32).into(),
                max_append_sectors: (APPEND as u32).into(),
                write_granularity: (GRANULARITY as u32).into(),
                model: zoned::Model::HM.0,
                ..zoned::Characteristics::default()
            },
            ..block::Config::default()
        };
        Self {
            content: vec![0; DISK],
            written: vec![0; DISK / (ZONE_SECTORS * block::SECTOR_SIZE) as usize],
            config: config.as_bytes().to_vec(),
        }
    }

    fn range(&mut self, sector: u64, length: usize) -> Option<&mut [u8]> {
        let start = usize::try_from(sector.checked_mul(block::SECTOR_SIZE)?).ok()?;
        self.content.get_mut(start..start.checked_add(length)?)
    }

    /// The write pointer of the zone that has this sector.
    fn pointer(&mut self, sector: u64) -> Option<&mut u64> {
        self.written.get_mut(usize::try_from(sector / ZONE_SECTORS).ok()?)
    }

    fn move_pointer(&mut self, sector: u64, to: u64) -> Result<u32, block::Status> {
        *self.pointer(sector).ok_or(block::Status::IOERR)? = to;
        Ok(0)
    }

    /// A report of the zones from the one that has this sector on, as many as there is room for.
    fn report(&self, sector: u64, room: usize) -> Vec<u8> {
        let room = room.saturating_sub(size_of::<zoned::ZoneReport>()) / size_of::<zoned::ZoneDescriptor>();
        let zones = (0u64..).zip(&self.written).skip((sector / ZONE_SECTORS) as usize);
        let zones: Vec<_> = zones
            .take(room)
            .map(|(number, pointer)| describe(number, *pointer))
            .collect();
        let mut report = zoned::ZoneReport::default();
        report.nr_zones.set(zones.len() as u64);
        [report.as_bytes(), zones.as_bytes()].concat()
    }

    fn request(&mut self, memory: &Memory, chain: &Chain, short: bool) -> Result<u32, block::Status> {
        let sent = readable(memory, chain, MOST);
        let (head, data) = ReqHead::read_from_prefix(&sent).map_err(|_| block::Status::IOERR)?;
        let sector = head.sector.get();
        let room = chain.length(true).saturating_sub(1) as usize;
        match ReqType(head.r#type.get()) {
            ReqType::IN => {
                let from = self.range(sector, room).ok_or(block::Status::IOERR)?;
                Ok(fill(memory, chain, 0, from))
            }
            ReqType::OUT => {
                let into = self.range(sector, data.len()).ok_or(block::Status::IOERR)?;
                into.copy_from_slice(data);
                let end = sector + data.len() as u64 / block::SECTOR_SIZE;
                if let Some(pointer) = self.pointer(sector) {
                    *pointer = (*pointer).max(end - sector / ZONE_SECTORS * ZONE_SECTORS);
                }
                Ok(0)
            }
            ReqType::ZONE_APPEND => {
                let pointer = self.pointer(sector).ok_or(block::Status::IOERR)?;
                let at = sector + *pointer;
                *pointer += data.len() as u64 / block::SECTOR_SIZE;
                if *pointer > ZONE_SECTORS {
                    return Err(block::Status::ZONE_INVALID_CMD);
                }
                let into = self.range(at, data.len()).ok_or(block::Status::IOERR)?;
                into.copy_from_slice(data);
                Ok(fill(memory, chain, 0, &at.to_le_bytes()))
            }
            ReqType::ZONE_REPORT => {
                let one = size_of::<zoned::ZoneReport>() + size_of::<zoned::ZoneDescriptor>();
                let room = if short { room.min(one) } else { room };
                Ok(fill(memory, chain, 0, &self.report(sector, room)))
            }
            ReqType::ZONE_OPEN | ReqType::ZONE_CLOSE => Ok(0),
            ReqType::ZONE_FINISH => self.move_pointer(sector, ZONE_SECTORS),
            ReqType::ZONE_RESET => self.move_pointer(sector, 0),
            ReqType::ZONE_RESET_ALL => {
                self.written.fill(0);
                Ok(0)
            }
            ReqType::FLUSH | ReqType::DISCARD | ReqType::WRITE_ZEROES | ReqType::SECURE_ERASE => Ok(0),
            ReqType::GET_ID => Ok(fill(memory, chain, 0, &[b'r'; block::ID_BYTES])),
            _ => Err(block::Status::UNSUPP),
        }
    }
}

/// The zone of this number, of which as many sectors are written.
fn describe(number: u64, written: u64) -> zoned::ZoneDescriptor {
    let start = number * ZONE_SECTORS;
    let state = match written {
        0 => zoned::ZoneState::EMPTY,
        ZONE_SECTORS.. => zoned::ZoneState::FULL,
        _ => zoned::ZoneState::IOPEN,
    };
    zoned::ZoneDescriptor {
        z_cap: ZONE_SECTORS.into(),
        z_start: start.into(),
        z_wp: (start + written).into(),
        z_type: zoned::ZoneType::SWR.0,
        z_state: state.0,
        ..zoned::ZoneDescriptor::default()
    }
}

impl Model for Disk {
    fn device(&self) -> &'static DeviceType {
        &block::DEVICE
    }

    fn features(&self) -> Features {
        use block::features as can;
        feature::VERSION_1
            | can::SIZE_MAX
            | can::SEG_MAX
            | can::BLK_SIZE
            | can::FLUSH
            | can::CONFIG_WCE
            | can::DISCARD
            | can::WRITE_ZEROES
            | can::SECURE_ERASE
    }

    fn queues(&self) -> u16 {
        1
    }

    fn config(&mut self) -> &mut Vec<u8> {
        &mut self.config
    }

    /// The capacity is half of what there is, or all of it: a driver that has not heard of it yet does nothing wrong.
    fn change(&mut self) {
        let usual = DISK as u64 / block::SECTOR_SIZE;
        if let Some(capacity) = self.config.first_chunk_mut() {
            let now = u64::from_le_bytes(*capacity);
            *capacity = (if now == usual { usual / 2 } else { usual }).to_le_bytes();
        }
    }

    fn serve(&mut self, memory: &Memory, queue: u16, chain: Chain, short: bool) -> Vec<Done> {
        let (written, status) = match self.request(memory, &chain, short) {
            Ok(written) => (written, block::Status::OK),
            Err(status) => (0, status),
        };
        let last = chain.length(true).saturating_sub(1);
        let status = fill(memory, &chain, last, &[status.0]);
        let written = match u64::from(written) == last {
            true => written + status,
            // Not all before the status was written.
            false => written,
        };
        vec![Done {
            queue,
            id: chain.id,
            written,
        }]
    }

    fn forget(&mut self, _: Option<u16>) {}
}

/// Random bytes, as far as anybody can tell.
struct Source(Vec<u8>);

impl Model for Source {
    fn device(&self) -> &'static DeviceType {
        &entropy::DEVICE
    }

    fn features(&self) -> Features {
        feature::VERSION_1
    }

    fn queues(&self) -> u16 {
        1
    }

    fn config(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    fn change(&mut self) {}

    fn serve(&mut self, memory: &Memory, queue: u16, chain: Chain, short: bool) -> Vec<Done> {
        let most = if short { 7 } else { 64 };
        let bytes: Vec<u8> = (0..chain.length(true).min(most))
            .map(|byte| (byte * 37 + 11) as u8)
            .collect();
        vec![Done {
            queue,
            id: chain.id,
            written: fill(memory, &chain, 0, &bytes),
        }]
    }

    fn forget(&mut self, _: Option<u16>) {}
}
