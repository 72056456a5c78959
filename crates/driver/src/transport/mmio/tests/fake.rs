//! Registers of a device over MMIO that check what the document demands of drivers, and can lie.

use alloc::rc::Rc;
use core::cell::{RefCell, RefMut};
use core::ops::Range;
use std::vec::Vec;

use ringwright_memory::Width;
use ringwright_ring::Layout;
use ringwright_spec::mmio::{self as spec, legacy};
use ringwright_spec::register::{self, Access};
use ringwright_spec::{Features, feature};

use crate::testing::model::{Model, half};
use crate::transport::{Registers, TransportError};

/// The registers; clones are the same ones.
#[derive(Clone)]
pub struct Fake(Rc<RefCell<Board>>);

/// What is behind the registers.
pub struct Board {
    pub model: Model,
    pub magic: u32,
    pub version: u32,
    pub interrupt: u32,
    pub acknowledged: Vec<u32>,
    /// Base and length of shared memory region 1; without, no register of it may be used.
    pub shared_memory: Option<(u64, u64)>,
    device_features_sel: Option<u32>,
    driver_features_sel: Option<u32>,
    shm_sel: Option<u32>,
    page_size: u64,
    /// Registers in the order of their use.
    pub log: Vec<u64>,
    /// QueueReady was written 0 and is to be read now.
    awaits_ready: bool,
    /// Which accesses fail.
    pub faults: Range<usize>,
}

impl Fake {
    pub fn modern(id: u32, offered: Features, sizes: &[u16]) -> Self {
        Self::new(spec::DEVICE_VERSION, id, offered, sizes)
    }

    pub fn legacy(id: u32, offered: Features, sizes: &[u16]) -> Self {
        Self::new(legacy::DEVICE_VERSION, id, offered, sizes)
    }

    fn new(version: u32, id: u32, offered: Features, sizes: &[u16]) -> Self {
        let mut model = Model::new(id, offered, sizes);
        model.legacy = version == legacy::DEVICE_VERSION;
        Self(Rc::new(RefCell::new(Board {
            model,
            magic: spec::MAGIC,
            version,
            interrupt: 0,
            acknowledged: Vec::new(),
            shared_memory: None,
            device_features_sel: None,
            driver_features_sel: None,
            shm_sel: None,
            page_size: 0,
            log: Vec::new(),
            awaits_ready: false,
            faults: 0..0,
        })))
    }

    pub fn board(&self) -> RefMut<'_, Board> {
        self.0.borrow_mut()
    }
}

impl Registers for Fake {
    fn read(&mut self, offset: u64, width: Width) -> Result<u32, TransportError> {
        let mut board = self.board();
        board.begin(offset, width, Access::readable)?;
        Ok(board.read(offset, width))
    }

    fn write(&mut self, offset: u64, width: Width, value: u32) -> Result<(), TransportError> {
        let mut board = self.board();
        board.begin(offset, width, Access::writable)?;
        board.write(offset, width, value);
        Ok(())
    }
}

impl Board {
    /// Checks an access, and lets it fail if it is to.
    fn begin(
        &mut self,
        offset: u64,
        width: Width,
        allowed: fn(Access) -> bool,
    ) -> Result<(), TransportError> {
        let number = self.log.len();
        match number {
            0 => assert_eq!(offset, spec::MAGIC_VALUE, "drv:mmio:device-initialization:01"),
            1 => assert_eq!(offset, spec::VERSION, "drv:mmio:device-initialization:01"),
            2 => assert_eq!(offset, spec::DEVICE_ID, "drv:mmio:device-initialization:02"),
            _ => assert!(
                self.model.id != 0 && self.magic == spec::MAGIC && (1..=2).contains(&self.version),
                "drv:mmio:device-initialization:02, drv:mmio:mmio-device-register-layout:04 to :06: it is left alone"
            ),
        }
        self.log.push(offset);
        if offset < spec::CONFIG {
            let table = match self.model.legacy {
                true => legacy::REGISTERS,
                false => spec::REGISTERS,
            };
            let register = register::at(table, offset);
            let register = register.unwrap_or_else(|| {
                panic!("drv:mmio:mmio-device-register-layout:01: there is no register at {offset:#x}")
            });
            assert!(
                allowed(register.access),
                "drv:mmio:mmio-device-register-layout:01: {register:?}"
            );
            assert!(
                width == Width::Four && offset == register.offset,
                "drv:mmio:mmio-device-register-layout:02: {register:?}"
            );
        }
        assert!(
            !self.awaits_ready || offset == spec::QUEUE_READY,
            "drv:mmio:mmio-device-register-layout:11: QueueReady is read back"
        );
        self.awaits_ready = false;
        match self.faults.contains(&number) {
            true => Err(TransportError::Os(5)),
            false => Ok(()),
        }
    }

