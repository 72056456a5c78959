//! What is in memory when the first hart starts: kernel, initial file system and device tree.

mod fdt;
mod image;
mod load;

pub use fdt::Description;
pub use image::{Image, ImageError};
pub use load::{Layout, LoadError, load};
