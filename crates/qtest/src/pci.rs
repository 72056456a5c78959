//! The PCI side of a machine.

use ringwright_driver::transport::Registers;
use ringwright_driver::transport::pci::{Address, Cam, ConfigAccess, Ecam};

use crate::window::Window;

/// A machine's way to configuration spaces.
#[derive(Debug)]
pub enum Config {
    /// Configuration mechanism 1.
    Cam(Cam<Window>),
    /// ECAM.
    Ecam(Ecam<Window>),
}

impl ConfigAccess for Config {
    type Function = Box<dyn Registers + Send>;

    fn function(&self, address: Address) -> Option<Self::Function> {
        Some(match self {
            Self::Cam(cam) => Box::new(cam.function(address)?),
            Self::Ecam(ecam) => Box::new(ecam.function(address)?),
        })
    }
}
