//! DEVICE_FEATURE: migration of the function's state, and the log of the memory that it writes.

mod logging;
mod migration;

use std::sync::Arc;

use ringwright_memory::Memory;
use zerocopy::{FromBytes, IntoBytes};

use self::logging::Logging;
use self::migration::Migrating;
use super::ServerError;
use super::connection::{Answer, Connection, prefix, room};
use super::shadow::Shadow;
use crate::message::{
    Command, DeviceFeature, LoggingControl, LoggingRange, LoggingReport, MigState, Migration,
};
use crate::socket::Message;

/// The state behind the features.
#[derive(Default)]
pub(super) struct Features {
    logging: Option<Logging>,
    pub(super) migrating: Migrating,
}

impl Features {
    /// `memory`, with the log if writes are logged.
    pub fn logged(&mut self, memory: Memory) -> Memory {
        match &mut self.logging {
            None => memory,
            Some(logging) => {
                let log = logging.cover(&memory);
                memory.with_dirty_log(log)
            }
        }
    }

    /// The device is reset, which ends a migration.
    pub fn reset(&mut self) {
        self.migrating = Migrating::default();
    }
}

impl Connection<'_> {
    pub(super) fn device_feature(&mut self, message: &Message) -> Result<Answer, ServerError> {
        let command = Command::DeviceFeature;
        let (head, data) = prefix::<DeviceFeature>(command, message)?;
        let feature = head.flags & DeviceFeature::MASK;
        let (get, set) = (DeviceFeature::GET, DeviceFeature::SET);
        let possible = match feature {
            DeviceFeature::MIGRATION if self.is_migratable() => get,
            DeviceFeature::MIG_DEVICE_STATE if self.is_migratable() => get | set,
            DeviceFeature::DMA_LOGGING_START | DeviceFeature::DMA_LOGGING_STOP => set,
            DeviceFeature::DMA_LOGGING_REPORT => get,
            _ => 0,
        };
        let asked = head.flags & !DeviceFeature::MASK;
        let refused = |asked| Err(ServerError::Feature { feature, asked });
        if possible == 0 {
            return refused("found");
        }
        let methods = asked & !DeviceFeature::PROBE;
        if methods & !possible != 0 {
            return refused("used like that");
        }
        // "The reply payload must be the same as the request payload for setting or probing a feature."
        let same = || {
            room(command, head.argsz, message.payload.len())?;
            Ok(Answer {
                payload: message.payload.clone(),
                descriptors: Vec::new(),
            })
        };
        if asked & DeviceFeature::PROBE != 0 {
            return same();
        }
        match methods {
            DeviceFeature::GET => {
                let data = self.get_feature(feature, data, head.argsz)?;
                let argsz = size_of::<DeviceFeature>() + data.len();
                room(command, head.argsz, argsz)?;
                let mut answer = Answer::of(DeviceFeature {
                    argsz: argsz as u32,
                    ..head
                });
                answer.payload.extend(data);
                Ok(answer)
            }
            DeviceFeature::SET => {
                let answer = same()?;
                self.set_feature(feature, data)?;
                Ok(answer)
            }
            _ => refused("got and set at once"),
        }
    }

    /// While memory is shadowed, the state of the device is not all there is: something may be on the way to its driver.
    fn is_migratable(&self) -> bool {
        self.function.is_migratable() && !self.shadow.is_some_and(Shadow::is_in_use)
    }

    fn get_feature(&mut self, feature: u32, data: &[u8], argsz: u32) -> Result<Vec<u8>, ServerError> {
        match feature {
            DeviceFeature::MIGRATION => {
                let flags = Migration::STOP_COPY;
                Ok(Migration { flags }.as_bytes().to_vec())
            }
            DeviceFeature::MIG_DEVICE_STATE => {
                let device_state = self.features.migrating.state();
                let state = MigState {
                    device_state,
                    ..MigState::default()
                };
                Ok(state.as_bytes().to_vec())
            }
            _ => {
                let (report, _) = part::<LoggingReport>(data)?;
                let logging = self.features.logging.as_mut().ok_or(ServerError::Feature {
                    feature,
                    asked: "got before logging has begun",
                })?;
                logging.report(&report, argsz as usize)
            }
        }
    }

    fn set_feature(&mut self, feature: u32, data: &[u8]) -> Result<(), ServerError> {
        match feature {
            DeviceFeature::MIG_DEVICE_STATE => {
                let (state, _) = part::<MigState>(data)?;
                self.change_state(state.device_state)
            }
            DeviceFeature::DMA_LOGGING_START => {
                let (control, rest) = part::<LoggingControl>(data)?;
                let ranges = rest.chunks_exact(size_of::<LoggingRange>());
                if ranges.len() != control.num_ranges as usize {
                    return Err(ServerError::PayloadSize {
                        command: Command::DeviceFeature,
                        expected: control.num_ranges as usize * size_of::<LoggingRange>(),
                        found: rest.len(),
                    });
                }
                let ranges = ranges.filter_map(|range| LoggingRange::read_from_bytes(range).ok());
                let logging = Logging::new(
                    ranges.map(|range| (range.iova, range.length)),
                    &self.dma.memory(false)?,
                )?;
                self.features.logging = Some(logging);
                self.give_memory()
            }
            _ => {
                self.features.logging = None;
                self.give_memory()
            }
        }
    }
}

/// The structure at the start of a feature's data, and what follows it.
fn part<T: FromBytes>(data: &[u8]) -> Result<(T, &[u8]), ServerError> {
    T::read_from_prefix(data).map_err(|_| ServerError::PayloadSize {
        command: Command::DeviceFeature,
        expected: size_of::<DeviceFeature>() + size_of::<T>(),
        found: size_of::<DeviceFeature>() + data.len(),
    })
}

/// Shorthand of the log that a memory is given.
type Log = Arc<ringwright_memory::DirtyLog>;