    fn read(&mut self, offset: u64, width: Width) -> u32 {
        match offset {
            spec::MAGIC_VALUE => self.magic,
            spec::VERSION => self.version,
            spec::DEVICE_ID => self.model.id,
            spec::VENDOR_ID => 0x1234_5678,
            spec::DEVICE_FEATURES => {
                let word = self
                    .device_features_sel
                    .expect("drv:mmio:mmio-device-register-layout:07: DeviceFeaturesSel comes first");
                self.model.offered.word(word)
            }
            spec::QUEUE_SIZE_MAX => {
                let queue = self.model.queue();
                assert!(
                    !queue.enabled || !self.model.legacy,
                    "section 4.2.4: QueuePFN is 0"
                );
                queue.most.into()
            }
            spec::QUEUE_READY => self.model.queue().enabled.into(),
            legacy::QUEUE_PFN => (self.model.queue().descriptor_area / self.page_size.max(1)) as u32,
            spec::INTERRUPT_STATUS => self.interrupt,
            spec::STATUS => self.model.read_status(),
            spec::SHM_LEN_LOW..=spec::SHM_BASE_HIGH => self.read_shared_memory(offset),
            spec::QUEUE_RESET => self.model.queue_reset(),
            spec::CONFIG_GENERATION => self.model.generation.into(),
            _ => {
                let bytes = self.model.config(offset - spec::CONFIG, width);
                let bytes = bytes.iter().rev();
                bytes.fold(0, |value, byte| value << 8 | u32::from(*byte))
            }
        }
    }

    fn read_shared_memory(&mut self, offset: u64) -> u32 {
        let region = self
            .shared_memory
            .expect("drv:mmio:device-initialization:03: nobody expects shared memory");
        let (base, length) = match self.shm_sel {
            Some(1) => region,
            _ => (spec::SHM_NONE, spec::SHM_NONE),
        };
        match offset {
            spec::SHM_LEN_LOW => length as u32,
            spec::SHM_LEN_HIGH => (length >> 32) as u32,
            spec::SHM_BASE_LOW => base as u32,
            _ => (base >> 32) as u32,
        }
    }

    fn write(&mut self, offset: u64, width: Width, value: u32) {
        let model = &mut self.model;
        match offset {
            spec::DEVICE_FEATURES_SEL => self.device_features_sel = Some(value),
            spec::DRIVER_FEATURES_SEL => self.driver_features_sel = Some(value),
            spec::DRIVER_FEATURES => {
                let word = self
                    .driver_features_sel
                    .expect("drv:mmio:mmio-device-register-layout:08: DriverFeaturesSel comes first");
                model.accept(word, value);
            }
            legacy::GUEST_PAGE_SIZE => self.page_size = value.into(),
            spec::QUEUE_SEL => model.selected = value as usize,
            spec::QUEUE_SIZE => model.set_size(value),
            legacy::QUEUE_ALIGN => model.set_up(|queue| queue.device_area = value.into()),
            legacy::QUEUE_PFN => {
                assert_ne!(self.page_size, 0, "section 4.2.4: GuestPageSize comes first");
                let page_size = self.page_size as u32;
                model.set_up(|queue| {
                    let align = queue.device_area as u32;
                    let layout = Layout::legacy(value, page_size, queue.size, align).unwrap();
                    (queue.descriptor_area, queue.driver_area, queue.device_area) =
                        (layout.descriptor_area, layout.driver_area, layout.device_area);
                });
                model.enable();
            }
            spec::QUEUE_READY => match value {
                1 => model.enable(),
                _ => {
                    model.queues[model.selected].enabled = false;
                    self.awaits_ready = true;
                }
            },
            spec::QUEUE_NOTIFY => model.notify((value & 0xffff).into(), value),
            spec::INTERRUPT_ACK => {
                let defined = spec::Interrupt::USED_BUFFER | spec::Interrupt::CONFIG_CHANGE;
                assert_eq!(
                    value & !defined.0,
                    0,
                    "drv:mmio:mmio-device-register-layout:13: no undefined bit"
                );
                self.acknowledged.push(value);
                self.interrupt &= !value;
            }
            spec::STATUS => model.set_status(value),
            spec::QUEUE_DESC_LOW => model.set_up(|queue| half(&mut queue.descriptor_area, false, value)),
            spec::QUEUE_DESC_HIGH => model.set_up(|queue| half(&mut queue.descriptor_area, true, value)),
            spec::QUEUE_DRIVER_LOW => model.set_up(|queue| half(&mut queue.driver_area, false, value)),
            spec::QUEUE_DRIVER_HIGH => model.set_up(|queue| half(&mut queue.driver_area, true, value)),
            spec::QUEUE_DEVICE_LOW => model.set_up(|queue| half(&mut queue.device_area, false, value)),
            spec::QUEUE_DEVICE_HIGH => model.set_up(|queue| half(&mut queue.device_area, true, value)),
            spec::SHM_SEL => self.shm_sel = Some(value),
            spec::QUEUE_RESET => model.reset_queue(value),
            _ => {
                let bytes = model.config(offset - spec::CONFIG, width);
                bytes.copy_from_slice(&value.to_le_bytes()[..width.bytes()]);
            }
        }
    }
}

/// What every device here offers besides the features of its type.
pub const MODERN: Features = feature::VERSION_1.union(feature::RING_RESET);
