//! The VIRTIO 1.4 document (cs01) as Rust: every structure, constant, feature bit, register and command.
//!
//! There is no behaviour here, no allocation and no `unsafe`: one module per chapter of the document, the modules
//! of the device types named after their chapters. Structures are plain bytes (alignment 1, no padding), so that
//! [`zerocopy`] reads and writes them in place. Names are the document's own, without their `VIRTIO_` prefix, which
//! the module path replaces: `VIRTIO_BLK_F_FLUSH` is [`block::features::FLUSH`].
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

#[macro_use]
mod macros;

pub mod admin;
pub mod catalogue;
pub mod ccw;
pub mod data;
pub mod device_type;
pub mod feature;
pub mod legacy;
pub mod mmio;
pub mod notification;
pub mod packed;
pub mod pci;
pub mod register;
pub mod split;
pub mod status;

pub mod balloon;
pub mod block;
pub mod can;
pub mod console;
pub mod crypto;
pub mod entropy;
pub mod filesystem;
pub mod gpio;
pub mod gpu;
pub mod i2c;
pub mod input;
pub mod iommu;
pub mod media;
pub mod memory;
pub mod network;
pub mod pmem;
pub mod rpmb;
pub mod rtc;
pub mod scmi;
pub mod scsi;
pub mod socket;
pub mod sound;
pub mod spi;

pub use device_type::DeviceType;
pub use feature::{FeatureBit, Features};
pub use status::Status;
