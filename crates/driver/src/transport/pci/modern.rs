//! The interface of this document: common configuration, notifications, device-specific configuration (section 4.1.4).

use alloc::vec::Vec;

use ringwright_memory::Width;
use ringwright_ring::Layout;
use ringwright_spec::pci::common_cfg as registers;
use ringwright_spec::pci::{NOTIFY_DATA_SIZE, NOTIFY_SIZE};
use ringwright_spec::{Features, feature};

use super::Region;
use super::capabilities::Capabilities;
use super::place::{Access, Place};
use crate::transport::{Registers, STILL_IN_USE, TransportError};

/// Words of feature bits.
const FEATURE_WORDS: u32 = 4;

/// The structures of a device.
pub(super) struct Modern<R> {
    common: Place<R>,
    notify: Place<R>,
    notify_off_multiplier: u32,
    pub isr: Place<R>,
    pub device: Option<Place<R>>,
    shared_memory: Vec<(u8, Region)>,
    /// How virtqueues that were enabled are notified, by index.
    notifications: Vec<Option<Notification>>,
}

/// How a virtqueue is notified.
#[derive(Clone, Copy)]
struct Notification {
    /// Offset within the notification structure.
    offset: u64,
    /// What to write: the virtqueue's index, or `queue_notif_config_data`.
    id: u16,
}

impl<R: Registers> Modern<R> {
    /// The structures that `capabilities` tell of.
    pub fn find(
        capabilities: &Capabilities,
        map: &mut impl FnMut(&Region) -> Option<R>,
    ) -> Result<Self, TransportError> {
        let window = capabilities.window;
        let mut place = |regions: &[Region]| {
            let regions: Vec<_> = regions.iter().map(|region| (*region, ())).collect();
            Place::find(&regions, map, window).map(|(place, ())| place)
        };
        let common = place(&capabilities.common).ok_or(TransportError::Unsupported(
            "a common configuration that can be reached",
        ))?;
        let isr = place(&capabilities.isr)
            .ok_or(TransportError::Unsupported("an ISR status that can be reached"))?;
        let device = place(&capabilities.device);
        if device.is_none() && !capabilities.device.is_empty() {
            return Err(TransportError::Unsupported(
                "a device-specific configuration that can be reached",
            ));
        }
        let notify = Place::find(&capabilities.notify, map, window);
        let (notify, notify_off_multiplier) =
            notify.ok_or(TransportError::Unsupported("notifications that can be reached"))?;
        Ok(Self {
            common,
            notify,
            notify_off_multiplier,
            isr,
            device,
            shared_memory: capabilities.shared_memory.clone(),
            notifications: Vec::new(),
        })
    }

    /// Features whose fields the common configuration is too short for.
    pub fn without_fields(&self) -> Features {
        [
            (registers::QUEUE_NOTIF_CONFIG_DATA, feature::NOTIF_CONFIG_DATA),
            (registers::QUEUE_RESET, feature::RING_RESET),
        ]
        .into_iter()
        .filter(|(offset, _)| self.common.length() < offset + 2)
        .fold(Features::NONE, |features, (_, lacking)| features | lacking)
    }

    pub fn features(&mut self, access: &mut Access<impl Registers>) -> Result<Features, TransportError> {
        let mut features = Features::NONE;
        for word in 0..FEATURE_WORDS {
            self.write32(access, registers::DEVICE_FEATURE_SELECT, word)?;
            let bits = self.read(access, registers::DEVICE_FEATURE, Width::Four)?;
            features = features.with_word(word, bits);
        }
        Ok(features)
    }

    pub fn accept(
        &mut self,
        access: &mut Access<impl Registers>,
        features: Features,
    ) -> Result<(), TransportError> {
        for word in 0..FEATURE_WORDS {
            // Devices older than the features of the upper half have no place for them.
            if word >= 2 && features.word(word) == 0 {
                continue;
            }
            self.write32(access, registers::DRIVER_FEATURE_SELECT, word)?;
            self.write32(access, registers::DRIVER_FEATURE, features.word(word))?;
        }
        Ok(())
    }

    pub fn status(&mut self, access: &mut Access<impl Registers>) -> Result<u8, TransportError> {
        Ok(self.read(access, registers::DEVICE_STATUS, Width::One)? as u8)
    }

    pub fn set_status(
        &mut self,
        access: &mut Access<impl Registers>,
        status: u8,
    ) -> Result<(), TransportError> {
        if status == 0 {
            self.notifications.clear();
        }
        self.common
            .write(access, registers::DEVICE_STATUS, Width::One, status.into())
    }

    pub fn generation(&mut self, access: &mut Access<impl Registers>) -> Result<u32, TransportError> {
        self.read(access, registers::CONFIG_GENERATION, Width::One)
    }

    /// Selects a virtqueue; returns its size, which is the greatest one before it is set up.
    pub fn queue_size(
        &mut self,
        access: &mut Access<impl Registers>,
        index: u16,
    ) -> Result<u16, TransportError> {
        self.write16(access, registers::QUEUE_SELECT, index)?;
        Ok(self.read(access, registers::QUEUE_SIZE, Width::Two)? as u16)
    }

