//! A device as the registers of any transport show it, for transports' tests: it checks what the document demands of
//! drivers whatever the transport is, and it can lie.

use std::vec;
use std::vec::Vec;

use ringwright_memory::Width;
use ringwright_ring::Layout;
use ringwright_spec::data;
use ringwright_spec::status::Status;
use ringwright_spec::{Features, feature};

/// Reads of the status after which a reset is done.
const RESET_READS: u32 = 3;

/// The device.
pub struct Model {
    pub id: u32,
    pub offered: Features,
    pub accepted: Features,
    pub status: Status,
    resetting: u32,
    pub queues: Vec<Queue>,
    pub selected: usize,
    pub config: Vec<u8>,
    /// The fields of the configuration space, if accesses to it are to be checked.
    pub fields: &'static [data::Field],
    pub generation: u8,
    /// Notifications: virtqueue, or what is written in its place, and all that was written.
    pub notified: Vec<(u64, u32)>,
    pub legacy: bool,
    /// The device has no register to reset a virtqueue by: reads give 0, writes do nothing.
    pub cannot_reset_queues: bool,
}

/// One virtqueue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    pub most: u16,
    pub size: u16,
    pub descriptor_area: u64,
    pub driver_area: u64,
    pub device_area: u64,
    pub enabled: bool,
    /// 1 while it is reset, and the reads until it is.
    pub resetting: u32,
    pub vector: u16,
}

impl Model {
    pub fn new(id: u32, offered: Features, sizes: &[u16]) -> Self {
        let queue = |most: &u16| Queue {
            most: *most,
            size: *most,
            vector: 0xffff,
            ..Queue::default()
        };
        Self {
            id,
            offered,
            accepted: Features::NONE,
            // As an earlier driver has left it.
            status: Status::ACKNOWLEDGE | Status::FAILED,
            resetting: 0,
            queues: sizes.iter().map(queue).collect(),
            selected: 0,
            config: vec![0; 64],
            fields: &[],
            generation: 0,
            notified: Vec::new(),
            legacy: false,
            cannot_reset_queues: false,
        }
    }

    /// The selected virtqueue; one of no size if there is none.
    pub fn queue(&mut self) -> Queue {
        self.queues.get(self.selected).cloned().unwrap_or_default()
    }

    /// Changes the selected virtqueue, which must be there and not be in use.
    pub fn set_up(&mut self, change: impl FnOnce(&mut Queue)) {
        let ready = self.legacy || self.status.contains(Status::FEATURES_OK);
        assert!(ready, "drv:init:device-initialization:01: features come first");
        let queue = self
            .queues
            .get_mut(self.selected)
            .expect("there is such a virtqueue");
        assert!(queue.most != 0, "the virtqueue is available");
        assert!(
            !queue.enabled,
            "drv:mmio:mmio-device-register-layout:10 and its like: it is in use"
        );
        assert_eq!(
            queue.resetting, 0,
            "drv:core:virtqueue-reset:01: its reset is complete"
        );
        change(queue);
    }

    pub fn set_size(&mut self, size: u32) {
        let packed = self.accepted.contains(feature::RING_PACKED);
        self.set_up(|queue| {
            assert!(
                size != 0 && size <= queue.most.into(),
                "drv:mmio:mmio-device-register-layout:09, drv:pci:common-configuration-structure-layout:02"
            );
            assert!(
                packed || size.is_power_of_two(),
                "drv:pci:common-configuration-structure-layout:03"
            );
            queue.size = size as u16;
        });
    }

    pub fn enable(&mut self) {
        self.set_up(|queue| {
            assert!(
                queue.descriptor_area != 0 && queue.driver_area != 0 && queue.device_area != 0,
                "drv:pci:common-configuration-structure-layout:04, drv:core:virtqueue-re-enable:01: {queue:?}"
            );
            queue.enabled = true;
        });
    }

