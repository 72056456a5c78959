//! The legacy interface (section 4.1.4.10): everything in BAR0, which is in I/O space.

use ringwright_memory::Width;
use ringwright_ring::{ByteOrder, Layout};
use ringwright_spec::Features;
use ringwright_spec::pci::legacy as registers;

use super::place::{Access, Place};
use super::{Bar, Region, Space};
use crate::transport::legacy::first_page;
use crate::transport::{Registers, TransportError};

/// Number of the BAR.
const BAR: u8 = 0;

/// The registers of a device.
pub(super) struct Legacy<R> {
    io: Place<R>,
    /// The guest's byte order.
    pub order: ByteOrder,
}

impl<R: Registers> Legacy<R> {
    pub fn find(
        bars: &[Bar],
        order: ByteOrder,
        map: &mut impl FnMut(&Region) -> Option<R>,
    ) -> Result<Self, TransportError> {
        let region = Region::new(bars, BAR, 0, u64::MAX).filter(|region| region.space == Space::Io);
        let region = region.ok_or(TransportError::Protocol(
            "neither Virtio Structure PCI Capabilities nor an I/O BAR0",
        ))?;
        // No other capability names these registers, so there is no window to them:
        // drv:pci:pci-configuration-access-capability:02.
        match Place::find(&[(region, ())], map, None) {
            Some((io, ())) => Ok(Self { io, order }),
            None => Err(TransportError::Unsupported(
                "a legacy interface that can be reached",
            )),
        }
    }

    pub fn features(&mut self, access: &mut Access<impl Registers>) -> Result<Features, TransportError> {
        let bits = self.read(access, registers::DEVICE_FEATURES, Width::Four)?;
        Ok(Features::NONE.with_word(0, bits))
    }

    pub fn accept(
        &mut self,
        access: &mut Access<impl Registers>,
        features: Features,
    ) -> Result<(), TransportError> {
        let bits = features.word(0);
        self.io
            .write(access, registers::DRIVER_FEATURES, Width::Four, bits)
    }

    pub fn status(&mut self, access: &mut Access<impl Registers>) -> Result<u8, TransportError> {
        Ok(self.read(access, registers::DEVICE_STATUS, Width::One)? as u8)
    }

    pub fn set_status(
        &mut self,
        access: &mut Access<impl Registers>,
        status: u8,
    ) -> Result<(), TransportError> {
        self.io
            .write(access, registers::DEVICE_STATUS, Width::One, status.into())
    }

    pub fn isr(&mut self, access: &mut Access<impl Registers>) -> Result<u8, TransportError> {
        Ok(self.read(access, registers::ISR_STATUS, Width::One)? as u8)
    }

    /// Selects a virtqueue; returns its size, which the driver does not choose.
    pub fn queue_size(
        &mut self,
        access: &mut Access<impl Registers>,
        index: u16,
    ) -> Result<u16, TransportError> {
        self.write16(access, registers::QUEUE_SELECT, index)?;
        Ok(self.read(access, registers::QUEUE_SIZE, Width::Two)? as u16)
    }

    /// Checks that the selected virtqueue is not in use.
    pub fn check_queue(&mut self, access: &mut Access<impl Registers>) -> Result<(), TransportError> {
        match self.read(access, registers::QUEUE_ADDRESS, Width::Four)? {
            0 => Ok(()),
            _ => Err(TransportError::Protocol(
                "a virtqueue is in use before it was set up",
            )),
        }
    }

    /// Enables the selected virtqueue.
    pub fn enable_queue(
        &mut self,
        access: &mut Access<impl Registers>,
        layout: &Layout,
    ) -> Result<(), TransportError> {
        let page = first_page(layout)?;
        self.io.write(access, registers::QUEUE_ADDRESS, Width::Four, page)
    }

    #[inline]
    pub fn notify(&mut self, access: &mut Access<impl Registers>, index: u16) -> Result<(), TransportError> {
        self.write16(access, registers::QUEUE_NOTIFY, index)
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

    /// The registers, in which the device-specific configuration follows the others.
    pub fn io(&mut self) -> &mut Place<R> {
        &mut self.io
    }

    fn read(
        &mut self,
        access: &mut Access<impl Registers>,
        offset: u64,
        width: Width,
    ) -> Result<u32, TransportError> {
        self.io.read(access, offset, width)
    }

    fn write16(
        &mut self,
        access: &mut Access<impl Registers>,
        offset: u64,
        value: u16,
    ) -> Result<(), TransportError> {
        self.io.write(access, offset, Width::Two, value.into())
    }
}
