//! Memory of `vm-memory` seen from both sides.
#![cfg(not(miri))]

use super::*;
use crate::{Access, Fault};
use std::vec;
use vm_memory::{Bytes, FileOffset, GuestAddress};

#[test]
fn both_see_the_same_bytes() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(0x3000).unwrap();
    let theirs = GuestMemoryMmap::<()>::from_ranges_with_files([
        (GuestAddress(0x1000), 0x1000, None),
        (GuestAddress(0x10000), 0x2000, Some(FileOffset::new(file, 0x1000))),
    ])
    .unwrap();
    for ours in [from_mmap(&theirs).unwrap(), {
        // SAFETY: the regions are mappings.
        unsafe { from_backend(Arc::new(theirs.clone())) }.unwrap()
    }] {
        theirs.write_slice(b"theirs", GuestAddress(0x11ffa)).unwrap();
        let mut bytes = [0; 6];
        ours.read(0x11ffa, &mut bytes).unwrap();
        assert_eq!(&bytes, b"theirs");
        ours.write(0x1000, b"ours").unwrap();
        let mut bytes = [0; 4];
        theirs.read_slice(&mut bytes, GuestAddress(0x1000)).unwrap();
        assert_eq!(&bytes, b"ours");
        assert_eq!(
            ours.read(0x2000, &mut [0]),
            Err(Fault::Unmapped { address: 0x2000 })
        );
        let files: vec::Vec<_> = ours
            .regions()
            .iter()
            .map(|region| region.file().map(|(_, offset)| offset))
            .collect();
        assert_eq!(files, [None, Some(0x1000)]);
    }
}

#[test]
fn the_mappings_stay() {
    let theirs = || GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap();
    let mmap = theirs();
    let mapping = mmap.iter().next().unwrap().get_mmap();
    let first = from_mmap(&mmap).unwrap();
    drop(mmap);
    assert_eq!(Arc::strong_count(&mapping), 2);
    let backend = Arc::new(theirs());
    // SAFETY: the region is a mapping.
    let second = unsafe { from_backend(backend.clone()) }.unwrap();
    assert_eq!(Arc::strong_count(&backend), 2);
    drop(backend);
    for ours in [first, second] {
        ours.write(0, b"still here").unwrap();
        let mut bytes = [0; 10];
        ours.read(0, &mut bytes).unwrap();
        assert_eq!(&bytes, b"still here");
        assert!(ours.resolve_one(0, 0x1001, Access::Read).is_err());
    }
}
