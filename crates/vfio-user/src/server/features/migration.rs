//! The states of a migration, and the state of the function on its way.
//!
//! Every way from one state to another that the text allows leads through STOP, so that is what is done: the old state is
//! left for STOP, and the new one entered from there. PRE_COPY is not offered: the state of a function is small.

use zerocopy::IntoBytes;

use crate::message::{Command, MAX_DATA, MigData, MigState};
use crate::server::ServerError;
use crate::server::connection::{Answer, Connection, exactly, prefix};
use crate::socket::Message;

/// Longest state that is taken from a client, in bytes.
const LONGEST: usize = 64 << 20;

/// Where the function stands in a migration.
#[derive(Default)]
pub(in crate::server) enum Migrating {
    /// It failed to change states.
    Error,
    /// It changes nothing.
    Stop,
    /// It runs.
    #[default]
    Running,
    /// Its state is being read: what is left of it.
    StopCopy(Vec<u8>),
    /// Its state is being written: what has come of it.
    Resuming(Vec<u8>),
}

impl Migrating {
    /// The number of the state.
    pub fn state(&self) -> u32 {
        match self {
            Self::Error => MigState::ERROR,
            Self::Stop => MigState::STOP,
            Self::Running => MigState::RUNNING,
            Self::StopCopy(_) => MigState::STOP_COPY,
            Self::Resuming(_) => MigState::RESUMING,
        }
    }

    /// Whether the function's state is as it was read, and must not change.
    pub fn is_copying(&self) -> bool {
        matches!(self, Self::StopCopy(_))
    }
}

impl Connection<'_> {
    /// Goes to another state. If the function cannot, and cannot stay either, that is ERROR.
    pub(super) fn change_state(&mut self, to: u32) -> Result<(), ServerError> {
        let from = self.features.migrating.state();
        let known = [
            MigState::STOP,
            MigState::RUNNING,
            MigState::STOP_COPY,
            MigState::RESUMING,
        ];
        if from == MigState::ERROR || !known.contains(&to) {
            return Err(ServerError::MigrationState { from, to });
        }
        if from == to {
            return Ok(());
        }
        let left = std::mem::replace(&mut self.features.migrating, Migrating::Error);
        let stopped = match left {
            Migrating::Running => self.function.stop(),
            Migrating::Resuming(state) => self.function.restore(&state),
            Migrating::Stop | Migrating::StopCopy(_) | Migrating::Error => Ok(()),
        };
        stopped.map_err(ServerError::Function)?;
        self.features.migrating = match to {
            MigState::RUNNING => {
                self.function.resume().map_err(ServerError::Function)?;
                Migrating::Running
            }
            MigState::STOP_COPY => Migrating::StopCopy(self.function.save().map_err(ServerError::Function)?),
            MigState::RESUMING => Migrating::Resuming(Vec::new()),
            _ => Migrating::Stop,
        };
        Ok(())
    }

    /// "If this is less than the requested size, there is no more migration data to read."
    pub(in crate::server) fn read_state(&mut self, message: &Message) -> Result<Answer, ServerError> {
        let command = Command::MigDataRead;
        let asked: MigData = exactly(command, message)?;
        let state = self.features.migrating.state();
        let Migrating::StopCopy(left) = &mut self.features.migrating else {
            return Err(ServerError::Value {
                command,
                field: "the migration state",
                found: state.into(),
            });
        };
        let allowed = (asked.argsz as usize)
            .saturating_sub(size_of::<MigData>())
            .min(MAX_DATA);
        if asked.size as usize > allowed {
            return Err(ServerError::PayloadSize {
                command,
                expected: asked.size as usize,
                found: allowed,
            });
        }
        let size = left.len().min(asked.size as usize);
        let head = MigData {
            argsz: (size_of::<MigData>() + size) as u32,
            size: size as u32,
        };
        let mut payload = head.as_bytes().to_vec();
        payload.extend(left.drain(..size));
        Ok(Answer {
            payload,
            descriptors: Vec::new(),
        })
    }

    pub(in crate::server) fn write_state(&mut self, message: &Message) -> Result<Answer, ServerError> {
        let command = Command::MigDataWrite;
        let (head, data) = prefix::<MigData>(command, message)?;
        if head.size as usize != data.len() {
            return Err(ServerError::PayloadSize {
                command,
                expected: head.size as usize,
                found: data.len(),
            });
        }
        let state = self.features.migrating.state();
        match &mut self.features.migrating {
            Migrating::Resuming(come) if come.len() + data.len() <= LONGEST => {
                come.extend_from_slice(data);
                Ok(Answer::default())
            }
            Migrating::Resuming(come) => Err(ServerError::PayloadSize {
                command,
                expected: LONGEST,
                found: come.len() + data.len(),
            }),
            _ => Err(ServerError::Value {
                command,
                field: "the migration state",
                found: state.into(),
            }),
        }
    }
}
