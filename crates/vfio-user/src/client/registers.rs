//! The regions of the function, as registers for a driver.

use std::os::fd::OwnedFd;

use ringwright_driver::TransportError;
use ringwright_driver::transport::Registers;
use ringwright_memory::Width;
use zerocopy::IntoBytes;

use super::dialogue::Dialogue;
use super::{Client, ClientError};
use crate::message::{Command, IoFd, MAX_DATA, RegionAccess};

/// A region of the function: its configuration space, or what is behind a BAR.
#[derive(Debug)]
pub struct RegionRegisters {
    client: Client,
    region: u32,
    /// Where the first register is in the region.
    start: u64,
    doorbells: Vec<(IoFd, OwnedFd)>,
}

impl RegionRegisters {
    pub(super) fn new(client: Client, region: u32, doorbells: Vec<(IoFd, OwnedFd)>) -> Self {
        Self {
            client,
            region,
            start: 0,
            doorbells,
        }
    }

    /// The registers from `offset` on.
    pub fn from(self, offset: u64) -> Self {
        let start = self.start.saturating_add(offset);
        Self { start, ..self }
    }

    /// The event descriptor that a write of `value` is to ring, if it is.
    fn doorbell(&self, offset: u64, width: Width, value: u32) -> Option<&OwnedFd> {
        let rings = |part: &IoFd| {
            part.offset == offset
                && (part.size == 0 || part.size == width.bytes() as u64)
                && (part.flags & IoFd::DATAMATCH == 0 || part.datamatch == u64::from(value))
        };
        let doorbell = self.doorbells.iter().find(|(part, _)| rings(part));
        doorbell.map(|(_, event)| event)
    }
}

impl Registers for RegionRegisters {
    fn read(&mut self, offset: u64, width: Width) -> Result<u32, TransportError> {
        let offset = self.start.saturating_add(offset);
        let mut bytes = [0; 4];
        read(
            &self.client.dialogue,
            self.region,
            offset,
            &mut bytes[..width.bytes()],
        )?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn write(&mut self, offset: u64, width: Width, value: u32) -> Result<(), TransportError> {
        let offset = self.start.saturating_add(offset);
        if let Some(event) = self.doorbell(offset, width, value) {
            // An eventfd that cannot take another 1 is readable already.
            let _ = rustix::io::write(event, &1u64.to_ne_bytes());
            return Ok(());
        }
        let bytes = &value.to_le_bytes()[..width.bytes()];
        Ok(write(&self.client.dialogue, self.region, offset, bytes)?)
    }
}

/// Reads from a region.
pub(super) fn read(
    dialogue: &Dialogue,
    region: u32,
    offset: u64,
    data: &mut [u8],
) -> Result<(), ClientError> {
    for (part, at) in data.chunks_mut(MAX_DATA).zip((offset..).step_by(MAX_DATA)) {
        let access = RegionAccess {
            offset: at,
            region,
            count: part.len() as u32,
        };
        let (_, reply) = dialogue.get::<RegionAccess>(Command::RegionRead, &access)?;
        let found = reply
            .payload
            .get(size_of::<RegionAccess>()..)
            .filter(|found| found.len() == part.len());
        part.copy_from_slice(found.ok_or(ClientError::Answer(Command::RegionRead))?);
    }
    Ok(())
}

/// Writes to a region, and waits until that has been done.
pub(super) fn write(dialogue: &Dialogue, region: u32, offset: u64, data: &[u8]) -> Result<(), ClientError> {
    for (part, at) in data.chunks(MAX_DATA).zip((offset..).step_by(MAX_DATA)) {
        let access = RegionAccess {
            offset: at,
            region,
            count: part.len() as u32,
        };
        dialogue.ask(Command::RegionWrite, &[access.as_bytes(), part].concat(), &[])?;
    }
    Ok(())
}
