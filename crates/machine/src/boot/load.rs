//! Where kernel, device tree and initial file system go in memory.

use super::Image;
use crate::{AccessFault, Ram};

/// The kernel maps memory in pieces of this size while it starts, and the device tree must not be split.
const PIECE: u64 = 2 << 20;

/// Bytes kept for the device tree.
const DEVICE_TREE: u64 = PIECE;

/// Bytes that a kernel needs to work with, besides what is loaded.
const TO_WORK_WITH: u64 = 32 << 20;

/// Physical addresses of what is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The kernel, and its first instruction.
    pub kernel: u64,
    /// The device tree.
    pub device_tree: u64,
    /// The initial file system: first address, and the one after the last; equal if there is none.
    pub initrd: (u64, u64),
}

/// What cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// It does not fit.
    #[error(
        "too little memory: kernel and initial file system need {} MiB, the machine has {} MiB",
        needed.div_ceil(1 << 20),
        memory >> 20
    )]
    TooLittleMemory {
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that there are.
        memory: u64,
    },
    /// The device tree takes more than is kept for it.
    #[error("a device tree of {0} bytes: at most {DEVICE_TREE}")]
    DeviceTree(usize),
    /// A part lies outside of memory.
    #[error("what is loaded lies outside of memory")]
    Outside(#[from] AccessFault),
}

impl Layout {
    /// Places `image` and an initial file system of so many bytes in `ram`.
    pub fn new(ram: &Ram, image: &Image<'_>, initrd: u64) -> Result<Self, LoadError> {
        let kernel = ram.base() + image.text_offset;
        let device_tree = (kernel + image.memory).next_multiple_of(PIECE);
        let start = device_tree + DEVICE_TREE;
        // The kernel unpacks the initial file system before it frees what was loaded.
        let loaded = start - ram.base() + TO_WORK_WITH;
        let needed = initrd.saturating_mul(2).saturating_add(loaded);
        if needed > ram.len() {
            return Err(LoadError::TooLittleMemory {
                needed,
                memory: ram.len(),
            });
        }
        Ok(Self {
            kernel,
            device_tree,
            initrd: (start, start + initrd),
        })
    }
}

/// Puts everything at its place.
pub fn load(
    ram: &Ram,
    layout: &Layout,
    image: &Image<'_>,
    initrd: &[u8],
    device_tree: &[u8],
) -> Result<(), LoadError> {
    if device_tree.len() as u64 > DEVICE_TREE {
        return Err(LoadError::DeviceTree(device_tree.len()));
    }
    ram.write(layout.kernel, &image.bytes)?;
    ram.write(layout.device_tree, device_tree)?;
    ram.write(layout.initrd.0, initrd)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    const BASE: u64 = 0x8000_0000;

    fn image() -> Image<'static> {
        Image {
            text_offset: PIECE,
            memory: 5 << 20,
            bytes: Cow::Borrowed(b"the kernel"),
        }
    }

    #[test]
    fn parts_are_apart_and_the_device_tree_is_in_one_piece() {
        let ram = Ram::new(BASE, 64 << 20).unwrap();
        let layout = Layout::new(&ram, &image(), 100).unwrap();
        assert_eq!(layout.kernel, BASE + PIECE);
        assert_eq!(layout.device_tree, BASE + (8 << 20));
        assert_eq!(layout.initrd, (BASE + (10 << 20), BASE + (10 << 20) + 100));
        load(&ram, &layout, &image(), b"files", b"tree").unwrap();
        let mut bytes = [0; 10];
        ram.read(layout.kernel, &mut bytes).unwrap();
        assert_eq!(&bytes, b"the kernel");
        ram.read(layout.device_tree, &mut bytes[..4]).unwrap();
        ram.read(layout.initrd.0, &mut bytes[4..9]).unwrap();
        assert_eq!(&bytes[..9], b"treefiles");
        let tree = vec![0; DEVICE_TREE as usize + 1];
        assert!(matches!(
            load(&ram, &layout, &image(), b"", &tree),
            Err(LoadError::DeviceTree(_))
        ));
    }

    #[test]
    fn too_little_memory_is_said_in_numbers() {
        let ram = Ram::new(BASE, 64 << 20).unwrap();
        let error = Layout::new(&ram, &image(), 20 << 20).unwrap_err().to_string();
        assert!(error.contains("need 82 MiB, the machine has 64 MiB"), "{error}");
        assert!(Layout::new(&ram, &image(), u64::MAX).is_err());
    }
}