    /// Begins the reset of the selected virtqueue.
    pub fn reset_queue(&mut self, value: u32) {
        assert_eq!(value, 1);
        assert!(self.accepted.contains(feature::RING_RESET));
        if self.cannot_reset_queues {
            return;
        }
        let most = self.queues[self.selected].most;
        self.queues[self.selected] = Queue {
            most,
            size: most,
            resetting: RESET_READS,
            vector: 0xffff,
            ..Queue::default()
        };
    }

    /// Whether the reset of the selected virtqueue goes on.
    pub fn queue_reset(&mut self) -> u32 {
        let queue = &mut self.queues[self.selected];
        queue.resetting = queue.resetting.saturating_sub(1);
        u32::from(queue.resetting != 0)
    }

    pub fn set_status(&mut self, value: u32) {
        let status = Status(u8::try_from(value).expect("the status has 8 bits"));
        if status == Status::NONE {
            self.resetting = RESET_READS;
            if self.status == Status::NONE {
                self.reset();
            }
            return;
        }
        assert_eq!(
            self.resetting, 0,
            "drv:pci:common-configuration-structure-layout:05: the reset is complete"
        );
        assert!(
            status.contains(self.status),
            "drv:core:device-status-field:02: no bit is cleared"
        );
        assert!(!self.legacy || !status.contains(Status::FEATURES_OK));
        self.status = status;
    }

    pub fn read_status(&mut self) -> u32 {
        if self.resetting > 0 {
            self.resetting -= 1;
            if self.resetting == 0 {
                self.reset();
            }
        }
        self.status.0.into()
    }

    fn reset(&mut self) {
        let sizes: Vec<_> = self.queues.iter().map(|queue| queue.most).collect();
        self.queues = Self::new(self.id, self.offered, &sizes).queues;
        (self.status, self.accepted, self.resetting) = (Status::NONE, Features::NONE, 0);
    }

    pub fn accept(&mut self, word: u32, value: u32) {
        assert!(
            self.status.contains(Status::DRIVER),
            "drv:init:device-initialization:01"
        );
        assert!(
            !self.status.contains(Status::FEATURES_OK),
            "drv:init:device-initialization:03"
        );
        assert_eq!(
            value & !self.offered.word(word),
            0,
            "drv:core:feature-bits:01: it is offered"
        );
        self.accepted = self.accepted.with_word(word, value);
    }

    /// Checks an access to the configuration space, and gives its bytes.
    pub fn config(&mut self, offset: u64, width: Width) -> &mut [u8] {
        let (offset, length) = (offset as usize, width.bytes());
        let field = self
            .fields
            .iter()
            .find(|field| (field.offset..field.offset + field.size).contains(&offset));
        if let Some(field) = field {
            let natural = match field.size {
                2 => Width::Two,
                4 | 8 => Width::Four,
                _ => Width::One,
            };
            assert_eq!(
                width, natural,
                "drv:pci:pci-device-layout:01, drv:mmio:mmio-device-register-layout:03: {field:?}"
            );
        } else {
            assert!(self.fields.is_empty(), "no field at {offset}");
        }
        assert_eq!(offset % length, 0, "aligned");
        &mut self.config[offset..offset + length]
    }

    pub fn notify(&mut self, place: u64, value: u32) {
        assert!(
            self.status.contains(Status::DRIVER_OK),
            "drv:init:device-initialization:06: not before DRIVER_OK"
        );
        self.notified.push((place, value));
    }

    /// Where the driver has put virtqueue `index`.
    pub fn layout(&self, index: usize) -> Option<Layout> {
        let queue = &self.queues[index];
        queue.enabled.then_some(Layout {
            size: queue.size,
            descriptor_area: queue.descriptor_area,
            driver_area: queue.driver_area,
            device_area: queue.device_area,
        })
    }
}

/// Sets one half of an address.
pub fn half(address: &mut u64, high: bool, value: u32) {
    let shift = if high { 32 } else { 0 };
    *address = *address & !(0xffff_ffff << shift) | u64::from(value) << shift;
}
