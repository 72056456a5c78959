//! A transport without a device behind it: it checks the order of what a driver does, records it, and answers what a
//! test wants.

pub mod lives;
pub mod model;
pub mod stairs;

use alloc::rc::Rc;
use alloc::sync::Arc;
use core::cell::{RefCell, RefMut};
use core::ops::Range;
use std::vec;
use std::vec::Vec;

use ringwright_memory::{Area, Mapping, Memory, Region, Slices, Width};
use ringwright_ring::{ByteOrder, DeviceQueue, Layout, State};
use ringwright_spec::packed::DescFlags;
use ringwright_spec::status::Status;
use ringwright_spec::{Features, feature};

use crate::field::Field;
use crate::{Interrupt, Legacy, Options, Transport, TransportError};

/// Both formats, with and without what changes how notifications and completions work.
pub const FORMATS: [Features; 4] = [
    feature::VERSION_1,
    feature::VERSION_1
        .union(feature::EVENT_IDX)
        .union(feature::IN_ORDER),
    feature::VERSION_1.union(feature::RING_PACKED),
    feature::VERSION_1
        .union(feature::RING_PACKED)
        .union(feature::EVENT_IDX)
        .union(feature::IN_ORDER),
];

/// Device address of the area.
const BASE: u64 = 0x1000_0000;

/// Questions after which the device has done what takes it time: a reset, a suspend.
const READS: u32 = 3;

/// What a driver has done to its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Features(Features),
    Status(u8),
    Enable(u16),
    Reset(u16),
    Notify(u16),
    Config,
}

/// The transport; clones are the same one.
#[derive(Clone)]
pub struct Fake(Rc<RefCell<Board>>);

/// What the transport knows, and what a test wants it to do.
pub struct Board {
    pub area: Arc<Area>,
    memory: Arc<Memory>,
    pub id: u32,
    pub offered: Features,
    pub accepted: Features,
    /// With one of these the device does not accept the features.
    pub unacceptable: Features,
    pub legacy: Option<Legacy>,
    pub unsupported: Features,
    pub status: Status,
    /// What the status will be, and the reads of it until then.
    next: Status,
    changing: u32,
    /// Resets, suspending and resuming take for ever.
    pub never_changes: bool,
    /// The device answers suspending and resuming by DEVICE_NEEDS_RESET.
    pub gives_up: bool,
    /// Virtqueue that is being reset, and the questions until it is.
    resetting: Option<(u16, u32)>,
    /// Greatest size of each virtqueue.
    pub sizes: Vec<u16>,
    layouts: Vec<Option<Layout>>,
    pub config: Vec<u8>,
    /// How many more reads of the configuration space the device changes it during.
    pub changes: u32,
    generation: u32,
    pub log: Vec<Call>,
    calls: usize,
    /// Which of them do.
    pub faults: Range<usize>,
    /// Whether a call that fails has its effect nevertheless.
    pub heard: bool,
    pub error: TransportError,
}

impl Fake {
    /// A device with virtqueues of up to `sizes` descriptors, on an area of `length` bytes.
    pub fn new(id: u32, offered: Features, sizes: &[u16], length: usize) -> Self {
        Self::on(Arc::new(Mapping::anonymous(length).unwrap()), id, offered, sizes)
    }

    /// As `new`, on an area of the memory of `mapping`.
    pub fn on(mapping: Arc<Mapping>, id: u32, offered: Features, sizes: &[u16]) -> Self {
        let region = Region::new(BASE, mapping);
        Self(Rc::new(RefCell::new(Board {
            area: Area::from_region(region.clone()).unwrap(),
            memory: Arc::new(Memory::new(vec![region]).unwrap()),
            id,
            offered,
            accepted: Features::NONE,
            unacceptable: Features::NONE,
            legacy: None,
            unsupported: feature::NOT_ON_MMIO,
            status: Status::ACKNOWLEDGE | Status::FAILED,
            next: Status::NONE,
            changing: 0,
            never_changes: false,
            gives_up: false,
            resetting: None,
            sizes: sizes.to_vec(),
            layouts: vec![None; sizes.len()],
            config: vec![0; 128],
            changes: 0,
            generation: 7,
            log: Vec::new(),
            calls: 0,
            faults: 0..0,
            heard: false,
            error: TransportError::Gone,
        })))
    }

