//! The memory in which requests in flight are tracked: the front-end keeps it, and hands it to the process that takes this
//! one's place.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use ringwright_memory::{Mapping, Region, Words};
use ringwright_ring::InflightRegion;
use zerocopy::IntoBytes;

use super::BackendError;
use super::connection::{Answer, Connection};
use crate::message::{Inflight, Request};

/// The memory of one connection.
pub(super) struct InFlight {
    words: Words,
    description: Inflight,
    packed: bool,
}

impl InFlight {
    fn new(region: &Region, description: Inflight, packed: bool) -> Result<Self, BackendError> {
        Ok(Self {
            words: Words::new(region).ok_or(BackendError::Inflight(
                "it is not made of aligned words of 8 bytes",
            ))?,
            description,
            packed,
        })
    }

    /// The part for virtqueue `index`; `None` if that is not tracked.
    pub fn region(&self, index: u16) -> Option<Result<InflightRegion, BackendError>> {
        let Inflight {
            queues, queue_size, ..
        } = self.description;
        let start = u64::from(index) * InflightRegion::size(queue_size, self.packed);
        let region = InflightRegion::new(self.words.clone(), start, queue_size, self.packed);
        (index < queues).then(|| region.ok_or(BackendError::Inflight("it is too small")))
    }
}

impl Connection<'_> {
    /// Makes the memory. It is used from the next start of a virtqueue on.
    pub(super) fn get_inflight_fd(&mut self, asked: Inflight) -> Result<Answer, BackendError> {
        self.check_inflight(Request::GET_INFLIGHT_FD, &asked)?;
        let packed = self.packed();
        let size = u64::from(asked.queues) * InflightRegion::size(asked.queue_size, packed);
        let mapping = Mapping::memfd("vhost-user in flight", size as usize)
            .map_err(|source| BackendError::MapInflight { size, source })?;
        let region = Region::new(0, Arc::new(mapping));
        let file = region.file().map(|(file, _)| file.try_clone_to_owned());
        let file = file.ok_or(BackendError::Inflight("it is not a file"))?;
        let description = Inflight {
            mmap_size: size,
            mmap_offset: 0,
            padding: 0,
            ..asked
        };
        self.in_flight = Some(InFlight::new(&region, description, packed)?);
        let file = file.map_err(|source| BackendError::MapInflight {
            size,
            source: ringwright_memory::MappingError::System { call: "dup", source },
        })?;
        Ok(Answer::File(description.as_bytes().to_vec(), file))
    }

    /// Takes memory up that this process or one before it made.
    pub(super) fn set_inflight_fd(
        &mut self,
        description: Inflight,
        file: OwnedFd,
    ) -> Result<(), BackendError> {
        self.check_inflight(Request::SET_INFLIGHT_FD, &description)?;
        let Inflight {
            mmap_size: size,
            mmap_offset,
            ..
        } = description;
        let mapping = Mapping::file(file, mmap_offset, size, true)
            .map_err(|source| BackendError::MapInflight { size, source })?;
        let region = Region::new(0, Arc::new(mapping));
        self.in_flight = Some(InFlight::new(&region, description, self.packed())?);
        Ok(())
    }

    /// Checks the numbers of virtqueues and of their descriptors.
    fn check_inflight(&self, request: Request, description: &Inflight) -> Result<(), BackendError> {
        let queues = &self.host.description().queues;
        let largest = queues.iter().map(|queue| queue.max_size).max().unwrap_or(0);
        let value = |expected, found: u16| BackendError::Value {
            request,
            expected,
            found: found.into(),
        };
        if !(1..=queues.len()).contains(&description.queues.into()) {
            return Err(value("number of virtqueues", description.queues));
        }
        if !(1..=largest).contains(&description.queue_size) {
            return Err(value("virtqueue size", description.queue_size));
        }
        Ok(())
    }
}
