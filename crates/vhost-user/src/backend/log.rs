//! The dirty log: which pages of guest memory the device has written, for a front-end that copies them to another machine
//! while the device runs.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use ringwright_memory::{DirtyLog, Mapping, Memory};

use super::BackendError;
use super::connection::Connection;
use crate::message::{Log, Request};

impl Connection<'_> {
    /// Takes the memory for the log. It is written while LOG_ALL is among the features.
    pub(super) fn set_log_base(&mut self, description: Log, file: OwnedFd) -> Result<(), BackendError> {
        let Log { size, offset } = description;
        let map = |source| BackendError::MapLog { size, source };
        let mapping = Mapping::file(file, offset, size, true).map_err(map)?;
        let log = DirtyLog::in_mapping(Arc::new(mapping)).map_err(|_| BackendError::Value {
            request: Request::SET_LOG_BASE,
            expected: "log that can be written",
            found: size,
        })?;
        self.log = Some(Arc::new(log));
        self.set_logging(self.logging)
    }

    /// Starts or stops logging, while vrings run. What a device end gives back then, that it took before, is logged as if all
    /// of memory had been written, because nobody has noted where it may be written to.
    pub(super) fn set_logging(&mut self, logging: bool) -> Result<(), BackendError> {
        self.logging = logging;
        let memory = self.logged(self.slots.memory()?);
        Ok(self.host.set_memory(Arc::new(memory))?)
    }

    /// `memory` with the log, if it is to be logged.
    pub(super) fn logged(&self, memory: Memory) -> Memory {
        match &self.log {
            Some(log) if self.logging => memory.with_dirty_log(log.clone()),
            _ => memory,
        }
    }
}
