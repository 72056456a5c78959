//! What the fuzz targets do: each reads its input as a script of what the other end does, plays it, and panics where
//! a promise is broken.

mod bus;
pub mod channel_programs;
pub mod console_control;
pub mod device_end;
mod disk;
mod driver;
pub mod driver_end;
pub mod driver_registers;
mod guest;
pub mod images;
mod meddler;
pub mod mmio;
pub mod nbd;
mod nbd_server;
pub mod pci;
mod pipes;
mod place;
mod qcow2;
mod script;
pub mod vfio_user;
pub mod vhost_user;
mod zone_model;
pub mod zones;
