//! Interrupts of a strict PCI function: by the pin, or by messages.

use ringwright_device::transport::pci::PciInterrupts;
use ringwright_driver::transport::pci::{Message, Messages};
use ringwright_spec::pci::MSI_NO_VECTOR;
use ringwright_spec::pci::header::msix;

use super::{Strict, StrictPci, with};

impl Messages for StrictPci {
    fn message(&mut self, vector: u16) -> Option<Message> {
        Some(Message {
            address: 0xfee0_0000,
            data: vector.into(),
        })
    }

    fn take(&mut self, vector: u16) -> bool {
        with(&self.0, |device| device.take_message(vector))
    }
}

impl StrictPci {
    /// Sends what is to be notified by `interrupts`, after something has happened in the device.
    pub fn signal(&self, interrupts: &dyn PciInterrupts) {
        with(&self.0, |device| device.signal(interrupts));
    }
}

impl Strict {
    /// Whether the message of `vector` has come, which it does not while it is masked.
    fn take_message(&mut self, vector: u16) -> bool {
        let function = &self.function;
        let entry = u64::from(vector) * msix::VECTOR_SIZE;
        let masked = function
            .table
            .get(&(entry + 12))
            .is_none_or(|word| word & msix::MASK != 0);
        if !function.space.has_messages() || masked {
            return false;
        }
        let mut come = false;
        if function.config_vector == vector {
            come |= std::mem::take(&mut self.interrupt.config);
        }
        if function.queues.values().any(|queue| queue.vector == vector) {
            come |= std::mem::take(&mut self.interrupt.queue);
        }
        come
    }

    fn signal(&mut self, interrupts: &dyn PciInterrupts) {
        let function = &mut self.function;
        if !function.space.has_messages() {
            interrupts.intx(self.interrupt.queue || self.interrupt.config);
            return;
        }
        if std::mem::take(&mut self.interrupt.config) {
            function.waiting.insert(function.config_vector);
        }
        if std::mem::take(&mut self.interrupt.queue) {
            // Of any virtqueue something may have been used.
            let vectors = function.queues.values().map(|queue| queue.vector);
            function.waiting.extend(vectors);
        }
        function.waiting.remove(&MSI_NO_VECTOR);
        let table = &function.table;
        let word = |vector: u16, offset| {
            let entry = u64::from(vector) * msix::VECTOR_SIZE;
            table.get(&(entry + offset)).copied().unwrap_or_default()
        };
        // A message that is masked waits.
        function.waiting.retain(|vector| {
            let masked = word(*vector, 12) & msix::MASK != 0;
            if !masked {
                let address = u64::from(word(*vector, 4)) << 32 | u64::from(word(*vector, 0));
                interrupts.message(*vector, address, word(*vector, 8));
            }
            masked
        });
    }
}
