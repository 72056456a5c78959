//! Any VIRTIO device as the PCI function that is served.

use std::sync::Arc;

use ringwright_device::Device;
use ringwright_device::transport::Notifier;
use ringwright_device::transport::pci::{
    Function, FunctionError, MsixTable, NotifyPlaces, Options, PciInterrupts,
};
use ringwright_memory::Memory;

use super::shadow::{Shadow, ShadowRelay};
use super::{Doorbell, Interrupts, PciFunction, Server};

/// A VIRTIO device's function.
struct Virtio {
    function: Function,
    notifier: Notifier,
    places: NotifyPlaces,
    /// By BAR.
    sizes: [u64; 6],
}

impl Server {
    /// A server for `device`. The MSI-X table is the client's, whatever `options` say, because it is in vfio-user. Memory that
    /// the client does not let be mapped is reached by messages, through a relay of the server's own.
    pub fn for_device(device: Box<dyn Device>, options: Options) -> Result<Self, FunctionError> {
        let (interrupts, shadow) = (Arc::new(Interrupts::default()), Arc::new(Shadow::default()));
        let mut options = Options {
            msix_table: MsixTable::Client,
            ..options
        };
        options.common.relay = Some(Arc::new(ShadowRelay(shadow.clone())));
        let function = Function::new(device, options, interrupts.clone())?;
        let mut sizes = [0; 6];
        for bar in function.bars() {
            if let Some(size) = sizes.get_mut(usize::from(bar.index)) {
                *size = bar.size;
            }
        }
        let meter = function.meter();
        let virtio = Virtio {
            notifier: function.notifier(),
            places: function.notify_places(),
            sizes,
            function,
        };
        Ok(Self {
            shadow: Some(shadow),
            meter,
            ..Self::new(Box::new(virtio), interrupts)
        })
    }
}

impl PciInterrupts for Interrupts {
    fn message(&self, vector: u16, _address: u64, _data: u32) {
        Interrupts::message(self, vector);
    }

    fn intx(&self, asserted: bool) {
        self.set_level(asserted);
    }
}

impl PciFunction for Virtio {
    fn config_size(&self) -> u64 {
        self.function.config_size() as u64
    }

    fn read_config(&mut self, offset: u64, data: &mut [u8]) {
        self.function.config_read(offset, data);
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        // Where the BARs are is the client's affair.
        self.function.config_write(offset, data);
    }

    fn bar_size(&self, bar: u8) -> u64 {
        self.sizes.get(usize::from(bar)).copied().unwrap_or(0)
    }

    fn read_bar(&mut self, bar: u8, offset: u64, data: &mut [u8]) {
        self.function.bar_read(bar, offset, data);
    }

    fn write_bar(&mut self, bar: u8, offset: u64, data: &[u8]) {
        self.function.bar_write(bar, offset, data);
    }

    fn vectors(&self) -> u16 {
        self.function.vectors()
    }

    /// The notification structure: each virtqueue has an event descriptor. Whether a write carries data does not matter, as
    /// no device uses them.
    fn doorbells(&self, bar: u8) -> Vec<Doorbell<'_>> {
        if bar != self.places.bar || self.bar_size(bar) == 0 {
            return Vec::new();
        }
        let events = (0u16..).map_while(|queue| Some((queue, self.notifier.event(queue)?)));
        let doorbells = events.map(|(queue, event)| match self.places.multiplier {
            0 => Doorbell {
                offset: self.places.offset,
                size: 2,
                value: Some(queue.into()),
                event,
            },
            multiplier => Doorbell {
                offset: self.places.offset + u64::from(queue) * u64::from(multiplier),
                size: 0,
                value: None,
                event,
            },
        });
        doorbells.collect()
    }

    fn set_memory(&mut self, memory: Arc<Memory>) {
        self.function.set_memory(memory);
    }

    fn reset(&mut self) {
        // A stopped one goes on when there is nothing left to do: its memory may be used by another process by now.
        self.function.reset();
        self.function.resume();
    }

    fn is_migratable(&self) -> bool {
        true
    }

    fn stop(&mut self) -> Result<(), String> {
        self.function.pause();
        Ok(())
    }

    fn resume(&mut self) -> Result<(), String> {
        self.function.resume();
        Ok(())
    }

    fn save(&mut self) -> Result<Vec<u8>, String> {
        self.function.save().map_err(|error| error.to_string())
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        self.function.restore(state).map_err(|error| error.to_string())
    }
}
