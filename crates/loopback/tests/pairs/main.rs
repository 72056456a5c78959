//! Devices and their drivers in one process: every pair, over every ring format.

mod block;
mod channel_io;
mod common;
mod console;
mod disk;
mod entropy;
mod lifecycle;
mod mmio;
mod network;
mod pci;
mod transport;
mod vfio_user;
mod ways;
