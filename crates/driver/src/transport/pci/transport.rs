//! The transport that a PCI function is.

use ringwright_memory::Width;
use ringwright_ring::Layout;
use ringwright_spec::pci::{Isr, header, legacy};
use ringwright_spec::status::Status;
use ringwright_spec::{Features, feature};

use super::interrupts::Event;
use super::{Interface, Pci};
use crate::transport::{Interrupt, Legacy, Registers, Transport, TransportError, config};

/// What is read of a function that is not there any more.
const ALL_ONES: u8 = 0xff;

impl<C: Registers, R: Registers> Transport for Pci<C, R> {
    fn device_id(&self) -> u32 {
        self.device_id
    }

    fn legacy(&self) -> Option<Legacy> {
        match &self.interface {
            Interface::Modern(_) => None,
            Interface::Legacy(legacy) => Some(Legacy {
                byte_order: legacy.order,
                fixed_queue_size: true,
            }),
        }
    }

    /// No driver here has administration virtqueues or virtual functions.
    fn unsupported_features(&self) -> Features {
        let never = feature::ADMIN_VQ | feature::SR_IOV;
        match &self.interface {
            Interface::Modern(modern) => never | modern.without_fields(),
            Interface::Legacy(_) => never,
        }
    }

    fn device_features(&mut self) -> Result<Features, TransportError> {
        match &mut self.interface {
            Interface::Modern(modern) => modern.features(&mut self.access),
            Interface::Legacy(legacy) => legacy.features(&mut self.access),
        }
    }

    fn set_driver_features(&mut self, features: Features) -> Result<(), TransportError> {
        match &mut self.interface {
            Interface::Modern(modern) => modern.accept(&mut self.access, features)?,
            Interface::Legacy(legacy) => legacy.accept(&mut self.access, features)?,
        }
        self.features = features;
        Ok(())
    }

    fn status(&mut self) -> Result<Status, TransportError> {
        let status = match &mut self.interface {
            Interface::Modern(modern) => modern.status(&mut self.access)?,
            Interface::Legacy(legacy) => legacy.status(&mut self.access)?,
        };
        if status == ALL_ONES && self.access.config.read16(header::VENDOR_ID as u64)? == header::NO_VENDOR {
            return Err(TransportError::Gone);
        }
        Ok(Status(status))
    }

    fn set_status(&mut self, status: Status) -> Result<(), TransportError> {
        if status.contains(Status::DRIVER_OK)
            && !self.status()?.intersects(Status::DRIVER_OK | Status::SUSPEND)
        {
            self.map_config()?;
        }
        if status == Status::NONE
            && let Some(vectors) = &mut self.vectors
        {
            vectors.forget();
        }
        match &mut self.interface {
            Interface::Modern(modern) => modern.set_status(&mut self.access, status.0),
            Interface::Legacy(legacy) => legacy.set_status(&mut self.access, status.0),
        }
    }

    fn queue_max_size(&mut self, index: u16) -> Result<u16, TransportError> {
        match &mut self.interface {
            Interface::Modern(modern) => modern.queue_size(&mut self.access, index),
            Interface::Legacy(legacy) => legacy.queue_size(&mut self.access, index),
        }
    }

    fn enable_queue(&mut self, index: u16, layout: &Layout) -> Result<(), TransportError> {
        let size = self.queue_max_size(index)?;
        match &mut self.interface {
            Interface::Modern(modern) if layout.size <= size => {
                modern.set_up_queue(&mut self.access, index, layout, self.features)?;
            }
            Interface::Legacy(legacy) if layout.size == size => {
                legacy.check_queue(&mut self.access)?;
            }
            _ => return Err(TransportError::NoQueue(index)),
        }
        self.map_queue(index)?;
        match &mut self.interface {
            Interface::Modern(modern) => modern.enable_queue(&mut self.access),
            Interface::Legacy(legacy) => legacy.enable_queue(&mut self.access, layout),
        }
    }

    fn reset_queue(&mut self, index: u16) -> Result<(), TransportError> {
        match &mut self.interface {
            Interface::Modern(modern) => modern.reset_queue(&mut self.access, index),
            Interface::Legacy(_) => Err(NO_QUEUE_RESET),
        }
    }

    fn queue_is_reset(&mut self, index: u16) -> Result<bool, TransportError> {
        match &mut self.interface {
            Interface::Modern(modern) => modern.queue_is_reset(&mut self.access, index),
            Interface::Legacy(_) => Err(NO_QUEUE_RESET),
        }
    }