    /// Sets up the selected virtqueue, but for its vector, and does not enable it yet.
    pub fn set_up_queue(
        &mut self,
        access: &mut Access<impl Registers>,
        index: u16,
        layout: &Layout,
        features: Features,
    ) -> Result<(), TransportError> {
        if self.read(access, registers::QUEUE_ENABLE, Width::Two)? != 0 {
            return Err(TransportError::Protocol(
                "a virtqueue is in use before it was set up",
            ));
        }
        let notification = self.notification(access, index, features)?;
        self.write16(access, registers::QUEUE_SIZE, layout.size)?;
        for (register, address) in [
            (registers::QUEUE_DESC, layout.descriptor_area),
            (registers::QUEUE_DRIVER, layout.driver_area),
            (registers::QUEUE_DEVICE, layout.device_area),
        ] {
            self.write32(access, register, address as u32)?;
            self.write32(access, register + 4, (address >> 32) as u32)?;
        }
        let index = usize::from(index);
        if self.notifications.len() <= index {
            self.notifications.resize(index + 1, None);
        }
        self.notifications[index] = Some(notification);
        Ok(())
    }

    /// Enables the selected virtqueue, the rest of which is set up
    /// (`drv:pci:common-configuration-structure-layout:04`).
    pub fn enable_queue(&mut self, access: &mut Access<impl Registers>) -> Result<(), TransportError> {
        self.write16(access, registers::QUEUE_ENABLE, 1)
    }

    pub fn reset_queue(
        &mut self,
        access: &mut Access<impl Registers>,
        index: u16,
    ) -> Result<(), TransportError> {
        self.write16(access, registers::QUEUE_SELECT, index)?;
        self.write16(access, registers::QUEUE_RESET, 1)
    }

    pub fn queue_is_reset(
        &mut self,
        access: &mut Access<impl Registers>,
        index: u16,
    ) -> Result<bool, TransportError> {
        self.write16(access, registers::QUEUE_SELECT, index)?;
        // drv:pci:common-configuration-structure-layout:07
        if self.read(access, registers::QUEUE_RESET, Width::Two)? != 0 {
            return Ok(false);
        }
        // drv:core:virtqueue-reset:01: both are 0 when it is complete.
        match self.read(access, registers::QUEUE_ENABLE, Width::Two)? {
            0 => Ok(true),
            _ => Err(STILL_IN_USE),
        }
    }

    /// Sends an available buffer notification; `data` is the word that `VIRTIO_F_NOTIFICATION_DATA` makes of it.
    #[inline]
    pub fn notify(
        &mut self,
        access: &mut Access<impl Registers>,
        index: u16,
        data: u32,
        features: Features,
    ) -> Result<(), TransportError> {
        let notification = self.notifications.get(usize::from(index)).copied().flatten();
        let Notification { offset, id } = notification.ok_or(TransportError::NoQueue(index))?;
        // drv:pci:available-buffer-notifications:03 to :06
        let (width, value) = match features.contains(feature::NOTIFICATION_DATA) {
            true => (Width::Four, data & 0xffff_0000 | u32::from(id)),
            false => (Width::Two, id.into()),
        };
        self.notify.write(access, offset, width, value)
    }

    /// Maps configuration changes to a vector; returns what the device says to it.
    pub fn map_config(
        &mut self,
        access: &mut Access<impl Registers>,
        vector: u16,
    ) -> Result<u16, TransportError> {
        self.write16(access, registers::CONFIG_MSIX_VECTOR, vector)?;
        Ok(self.read(access, registers::CONFIG_MSIX_VECTOR, Width::Two)? as u16)
    }

    /// Maps the selected virtqueue to a vector; returns what the device says to it.
    pub fn map_queue(
        &mut self,
        access: &mut Access<impl Registers>,
        vector: u16,
    ) -> Result<u16, TransportError> {
        self.write16(access, registers::QUEUE_MSIX_VECTOR, vector)?;
        Ok(self.read(access, registers::QUEUE_MSIX_VECTOR, Width::Two)? as u16)
    }

    /// Address and length of a shared memory region, if its BAR has an address.
    pub fn shared_memory(&self, id: u8) -> Option<(u64, u64)> {
        let (_, region) = self.shared_memory.iter().find(|(found, _)| *found == id)?;
        Some((region.address?, region.length))
    }

    /// How the selected virtqueue is notified, which the device has to have a place for.
    fn notification(
        &mut self,
        access: &mut Access<impl Registers>,
        index: u16,
        features: Features,
    ) -> Result<Notification, TransportError> {
        let off = self.read(access, registers::QUEUE_NOTIFY_OFF, Width::Two)?;
        // 16 bits times 32 bits.
        let offset = u64::from(off) * u64::from(self.notify_off_multiplier);
        let size = match features.contains(feature::NOTIFICATION_DATA) {
            true => NOTIFY_DATA_SIZE,
            false => NOTIFY_SIZE,
        };
        // dev:pci:notification-capability:05, dev:pci:notification-capability:09
        let place = self.notify.offset() + offset;
        if offset + u64::from(size) > self.notify.length() || !place.is_multiple_of(size.into()) {
            return Err(TransportError::Protocol(
                "queue_notify_off leads out of the notification structure",
            ));
        }
        let id = match features.contains(feature::NOTIF_CONFIG_DATA) {
            true => self.read(access, registers::QUEUE_NOTIF_CONFIG_DATA, Width::Two)? as u16,
            false => index,
        };
        Ok(Notification { offset, id })
    }

    fn read(
        &mut self,
        access: &mut Access<impl Registers>,
        offset: u64,
        width: Width,
    ) -> Result<u32, TransportError> {
        self.common.read(access, offset, width)
    }

    fn write16(
        &mut self,
        access: &mut Access<impl Registers>,
        offset: u64,
        value: u16,
    ) -> Result<(), TransportError> {
        self.common.write(access, offset, Width::Two, value.into())
    }

    fn write32(
        &mut self,
        access: &mut Access<impl Registers>,
        offset: u64,
        value: u32,
    ) -> Result<(), TransportError> {
        self.common.write(access, offset, Width::Four, value)
    }
}
