//! The device configuration space behind registers: each field by one access of its width, or by two of 32 bits.

use ringwright_memory::Width;

use super::TransportError;

/// Reads the fields of `data` through `read`, which is given the offset of each access.
pub(super) fn read(
    offset: usize,
    width: Width,
    data: &mut [u8],
    mut read: impl FnMut(u64, Width) -> Result<u32, TransportError>,
) -> Result<(), TransportError> {
    check(offset, width, data.len())?;
    let accesses = (offset as u64..).step_by(width.bytes());
    for (offset, bytes) in accesses.zip(data.chunks_exact_mut(width.bytes())) {
        bytes.copy_from_slice(&read(offset, width)?.to_le_bytes()[..width.bytes()]);
    }
    Ok(())
}

/// Writes the fields of `data` through `write`, which is given the offset of each access.
pub(super) fn write(
    offset: usize,
    width: Width,
    data: &[u8],
    mut write: impl FnMut(u64, Width, u32) -> Result<(), TransportError>,
) -> Result<(), TransportError> {
    check(offset, width, data.len())?;
    let accesses = (offset as u64..).step_by(width.bytes());
    for (offset, bytes) in accesses.zip(data.chunks_exact(width.bytes())) {
        let mut value = [0; 4];
        value[..bytes.len()].copy_from_slice(bytes);
        write(offset, width, u32::from_le_bytes(value))?;
    }
    Ok(())
}

fn check(offset: usize, width: Width, length: usize) -> Result<(), TransportError> {
    let aligned = offset.is_multiple_of(width.bytes()) && length.is_multiple_of(width.bytes());
    // No transport has so large a space: this only keeps offsets from overflowing.
    match aligned && u32::try_from(offset).is_ok() {
        true => Ok(()),
        false => Err(TransportError::Config { offset, length }),
    }
}
