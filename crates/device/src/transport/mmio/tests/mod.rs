//! The registers as a driver sees them.

mod configuration;
mod interrupts;
mod legacy;
mod operation;
mod queues;
mod registers;
mod snapshot;
mod status;

use std::sync::Arc;

use ringwright_ring::Layout;
use ringwright_spec::{Features, Status, mmio};

use super::*;
use crate::testing::{Completed, Guest, Queue};
use crate::transport::testing::Board;

impl InterruptLine for Board {
    fn set_level(&self, asserted: bool) {
        self.set(asserted);
    }
}

/// A device behind registers, and the guest that drives it.
pub struct Driver {
    pub mmio: Mmio,
    pub board: Arc<Board>,
    pub guest: Guest,
}

impl Driver {
    pub fn new(device: impl Device + 'static, features: Features) -> Self {
        Self::with_options(device, features, Options::default())
    }

    pub fn with_options(device: impl Device + 'static, features: Features, options: Options) -> Self {
        Self::for_guest(device, options, Guest::new(features))
    }

    /// Another model for the same guest.
    pub fn for_guest(device: impl Device + 'static, options: Options, guest: Guest) -> Self {
        let board = Arc::new(Board::default());
        let mut mmio = Mmio::new(Box::new(device), options, board.clone()).unwrap();
        mmio.set_memory(guest.memory());
        Self { mmio, board, guest }
    }

    /// The whole state of the model.
    pub fn save(&mut self) -> Vec<u8> {
        self.mmio.pause();
        let state = self.mmio.save().unwrap();
        self.mmio.resume();
        state
    }

    pub fn read(&mut self, register: u64) -> u32 {
        let mut data = [0xa5; 4];
        self.mmio.read(register, &mut data);
        u32::from_le_bytes(data)
    }

    pub fn write(&mut self, register: u64, value: u32) {
        self.mmio.write(register, &value.to_le_bytes());
    }

    pub fn status(&mut self) -> Status {
        Status(self.read(mmio::STATUS) as u8)
    }

    pub fn set_status(&mut self, status: Status) {
        self.write(mmio::STATUS, status.0.into());
    }

    pub fn write_features(&mut self, features: Features) {
        for word in 0..4 {
            self.write(mmio::DRIVER_FEATURES_SEL, word);
            self.write(mmio::DRIVER_FEATURES, features.word(word));
        }
    }

    /// Section 3.1.1 up to FEATURES_OK.
    pub fn negotiate(&mut self) {
        self.set_status(Status::NONE);
        self.set_status(Status::ACKNOWLEDGE);
        self.set_status(Status::ACKNOWLEDGE | Status::DRIVER);
        self.write_features(self.guest.features);
        self.set_status(Status::ACKNOWLEDGE | Status::DRIVER | Status::FEATURES_OK);
        assert!(self.status().contains(Status::FEATURES_OK));
    }

    pub fn drive(&mut self) {
        let status = self.status();
        self.set_status(status | Status::DRIVER_OK);
    }

    /// Section 4.2.3.2.
    pub fn enable(&mut self, index: u16, layout: Layout) {
        self.write(mmio::QUEUE_SEL, index.into());
        assert_eq!(self.read(mmio::QUEUE_READY), 0);
        self.write(mmio::QUEUE_SIZE, layout.size.into());
        self.write(mmio::QUEUE_DESC_LOW, layout.descriptor_area as u32);
        self.write(mmio::QUEUE_DESC_HIGH, (layout.descriptor_area >> 32) as u32);
        self.write(mmio::QUEUE_DRIVER_LOW, layout.driver_area as u32);
        self.write(mmio::QUEUE_DRIVER_HIGH, (layout.driver_area >> 32) as u32);
        self.write(mmio::QUEUE_DEVICE_LOW, layout.device_area as u32);
        self.write(mmio::QUEUE_DEVICE_HIGH, (layout.device_area >> 32) as u32);
        self.write(mmio::QUEUE_READY, 1);
        assert_eq!(self.read(mmio::QUEUE_READY), 1);
    }

    /// A device that is live, with one virtqueue.
    pub fn start(&mut self, size: u16) -> Queue {
        self.negotiate();
        let queue = self.guest.queue(0, size);
        self.enable(0, queue.layout());
        self.drive();
        queue
    }

    /// Makes what was added available, and notifies.
    pub fn publish(&mut self, queue: &mut Queue) {
        if queue.publish_only() {
            self.write(mmio::QUEUE_NOTIFY, queue.index().into());
        }
    }

    /// One request from submission to completion, with its interrupt.
    pub fn request(&mut self, queue: &mut Queue, readable: &[&[u8]], writable: &[usize]) -> Completed {
        queue.add(readable, writable);
        self.publish(queue);
        self.complete(queue)
    }

    /// The next chain that comes back, with its interrupt.
    pub fn complete(&mut self, queue: &mut Queue) -> Completed {
        loop {
            if let Some(completed) = queue.poll_or_arm() {
                return completed;
            }
            self.board.wait_asserted();
            let pending = self.read(mmio::INTERRUPT_STATUS);
            assert_ne!(pending, 0);
            self.write(mmio::INTERRUPT_ACK, pending);
        }
    }
}
