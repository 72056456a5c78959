//! A function as a driver sees it.

mod common;
mod interrupts;
mod legacy;
mod notify;
mod operation;
mod reset;
mod snapshot;
mod space;
mod window;

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use ringwright_ring::Layout;
use ringwright_spec::pci::common_cfg as field;
use ringwright_spec::pci::header::{self, command, msix};
use ringwright_spec::pci::{CAP_ID_VNDR, CfgType, CommonCfg};
use ringwright_spec::{Features, Status};
use zerocopy::{FromBytes, IntoBytes};

use super::bars::{LEGACY_BAR, MSIX_BAR, STRUCTURES_BAR};
use super::*;
use crate::testing::{Completed, Guest, Queue};
use crate::transport::testing::Board;

impl PciInterrupts for Board {
    fn message(&self, vector: u16, address: u64, data: u32) {
        self.send(vector, address, data);
    }

    fn intx(&self, asserted: bool) {
        self.set(asserted);
    }
}

/// A function, and the guest that drives it.
pub struct Driver {
    pub function: Function,
    pub board: Arc<Board>,
    pub guest: Guest,
}

impl Deref for Driver {
    type Target = Function;
    fn deref(&self) -> &Function {
        &self.function
    }
}

impl DerefMut for Driver {
    fn deref_mut(&mut self) -> &mut Function {
        &mut self.function
    }
}

impl Driver {
    pub fn new(device: impl Device + 'static, features: Features, options: Options) -> Self {
        let board = Arc::new(Board::default());
        let mut function = Function::new(Box::new(device), options, board.clone()).unwrap();
        let guest = Guest::new(features);
        function.set_memory(guest.memory());
        let mut driver = Self {
            function,
            board,
            guest,
        };
        driver.config_write(
            header::COMMAND as u64,
            &(command::IO | command::MEMORY | command::BUS_MASTER).to_le_bytes(),
        );
        driver
    }

    /// A function after reset.
    pub fn for_guest(device: impl Device + 'static, options: Options, guest: Guest) -> Self {
        let board = Arc::new(Board::default());
        let mut function = Function::new(Box::new(device), options, board.clone()).unwrap();
        function.set_memory(guest.memory());
        Self {
            function,
            board,
            guest,
        }
    }

    /// The whole state of the model.
    pub fn state(&mut self) -> Vec<u8> {
        self.pause();
        let state = self.save().unwrap();
        self.resume();
        state
    }

    /// Reads a field of the common configuration structure.
    pub fn get<const N: usize>(&mut self, field: u64) -> [u8; N] {
        let mut data = [0xa5; N];
        self.bar_read(STRUCTURES_BAR, field, &mut data);
        data
    }

    pub fn get8(&mut self, field: u64) -> u8 {
        self.get::<1>(field)[0]
    }

    pub fn get16(&mut self, field: u64) -> u16 {
        u16::from_le_bytes(self.get(field))
    }

    /// Writes a field of the common configuration structure.
    pub fn put8(&mut self, field: u64, value: u8) {
        self.bar_write(STRUCTURES_BAR, field, &[value]);
    }

    pub fn put16(&mut self, field: u64, value: u16) {
        self.bar_write(STRUCTURES_BAR, field, &value.to_le_bytes());
    }

    pub fn put32(&mut self, field: u64, value: u32) {
        self.bar_write(STRUCTURES_BAR, field, &value.to_le_bytes());
    }

    pub fn put64(&mut self, field: u64, value: u64) {
        self.put32(field, value as u32);
        self.put32(field + 4, (value >> 32) as u32);
    }

    pub fn status(&mut self) -> Status {
        Status(self.get8(field::DEVICE_STATUS))
    }

    pub fn set_status(&mut self, status: Status) {
        self.put8(field::DEVICE_STATUS, status.0);
    }

    pub fn write_features(&mut self, features: Features) {
        for word in 0..4 {
            self.put32(field::DRIVER_FEATURE_SELECT, word);
            self.put32(field::DRIVER_FEATURE, features.word(word));
        }
    }

