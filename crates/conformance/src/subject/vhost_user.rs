//! Any device behind a vhost-user socket.

use std::path::PathBuf;

use ringwright_vhost_user::frontend::{Frontend, FrontendOptions};

use super::{Bus, Raw, Specimen, Subject, SubjectError, Trace};

/// A back-end that listens at a socket. It is asked for one specimen after the other, each a connection.
#[derive(Clone, Debug)]
pub struct VhostUser {
    socket: PathBuf,
    options: FrontendOptions,
}

impl VhostUser {
    /// The device of type `device_id` behind the socket at `path`.
    pub fn new(path: impl Into<PathBuf>, device_id: u32) -> Self {
        Self {
            socket: path.into(),
            options: FrontendOptions::new(device_id),
        }
    }
}

impl Subject for VhostUser {
    fn name(&self) -> String {
        self.socket.display().to_string()
    }

    fn bus(&self) -> Bus {
        Bus::VhostUser
    }

    fn open(&self, _trace: &Trace) -> Result<Specimen, SubjectError> {
        let frontend = Frontend::connect(&self.socket, self.options.clone())?;
        Ok(Specimen {
            area: frontend.area().clone(),
            transport: Box::new(frontend),
            raw: Raw::Nothing,
            change: None,
            keep: Box::new(()),
        })
    }

    fn is_parallel(&self) -> bool {
        false
    }
}
