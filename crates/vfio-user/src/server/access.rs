//! Accesses to the function's regions.

use zerocopy::{FromBytes, IntoBytes};

use super::ServerError;
use super::connection::{Answer, Connection, exactly, prefix};
use super::information::bar;
use crate::message::{Command, MAX_DATA, OneWrite, RegionAccess, WriteMulti};
use crate::socket::Message;

impl Connection<'_> {
    pub(super) fn read_region(&mut self, message: &Message) -> Result<Answer, ServerError> {
        let command = Command::RegionRead;
        let access: RegionAccess = exactly(command, message)?;
        if access.count as usize > MAX_DATA {
            let (field, found) = ("count", access.count.into());
            return Err(ServerError::Value {
                command,
                field,
                found,
            });
        }
        self.check_access(&access)?;
        let mut payload = access.as_bytes().to_vec();
        payload.resize(size_of::<RegionAccess>() + access.count as usize, 0);
        let data = &mut payload[size_of::<RegionAccess>()..];
        match bar(access.region) {
            Some(bar) => self.function.read_bar(bar, access.offset, data),
            None => self.function.read_config(access.offset, data),
        }
        Ok(Answer {
            payload,
            descriptors: Vec::new(),
        })
    }

    pub(super) fn write_region(&mut self, message: &Message) -> Result<Answer, ServerError> {
        let command = Command::RegionWrite;
        let (access, data) = prefix::<RegionAccess>(command, message)?;
        if access.count as usize != data.len() {
            return Err(ServerError::PayloadSize {
                command,
                expected: access.count as usize,
                found: data.len(),
            });
        }
        self.write(access, data)?;
        Ok(Answer::of(access))
    }

    /// Does one write after the other. The first that cannot be done ends it.
    pub(super) fn write_regions(&mut self, message: &Message) -> Result<Answer, ServerError> {
        let command = Command::RegionWriteMulti;
        let (head, writes) = prefix::<WriteMulti>(command, message)?;
        let expected = head.wr_cnt.checked_mul(size_of::<OneWrite>() as u64);
        if expected != Some(writes.len() as u64) {
            return Err(ServerError::PayloadSize {
                command,
                expected: expected
                    .and_then(|expected| expected.try_into().ok())
                    .unwrap_or(usize::MAX),
                found: writes.len(),
            });
        }
        for write in writes.chunks_exact(size_of::<OneWrite>()) {
            let Ok(write) = OneWrite::read_from_bytes(write) else {
                continue;
            };
            let data = write.data.get(..write.count as usize).ok_or(ServerError::Value {
                command,
                field: "count",
                found: write.count.into(),
            })?;
            let access = RegionAccess {
                offset: write.offset,
                region: write.region,
                count: write.count,
            };
            self.write(access, data)?;
        }
        Ok(Answer::of(head))
    }

    fn write(&mut self, access: RegionAccess, data: &[u8]) -> Result<(), ServerError> {
        self.check_access(&access)?;
        match bar(access.region) {
            Some(bar) => self.function.write_bar(bar, access.offset, data),
            None => self.function.write_config(access.offset, data),
        }
        Ok(())
    }

    fn check_access(&self, access: &RegionAccess) -> Result<(), ServerError> {
        let RegionAccess {
            offset,
            region,
            count,
        } = *access;
        let size = self.region_size(region);
        if self.features.migrating.is_copying() {
            return Err(ServerError::Function("the function's state is being read".into()));
        }
        match offset.checked_add(count.into()) {
            Some(end) if end <= size => Ok(()),
            _ => Err(ServerError::OutsideRegion {
                region,
                offset,
                count,
                size,
            }),
        }
    }
}