    pub fn board(&self) -> RefMut<'_, Board> {
        self.0.borrow_mut()
    }

    pub fn area(&self) -> Arc<Area> {
        self.board().area.clone()
    }

    /// Where virtqueue `index` lies, if it is enabled.
    pub fn layout(&self, index: u16) -> Option<Layout> {
        self.board().layouts[usize::from(index)]
    }

    /// Reads memory as the device does.
    pub fn read_memory(&self, address: u64, into: &mut [u8]) {
        self.board().memory.read(address, into).unwrap();
    }

    /// Whether nothing of the area is allocated.
    pub fn is_area_whole(&self) -> bool {
        let area = self.area();
        area.allocate(area.len(), 1).is_some()
    }

    pub fn is_live(&self) -> bool {
        self.status_now().contains(Status::DRIVER_OK)
    }

    /// The status, read by the test and not by the driver.
    pub fn status_now(&self) -> Status {
        self.board().status
    }

    /// How many calls there were that can fail.
    pub fn calls(&self) -> usize {
        self.board().calls
    }

    /// Options that accept what the device offers, and `features` of the ring.
    pub fn options(features: Features) -> Options {
        Options {
            accept: features | feature::DEVICE_TYPE_BITS,
            ..Options::default()
        }
    }

    /// The device end of virtqueue `index`.
    pub fn device(&self, index: u16) -> Device {
        let board = self.board();
        assert!(board.status.contains(Status::DRIVER_OK), "the device is live");
        let layout = board.layouts[usize::from(index)].expect("the virtqueue is enabled");
        let order = board.byte_order();
        let queue = DeviceQueue::with_byte_order(
            layout,
            board.accepted,
            board.memory.clone(),
            State::default(),
            order,
        );
        Device {
            queue: queue.unwrap(),
            shapes: Vec::new(),
            fake: self.clone(),
            index,
        }
    }

    /// Says, as a device does that breaks the rules, that it has used a buffer: the first of virtqueue `index`.
    pub fn lie(&self, index: u16, id: u16, written: u32) {
        let board = self.board();
        let layout = board.layouts[usize::from(index)].expect("the virtqueue is enabled");
        let write = |address, bytes: &[u8]| board.memory.write(address, bytes).unwrap();
        if board.accepted.contains(feature::RING_PACKED) {
            let flags = DescFlags::AVAIL.0 | DescFlags::USED.0 | DescFlags::WRITE.0;
            write(layout.descriptor_area + 8, &written.to_le_bytes());
            write(layout.descriptor_area + 12, &id.to_le_bytes());
            write(layout.descriptor_area + 14, &flags.to_le_bytes());
        } else {
            write(layout.device_area + 4, &u32::from(id).to_le_bytes());
            write(layout.device_area + 8, &written.to_le_bytes());
            write(layout.device_area + 2, &1u16.to_le_bytes());
        }
    }

    /// Performs a call that can fail.
    fn call<R: Default>(&self, effect: impl FnOnce(&mut Board) -> R) -> Result<R, TransportError> {
        let mut board = self.board();
        let number = board.calls;
        board.calls += 1;
        if !board.faults.contains(&number) {
            return Ok(effect(&mut board));
        }
        if board.heard {
            effect(&mut board);
        }
        Err(board.error)
    }
}

impl Board {
    fn byte_order(&self) -> ByteOrder {
        self.legacy.map_or(ByteOrder::Little, |legacy| legacy.byte_order)
    }