    /// Section 3.1.1 up to FEATURES_OK.
    pub fn negotiate(&mut self) {
        self.set_status(Status::NONE);
        self.set_status(Status::ACKNOWLEDGE);
        self.set_status(Status::ACKNOWLEDGE | Status::DRIVER);
        let features = self.guest.features;
        self.write_features(features);
        self.set_status(Status::ACKNOWLEDGE | Status::DRIVER | Status::FEATURES_OK);
        assert!(self.status().contains(Status::FEATURES_OK));
    }

    pub fn drive(&mut self) {
        let status = self.status();
        self.set_status(status | Status::DRIVER_OK);
    }

    /// Section 4.1.5.1.3.
    pub fn enable(&mut self, index: u16, layout: Layout) {
        self.put16(field::QUEUE_SELECT, index);
        self.put16(field::QUEUE_SIZE, layout.size);
        self.put64(field::QUEUE_DESC, layout.descriptor_area);
        self.put64(field::QUEUE_DRIVER, layout.driver_area);
        self.put64(field::QUEUE_DEVICE, layout.device_area);
        self.put16(field::QUEUE_ENABLE, 1);
        assert_eq!(self.get16(field::QUEUE_ENABLE), 1);
    }

    /// A device that is live, with one virtqueue.
    pub fn start(&mut self, size: u16) -> Queue {
        self.negotiate();
        let queue = self.guest.queue(0, size);
        self.enable(0, queue.layout());
        self.drive();
        queue
    }

    /// Offset of a capability in the configuration space.
    pub fn capability(&mut self, id: u8, matches: impl Fn(&Function, usize) -> bool) -> usize {
        let mut at = usize::from(self.space.bytes()[header::CAPABILITIES]);
        while at != 0 {
            if self.space.bytes()[at] == id && matches(&self.function, at) {
                return at;
            }
            at = usize::from(self.space.bytes()[at + 1]);
        }
        panic!("no capability {id}");
    }

    /// Offset of the virtio structure capability of this type.
    pub fn structure(&mut self, cfg_type: CfgType) -> usize {
        self.capability(CAP_ID_VNDR, |function, at| {
            function.space.bytes()[at + 3] == cfg_type.0
        })
    }

    /// Enables MSI-X, and sets a vector's message to `address` and the vector's number.
    pub fn enable_msix(&mut self, vectors: &[u16], address: u64) {
        let at = self.capability(header::capability::MSIX, |_, _| true);
        for vector in vectors {
            let entry = u64::from(*vector) * msix::VECTOR_SIZE;
            self.bar_write(MSIX_BAR, entry, &address.to_le_bytes());
            self.bar_write(MSIX_BAR, entry + 8, &u32::from(*vector).to_le_bytes());
            self.bar_write(MSIX_BAR, entry + 12, &0u32.to_le_bytes());
        }
        self.config_write((at + msix::CONTROL) as u64, &msix::ENABLE.to_le_bytes());
    }

    /// Makes what was added available, and notifies.
    pub fn publish(&mut self, queue: &mut Queue) {
        if queue.publish_only() {
            let places = self.notify_places();
            let offset = places.offset + u64::from(places.multiplier) * u64::from(queue.index());
            self.bar_write(places.bar, offset, &queue.index().to_le_bytes());
        }
    }

    /// One request from submission to completion, with the interrupt that `wait` waits for.
    pub fn request(&mut self, queue: &mut Queue, writable: usize, wait: impl FnMut(&mut Self)) -> Completed {
        queue.add(&[], &[writable]);
        self.publish(queue);
        self.complete(queue, wait)
    }

    /// The next chain that comes back.
    pub fn complete(&mut self, queue: &mut Queue, mut wait: impl FnMut(&mut Self)) -> Completed {
        loop {
            if let Some(completed) = queue.poll_or_arm() {
                return completed;
            }
            wait(self);
        }
    }

    /// Waits for INTx#, and handles it.
    pub fn wait_intx(&mut self) {
        self.board.wait_asserted();
        let isr = self.places.isr.start;
        assert_ne!(self.get8(isr), 0);
    }
}
