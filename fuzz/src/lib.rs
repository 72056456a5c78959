//! What the fuzz targets do: each reads its input as a script of what the other end does, plays it, and panics where
//! a promise is broken.

mod bus;
pub mod channel_programs;
pub mod device_end;
mod driver;
pub mod driver_end;
pub mod driver_registers;
mod guest;
mod meddler;
pub mod mmio;
pub mod pci;
mod script;
pub mod vfio_user;
pub mod vhost_user;
