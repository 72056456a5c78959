//! Registers of a machine.

use std::sync::Arc;

use ringwright_driver::TransportError;
use ringwright_driver::transport::Registers;
use ringwright_memory::Width;

use crate::client::{Client, Space};

/// Registers at an address of a machine, in memory or I/O space. There is no end to them.
#[derive(Clone, Debug)]
pub struct Window {
    pub(crate) client: Arc<Client>,
    pub(crate) space: Space,
    pub(crate) base: u64,
}

impl Registers for Window {
    fn read(&mut self, offset: u64, width: Width) -> Result<u32, TransportError> {
        self.client
            .read(self.space, self.base.wrapping_add(offset), width)
    }

    fn write(&mut self, offset: u64, width: Width, value: u32) -> Result<(), TransportError> {
        self.client
            .write(self.space, self.base.wrapping_add(offset), width, value)
    }
}
