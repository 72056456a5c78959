//! The disk that a guest finds, and what it has to write there.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail, ensure};

/// The beginning of a disk that a guest may write to.
const LABEL: &[u8] = b"ringwright guest disk\n";

const SECTOR: usize = 512;

/// Sectors that a guest writes each time that it drives the disk; the first time behind as many others.
const WRITTEN: usize = 64;

/// Sectors of the disk.
const SECTORS: usize = 1024;

/// Makes the disk, with something in its label that no other has.
pub fn create(path: &Path, mark: &str) -> Result<()> {
    let mut disk = vec![0; SECTORS * SECTOR];
    let label = [LABEL, mark.as_bytes()].concat();
    ensure!(label.len() <= SECTOR, "the mark is too long");
    disk[..label.len()].copy_from_slice(&label);
    Ok(fs::write(path, disk)?)
}

/// Checks that the disk has what a guest writes that has driven it `times` times, and nothing else.
pub fn check(path: &Path, times: usize) -> Result<()> {
    let disk = fs::read(path)?;
    ensure!(disk.len() == SECTORS * SECTOR, "the disk has another length");
    let key = key(&disk[..SECTOR]);
    for (number, sector) in disk.chunks(SECTOR).enumerate().skip(1) {
        let time = number / WRITTEN;
        let expected = match time {
            0 => vec![0; SECTOR],
            time if time > times => vec![0; SECTOR],
            time => pattern(key, time, number),
        };
        if sector != expected {
            bail!("sector {number} is not what the guest should have left there");
        }
    }
    Ok(())
}

/// What stands for the label: its FNV-1a hash.
fn key(label: &[u8]) -> u64 {
    label.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// What the guest writes to sector `number` when it drives the disk for the `time`th time, counted from 1.
fn pattern(key: u64, time: usize, number: usize) -> Vec<u8> {
    let word = |index: usize| {
        let place = (time as u64) << 48 | (number as u64) << 8 | index as u64;
        key.wrapping_add(place).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    };
    (0..SECTOR / 8)
        .flat_map(|index| word(index).to_le_bytes())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_with_one_wrong_byte_is_noticed() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("disk");
        create(&path, "mark").expect("disk");
        check(&path, 0).expect("a new disk");
        assert!(check(&path, 1).is_err(), "nothing has been written");
        let mut disk = fs::read(&path).expect("disk");
        let key = key(&disk[..SECTOR]);
        for number in WRITTEN..2 * WRITTEN {
            disk[number * SECTOR..][..SECTOR].copy_from_slice(&pattern(key, 1, number));
        }
        fs::write(&path, &disk).expect("disk");
        check(&path, 1).expect("what a guest writes");
        for place in [SECTOR, 100 * SECTOR + 17, SECTORS * SECTOR - 1] {
            disk[place] ^= 1;
            fs::write(&path, &disk).expect("disk");
            assert!(check(&path, 1).is_err(), "byte {place}");
            disk[place] ^= 1;
        }
    }
}
