//! Interrupts of a function: INTx# with the ISR status, or MSI-X.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use ringwright_spec::pci::{Isr, MSI_NO_VECTOR};

use super::PciInterrupts;
use super::msix::Msix;
use crate::codec::Rest;
use crate::transport::core::{Level, Sink};

/// Takes the device's notifications to the driver. Shared with the device's threads.
pub(super) struct Interrupts {
    /// The ISR status, and the INTx# pin.
    isr: Level,
    pub msix: Msix,
    /// By queue.
    queue_vectors: Vec<AtomicU16>,
    config_vector: AtomicU16,
}

impl Interrupts {
    pub fn new(queues: usize, msix: Msix, interrupts: Arc<dyn PciInterrupts>) -> Self {
        Self {
            isr: Level::new(move |asserted| interrupts.intx(asserted)),
            msix,
            queue_vectors: (0..queues).map(|_| AtomicU16::new(MSI_NO_VECTOR)).collect(),
            config_vector: AtomicU16::new(MSI_NO_VECTOR),
        }
    }

    /// What the driver has set in the function's configuration space.
    pub fn control(&self, intx: bool, msix: bool, held: bool) {
        self.isr.enable(intx && !msix);
        self.msix.control(msix, held);
    }

    /// Whether the Interrupt Status bit is set (`dev:pci:isr-status-capability:04`).
    pub fn is_pending(&self) -> bool {
        !self.msix.is_enabled() && self.isr.pending() != 0
    }

    /// The driver reads the ISR status, which resets it (`dev:pci:isr-status-capability:05`).
    pub fn take_isr(&self) -> u8 {
        self.isr.clear(u32::MAX) as u8
    }

    /// The vector of configuration change notifications.
    pub fn config_vector(&self) -> u16 {
        self.config_vector.load(Ordering::Relaxed)
    }

    /// The vector of a virtqueue's used buffer notifications.
    pub fn queue_vector(&self, queue: u16) -> u16 {
        let vector = self.queue_vectors.get(usize::from(queue));
        vector.map_or(MSI_NO_VECTOR, |vector| vector.load(Ordering::Relaxed))
    }

    /// The driver maps configuration changes to a vector, or to none. Any that exists will do
    /// (`dev:pci:msi-x-vector-configuration:04`), one that does not is none (`dev:pci:msi-x-vector-configuration:09`).
    pub fn set_config_vector(&self, vector: u16) {
        self.config_vector.store(self.existing(vector), Ordering::Relaxed);
    }

    /// The same for a virtqueue.
    pub fn set_queue_vector(&self, queue: u16, vector: u16) {
        if let Some(place) = self.queue_vectors.get(usize::from(queue)) {
            place.store(self.existing(vector), Ordering::Relaxed);
        }
    }

    /// The device is reset: no interrupt is pending, no event mapped (`dev:pci:msi-x-vector-configuration:07`).
    pub fn reset_device(&self) {
        self.take_isr();
        self.set_config_vector(MSI_NO_VECTOR);
        for queue in 0..self.queue_vectors.len() {
            self.set_queue_vector(queue as u16, MSI_NO_VECTOR);
        }
    }

    /// For a saved state.
    pub fn save(&self, bytes: &mut Vec<u8>) {
        bytes.push(self.isr.pending() as u8);
        bytes.extend(self.config_vector().to_le_bytes());
        for queue in 0..self.queue_vectors.len() {
            bytes.extend(self.queue_vector(queue as u16).to_le_bytes());
        }
        self.msix.save(bytes);
    }

    /// From a saved state of as many queues, while no interrupt can be sent.
    pub fn restore(&self, rest: &mut Rest<'_>) -> Option<()> {
        let [isr] = rest.array()?;
        if !Isr(isr).unnamed().is_empty() {
            return None;
        }
        self.isr.restore(isr.into());
        self.set_config_vector(rest.u16()?);
        for queue in 0..self.queue_vectors.len() {
            self.set_queue_vector(queue as u16, rest.u16()?);
        }
        self.msix.restore(rest)
    }

    fn existing(&self, vector: u16) -> u16 {
        if vector < self.msix.size() {
            vector
        } else {
            MSI_NO_VECTOR
        }
    }
}

impl Sink for Interrupts {
    /// (`dev:pci:isr-status-capability:03`, `dev:pci:used-buffer-notifications:01`)
    fn used_buffer(&self, queue: u16) {
        match self.msix.is_enabled() {
            true => self.msix.send(self.queue_vector(queue)),
            false => self.isr.raise(Isr::QUEUE.0.into()),
        }
    }

    /// (`dev:pci:isr-status-capability:02`, `dev:pci:notification-of-device-configuration-changes:01`)
    fn config_changed(&self) {
        self.isr.raise(Isr::CONFIG.0.into());
        if self.msix.is_enabled() {
            self.msix.send(self.config_vector());
        }
    }
}
