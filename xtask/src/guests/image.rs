//! A program as it lies in memory, for loaders that know Linux's `Image` and no ELF.

use anyhow::{Context, Result, ensure};

/// Lays out the segments of an ELF file of 64 bits, little-endian, from the first one's address on.
pub fn flatten(elf: &[u8]) -> Result<Vec<u8>> {
    const LOAD: usize = 1;
    ensure!(
        elf.starts_with(b"\x7fELF\x02\x01"),
        "not an ELF file of this kind"
    );
    let table = number(elf, 32, 8)?;
    let (size, count) = (number(elf, 54, 2)?, number(elf, 56, 2)?);
    let mut image = Vec::new();
    let mut start = None;
    for header in (0..count).map(|index| table + index * size) {
        if number(elf, header, 4)? != LOAD {
            continue;
        }
        let (offset, length) = (number(elf, header + 8, 8)?, number(elf, header + 32, 8)?);
        let address = number(elf, header + 24, 8)?;
        let place = address.checked_sub(*start.get_or_insert(address));
        let place = place.filter(|place| *place >= image.len() && *place < 1 << 30);
        image.resize(place.context("the segments are not in order")?, 0);
        let content = offset.checked_add(length).and_then(|end| elf.get(offset..end));
        image.extend_from_slice(content.context("a segment goes beyond the file")?);
    }
    Ok(image)
}

/// The number of `length` bytes at `offset`.
fn number(elf: &[u8], offset: usize, length: usize) -> Result<usize> {
    let bytes = offset.checked_add(length).and_then(|end| elf.get(offset..end));
    let bytes = bytes.context("the file ends before its headers do")?;
    let number = bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte));
    Ok(usize::try_from(number)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_lie_as_far_apart_as_their_addresses() {
        let mut elf = vec![0; 64 + 2 * 56];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (elf[32], elf[54], elf[56]) = (64, 56, 2);
        for (index, address, offset, length) in [(0, 0x1000_u64, 0x40, 3), (1, 0x1008, 0x78, 2)] {
            let header = &mut elf[64 + 56 * index..][..56];
            (header[0], header[8], header[32]) = (1, offset, length);
            header[24..32].copy_from_slice(&address.to_le_bytes());
        }
        assert_eq!(flatten(&elf).expect("an image"), [1, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        elf[64 + 56 + 24] = 1;
        assert!(flatten(&elf).is_err(), "they overlap");
        elf[64 + 56 + 24] = 8;
        elf[64 + 56 + 36] = 1;
        assert!(flatten(&elf).is_err(), "one goes beyond the file");
    }
}
