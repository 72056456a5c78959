//! The device's state on its way between two back-ends (`SET_DEVICE_STATE_FD`, `CHECK_DEVICE_STATE`): through a descriptor
//! that the front-end gives, while messages go on.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, read, write};

use super::BackendError;
use super::connection::{Answer, Connection};
use crate::message::{DeviceState, Request};

/// Most bytes of a state that are taken.
const MOST: usize = 16 << 20;
/// Bytes that are moved at a time.
const PIECE: usize = 64 << 10;
/// How long `CHECK_DEVICE_STATE` waits for the rest of a state. The front-end has closed its end before it asks.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a descriptor that was not ready is tried again.
const INTERVAL: Duration = Duration::from_millis(1);

/// The transfer that was asked for last.
#[derive(Default)]
pub(super) enum Transfer {
    /// None was.
    #[default]
    None,
    /// The rest of the state is to be written.
    Saving(OwnedFd, Vec<u8>),
    /// The state is read up to the end of the file.
    Loading(OwnedFd, Vec<u8>),
    /// It is over; whether all went well.
    Over(bool),
}

impl Transfer {
    /// Whether there is something to do.
    pub fn is_pending(&self) -> bool {
        matches!(self, Self::Saving(..) | Self::Loading(..))
    }

    /// Moves what can be moved without waiting. Gives a state that has come to its end.
    fn advance(&mut self) -> Option<Vec<u8>> {
        let over = match self {
            Self::None | Self::Over(_) => return None,
            Self::Saving(file, rest) => match write(&*file, &rest[..rest.len().min(PIECE)]) {
                Ok(count) => {
                    rest.drain(..count);
                    rest.is_empty().then_some(Ok(None))
                }
                Err(error) => Some(Err(error)),
            },
            Self::Loading(file, state) => {
                let mut piece = vec![0; PIECE];
                match read(&*file, &mut piece) {
                    Ok(0) => Some(Ok(Some(std::mem::take(state)))),
                    Ok(count) if state.len() + count > MOST => Some(Err(Errno::FBIG)),
                    Ok(count) => {
                        state.extend_from_slice(&piece[..count]);
                        None
                    }
                    Err(error) => Some(Err(error)),
                }
            }
        };
        match over {
            None | Some(Err(Errno::AGAIN | Errno::INTR)) => None,
            Some(Ok(state)) => {
                // With the descriptor the end of the state is told.
                *self = Self::Over(true);
                state
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "moving the device's state");
                *self = Self::Over(false);
                None
            }
        }
    }
}

impl Connection<'_> {
    /// Begins to move the state. The answer says in bit 8 that the back-end has no descriptor of its own to offer.
    pub(super) fn set_device_state_fd(
        &mut self,
        parameters: DeviceState,
        file: OwnedFd,
    ) -> Result<Answer, BackendError> {
        let outcome = self.begin_transfer(parameters, file);
        if let Err(error) = &outcome {
            tracing::warn!(%error, "SET_DEVICE_STATE_FD refused");
        }
        let code = u64::from(outcome.is_err());
        Ok(Answer::Number(code | DeviceState::NO_DESCRIPTOR))
    }

    fn begin_transfer(&mut self, parameters: DeviceState, file: OwnedFd) -> Result<(), BackendError> {
        let request = Request::SET_DEVICE_STATE_FD;
        let value = |expected, found: u32| BackendError::Value {
            request,
            expected,
            found: found.into(),
        };
        self.transfer = Transfer::None;
        if parameters.phase != DeviceState::STOPPED {
            return Err(value("phase of a migration", parameters.phase));
        }
        let system = |error: Errno| BackendError::StateDescriptor(error.into());
        let flags = fcntl_getfl(&file).map_err(system)?;
        fcntl_setfl(&file, flags | OFlags::NONBLOCK).map_err(system)?;
        self.transfer = match parameters.direction {
            // The host refuses while a vring runs: the device has to be suspended.
            DeviceState::SAVE => Transfer::Saving(file, self.host.save()?),
            DeviceState::LOAD if self.rings.iter().any(|ring| ring.running.is_some()) => {
                return Err(BackendError::NotSuspended);
            }
            DeviceState::LOAD => Transfer::Loading(file, Vec::new()),
            direction => return Err(value("direction of a transfer", direction)),
        };
        Ok(())
    }

    /// Moves what can be moved of the state without waiting.
    pub(super) fn advance_transfer(&mut self) {
        if let Some(state) = self.transfer.advance()
            && let Err(error) = self.host.restore(&state)
        {
            tracing::warn!(%error, "the device's state is not taken up");
            self.transfer = Transfer::Over(false);
        }
    }

    /// Whether the state has been moved; waits for its end for a while. 0 is success.
    pub(super) fn check_device_state(&mut self) -> Result<Answer, BackendError> {
        let deadline = Instant::now() + PATIENCE;
        self.advance_transfer();
        // A front-end that says something instead of waiting, or goes, waits for nothing.
        while self.transfer.is_pending() && Instant::now() < deadline && !self.socket.is_readable(INTERVAL)? {
            self.advance_transfer();
        }
        let moved = matches!(std::mem::take(&mut self.transfer), Transfer::Over(true));
        Ok(Answer::Number(u64::from(!moved)))
    }
}
