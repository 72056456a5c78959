//! What a port is, to whoever makes one.

use super::backend::Backend;
use super::{MOST_PORTS, Size};

/// The longest name of a port, in bytes.
pub const LONGEST_NAME: usize = 128;

/// A port, and what stands behind it.
pub struct Port {
    pub(super) backend: Box<dyn Backend>,
    pub(super) name: Option<String>,
    /// Whether it is a console; otherwise a generic port.
    pub(super) console: bool,
    /// Of a console.
    pub(super) size: Option<Size>,
}

impl Port {
    /// A port for text: the driver puts a console there. It learns the size, if there is one.
    pub fn console(backend: Box<dyn Backend>, size: Option<Size>) -> Self {
        Self {
            backend,
            name: None,
            console: true,
            size,
        }
    }

    /// A port that programs of both sides use as they like, and find by this name: in Linux `/dev/virtio-ports/NAME`.
    pub fn generic(name: impl Into<String>, backend: Box<dyn Backend>) -> Self {
        Self {
            backend,
            name: Some(name.into()),
            console: false,
            size: None,
        }
    }

    /// The same port with a name, which consoles have none of otherwise.
    pub fn named(self, name: impl Into<String>) -> Self {
        Self {
            name: Some(name.into()),
            ..self
        }
    }
}

/// A port that cannot be had, or is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// There is no number left for it.
    #[error("too many ports: the device has room for {most}, the console among them")]
    TooMany {
        /// Most ports of the device.
        most: u32,
    },
    /// The device would be too large.
    #[error("room for {0} ports: a device has 1 to {MOST_PORTS}")]
    Room(u32),
    /// Two ports would have one name.
    #[error("two ports are named {0:?}: the guest finds a port by its name")]
    NameTaken(String),
    /// No guest could make a file of this name.
    #[error(
        "{0:?} is no name of a port: expected 1 to {LONGEST_NAME} bytes without slashes and control characters"
    )]
    Name(String),
    /// There is no port of this number.
    #[error("there is no port {0}")]
    Missing(u32),
    /// A port that drivers expect.
    #[error("port 0 cannot be removed: drivers that know of one port use it")]
    Lasting,
    /// Only consoles have a size.
    #[error("port {0} is not a console, so it has no size")]
    NotConsole(u32),
}

/// Whether a device can have other ports of these names beside its console, to know it before anything is opened for them.
pub fn check_names(names: &[&str]) -> Result<(), PortError> {
    if names.len() >= MOST_PORTS as usize {
        return Err(PortError::TooMany { most: MOST_PORTS });
    }
    for (place, name) in names.iter().enumerate() {
        check_name(name)?;
        if names[..place].contains(name) {
            return Err(PortError::NameTaken((*name).to_owned()));
        }
    }
    Ok(())
}

/// Whether a guest can make a file of this name.
pub(super) fn check_name(name: &str) -> Result<(), PortError> {
    let odd = |character: char| character == '/' || character.is_control();
    if name.is_empty() || name.len() > LONGEST_NAME || name.contains(odd) {
        return Err(PortError::Name(name.to_owned()));
    }
    Ok(())
}