    fn set_status(&mut self, status: Status) {
        self.log.push(Call::Status(status.0));
        if status == Status::NONE {
            self.layouts.fill(None);
            self.become_soon(Status::NONE);
            return;
        }
        assert!(
            status.contains(self.status),
            "drv:core:device-status-field:02: no bit is cleared"
        );
        assert!(
            self.legacy.is_none() || !status.contains(Status::FEATURES_OK),
            "legacy devices have no FEATURES_OK (section 3.1.2)"
        );
        let added = status - self.status;
        let outcome = match self.gives_up {
            true => status | Status::DEVICE_NEEDS_RESET,
            false => status,
        };
        if added.contains(Status::SUSPEND) {
            self.become_soon(outcome - Status::DRIVER_OK);
        } else if self.status.contains(Status::SUSPEND) {
            self.become_soon(outcome - Status::SUSPEND);
        } else if status.contains(Status::FEATURES_OK) && self.accepted.intersects(self.unacceptable) {
            self.status = status - Status::FEATURES_OK;
        } else {
            self.status = status;
        }
    }

    fn become_soon(&mut self, status: Status) {
        self.next = status;
        self.changing = if self.status == status { 0 } else { READS };
    }

    fn read_status(&mut self) -> Status {
        if self.changing > 0 && !self.never_changes {
            self.changing -= 1;
            if self.changing == 0 {
                self.status = self.next;
            }
        }
        self.status
    }

    fn queue_is_reset(&mut self, index: u16) -> bool {
        let (resetting, left) = self.resetting.expect("a virtqueue is being reset");
        assert_eq!(index, resetting);
        self.resetting = match left {
            0 => None,
            _ if self.never_changes => Some((index, left)),
            _ => Some((index, left - 1)),
        };
        self.resetting.is_none()
    }

    /// The bytes of the configuration space that an access is about.
    fn config_range(&self, offset: usize, width: Width, length: usize) -> Range<usize> {
        let width = width.bytes();
        assert!(
            offset.is_multiple_of(width) && length.is_multiple_of(width),
            "{length} bytes at {offset} are no fields of {width} bytes"
        );
        offset..offset + length
    }
}

impl Transport for Fake {
    fn device_id(&self) -> u32 {
        self.board().id
    }

    fn legacy(&self) -> Option<Legacy> {
        self.board().legacy
    }

    fn unsupported_features(&self) -> Features {
        self.board().unsupported
    }

    fn device_features(&mut self) -> Result<Features, TransportError> {
        self.call(|board| board.offered.0).map(Features)
    }

    fn set_driver_features(&mut self, features: Features) -> Result<(), TransportError> {
        self.call(|board| {
            assert!(
                board.status.contains(Status::DRIVER) && !board.status.contains(Status::FEATURES_OK),
                "drv:init:device-initialization:03: features are negotiated before FEATURES_OK"
            );
            board.log.push(Call::Features(features));
            board.accepted = features;
        })
    }

    fn status(&mut self) -> Result<Status, TransportError> {
        self.call(|board| board.read_status().0).map(Status)
    }

    fn set_status(&mut self, status: Status) -> Result<(), TransportError> {
        self.call(|board| board.set_status(status))
    }

    fn queue_max_size(&mut self, index: u16) -> Result<u16, TransportError> {
        self.call(|board| board.sizes.get(usize::from(index)).copied().unwrap_or_default())
    }

    fn enable_queue(&mut self, index: u16, layout: &Layout) -> Result<(), TransportError> {
        self.call(|board| {
            assert!(
                board.status.contains(Status::FEATURES_OK) || board.legacy.is_some(),
                "features come first"
            );
            assert_eq!(board.resetting, None, "drv:core:virtqueue-reset:01");
            board.log.push(Call::Enable(index));
            board.layouts[usize::from(index)] = Some(*layout);
        })
    }

    fn reset_queue(&mut self, index: u16) -> Result<(), TransportError> {
        self.call(|board| {
            assert!(board.accepted.contains(feature::RING_RESET));
            board.log.push(Call::Reset(index));
            board.layouts[usize::from(index)] = None;
            board.resetting = Some((index, READS));
        })
    }

    fn queue_is_reset(&mut self, index: u16) -> Result<bool, TransportError> {
        self.call(|board| board.queue_is_reset(index))
    }