    #[inline]
    fn notify(&mut self, index: u16, data: u32) -> Result<(), TransportError> {
        match &mut self.interface {
            Interface::Modern(modern) => modern.notify(&mut self.access, index, data, self.features),
            Interface::Legacy(legacy) => legacy.notify(&mut self.access, index),
        }
    }

    fn config_generation(&mut self) -> Result<u32, TransportError> {
        match &mut self.interface {
            Interface::Modern(modern) => modern.generation(&mut self.access),
            Interface::Legacy(_) => Err(TransportError::Unsupported(
                "a legacy device has no configuration generation",
            )),
        }
    }

    fn read_config(&mut self, offset: usize, width: Width, data: &mut [u8]) -> Result<(), TransportError> {
        let length = data.len();
        let access = &mut self.access;
        let (place, start) = match &mut self.interface {
            Interface::Modern(modern) => (modern.device.as_mut(), 0),
            Interface::Legacy(legacy) => (Some(legacy.io()), legacy::config_offset(self.vectors.is_some())),
        };
        let place = place.ok_or(TransportError::Config { offset, length })?;
        config::read(offset, width, data, |offset, width| {
            place.read(access, start + offset, width)
        })
    }

    fn write_config(&mut self, offset: usize, width: Width, data: &[u8]) -> Result<(), TransportError> {
        let length = data.len();
        let access = &mut self.access;
        let (place, start) = match &mut self.interface {
            Interface::Modern(modern) => (modern.device.as_mut(), 0),
            Interface::Legacy(legacy) => (Some(legacy.io()), legacy::config_offset(self.vectors.is_some())),
        };
        let place = place.ok_or(TransportError::Config { offset, length })?;
        config::write(offset, width, data, |offset, width, value| {
            place.write(access, start + offset, width, value)
        })
    }

    fn take_interrupt(&mut self) -> Result<Interrupt, TransportError> {
        if let Some(vectors) = &mut self.vectors {
            // drv:pci:isr-status-capability:01: the ISR status is left alone.
            return Ok(vectors.take());
        }
        // Reading it resets it.
        let isr = match &mut self.interface {
            Interface::Modern(modern) => modern.isr.read(&mut self.access, 0, Width::One)? as u8,
            Interface::Legacy(legacy) => legacy.isr(&mut self.access)?,
        };
        // drv:pci:notification-of-device-configuration-changes:01: it may be for both.
        Ok(Interrupt {
            queue: Isr(isr).contains(Isr::QUEUE),
            config: Isr(isr).contains(Isr::CONFIG),
        })
    }

    fn shared_memory(&mut self, id: u8) -> Result<Option<(u64, u64)>, TransportError> {
        match &self.interface {
            Interface::Modern(modern) => Ok(modern.shared_memory(id)),
            Interface::Legacy(_) => Ok(None),
        }
    }
}

const NO_QUEUE_RESET: TransportError =
    TransportError::Unsupported("a legacy device cannot reset a virtqueue");

impl<C: Registers, R: Registers> Pci<C, R> {
    /// Maps configuration changes to a vector, or does without vectors.
    fn map_config(&mut self) -> Result<(), TransportError> {
        let Self {
            access, interface, ..
        } = self;
        let Some(vectors) = &mut self.vectors else {
            return Ok(());
        };
        let mapped = vectors.map(access, Event::Config, |access, vector| match interface {
            Interface::Modern(modern) => modern.map_config(access, vector),
            Interface::Legacy(legacy) => legacy.map_config(access, vector),
        })?;
        self.keep_vectors(mapped.is_some())
    }

    /// Maps the selected virtqueue, which is number `index`, to a vector, or does without vectors.
    fn map_queue(&mut self, index: u16) -> Result<(), TransportError> {
        let Self {
            access, interface, ..
        } = self;
        let Some(vectors) = &mut self.vectors else {
            return Ok(());
        };
        let event = Event::Queue(index);
        let mapped = vectors.map(access, event, |access, vector| match interface {
            Interface::Modern(modern) => modern.map_queue(access, vector),
            Interface::Legacy(legacy) => legacy.map_queue(access, vector),
        })?;
        self.keep_vectors(mapped.is_some())
    }

    /// Disables MSI-X if the device could not map an event: then its pin tells of all.
    fn keep_vectors(&mut self, keep: bool) -> Result<(), TransportError> {
        if !keep && let Some(vectors) = self.vectors.take() {
            vectors.disable(&mut self.access)?;
        }
        Ok(())
    }
}