    fn notify(&mut self, index: u16, _data: u32) -> Result<(), TransportError> {
        self.call(|board| {
            assert!(
                board.status.contains(Status::DRIVER_OK),
                "drv:init:device-initialization:06: no notification before DRIVER_OK"
            );
            assert!(
                !board.status.contains(Status::SUSPEND),
                "drv:init:device-suspend:04"
            );
            board.log.push(Call::Notify(index));
        })
    }

    fn config_generation(&mut self) -> Result<u32, TransportError> {
        self.call(|board| {
            assert!(board.legacy.is_none(), "legacy devices have no generation");
            board.generation
        })
    }

    fn read_config(&mut self, offset: usize, width: Width, data: &mut [u8]) -> Result<(), TransportError> {
        self.call(|board| {
            let range = board.config_range(offset, width, data.len());
            data.copy_from_slice(&board.config[range]);
            if board.changes > 0 {
                board.changes -= 1;
                board.generation += 1;
                board.config.iter_mut().for_each(|byte| *byte += 1);
            }
        })
    }

    fn write_config(&mut self, offset: usize, width: Width, data: &[u8]) -> Result<(), TransportError> {
        self.call(|board| {
            assert!(
                !board.status.contains(Status::SUSPEND),
                "drv:init:device-suspend:05"
            );
            let negotiates = board.status == Status::ACKNOWLEDGE | Status::DRIVER;
            assert!(
                !negotiates || board.legacy.is_some(),
                "drv:init:device-initialization:02: not before FEATURES_OK"
            );
            board.log.push(Call::Config);
            let range = board.config_range(offset, width, data.len());
            board.config[range].copy_from_slice(data);
        })
    }

    fn take_interrupt(&mut self) -> Result<Interrupt, TransportError> {
        Ok(Interrupt::default())
    }

    fn shared_memory(&mut self, _id: u8) -> Result<Option<(u64, u64)>, TransportError> {
        Ok(None)
    }
}

/// The device end of one virtqueue.
pub struct Device {
    queue: DeviceQueue,
    /// Lengths of the elements, readable and writable, of the chains that were served.
    pub shapes: Vec<[Vec<usize>; 2]>,
    fake: Fake,
    index: u16,
}

impl Device {
    /// Serves up to `most` chains: `answer` gets what the driver has written and where to write, and says how much it
    /// has written. Returns how many there were.
    pub fn serve(&mut self, most: usize, mut answer: impl FnMut(&[u8], Slices<'_>) -> u32) -> usize {
        for served in 0..most {
            let Some(chain) = self.queue.pop().unwrap() else {
                self.queue.publish().unwrap();
                return served;
            };
            let lengths = |slices: Slices<'_>| slices.segments().map(|segment| segment.len()).collect();
            self.shapes
                .push([lengths(chain.readable()), lengths(chain.writable())]);
            let mut readable = vec![0; chain.readable().len()];
            chain.readable().read(0, &mut readable).unwrap();
            let written = answer(&readable, chain.writable());
            let token = chain.into_token();
            self.queue.complete(token, written).unwrap();
        }
        self.queue.publish().unwrap();
        most
    }

    /// Says of the last chain used that `written` bytes were written, as legacy devices do; split virtqueues only.
    pub fn overstate(&self, written: u32) {
        let layout = self.fake.layout(self.index).unwrap();
        let board = self.fake.board();
        let order = board.byte_order();
        let mut used = [0; 2];
        board.memory.read(layout.device_area + 2, &mut used).unwrap();
        let last = u16::from_ne_bytes(used).in_order(order).wrapping_sub(1) % layout.size;
        let length = written.in_order(order).to_ne_bytes();
        board
            .memory
            .write(layout.device_area + 4 + 8 * u64::from(last) + 4, &length)
            .unwrap();
    }

    /// Fills the next buffer with `bytes`, which it has room for.
    pub fn put(&mut self, bytes: &[u8]) {
        let served = self.serve(1, |readable, writable| {
            assert!(readable.is_empty(), "a buffer for input is device-writable only");
            writable.write(0, bytes).unwrap();
            bytes.len() as u32
        });
        assert_eq!(served, 1, "the driver has made a buffer available");
    }
}
