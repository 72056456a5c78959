//! Mappings of files that are as they say, and of files that are not.
#![cfg(not(miri))]

use super::*;
use crate::{Access, Area, DirtyLog, Fault, Memory, Region, Slices};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::vec::Vec;

fn file(content: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    file
}

fn bytes(mapping: &Mapping) -> Vec<u8> {
    let segments = [mapping.segment()];
    let mut bytes = std::vec![0; mapping.len()];
    // SAFETY: the mapping outlives the view.
    unsafe { Slices::new(&segments) }.read(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn fresh_memory_is_zero_and_of_any_length() {
    for mapping in [Mapping::anonymous(5000), Mapping::memfd("test", 5000)] {
        let mapping = mapping.unwrap();
        assert_eq!(bytes(&mapping), [0; 5000]);
        assert!(mapping.is_sealed() && mapping.writable());
        let memory = Memory::new(std::vec![Region::new(0x1000, Arc::new(mapping))]).unwrap();
        memory.write(0x1000 + 4990, &[7; 10]).unwrap();
        assert_eq!(
            memory.write(0x1000 + 4991, &[7; 10]),
            Err(Fault::Unmapped {
                address: 0x1000 + 5000
            })
        );
    }
}

#[test]
fn regions_are_parts_of_a_mapping() {
    let mapping = Arc::new(Mapping::file(file(&[1, 2, 3, 4, 5, 6]).into(), 1, 5, true).unwrap());
    let region = |address, offset, length| Region::part(address, &mapping, offset, length);
    let regions = std::vec![region(0x1000, 0, 2).unwrap(), region(0x2000, 3, 2).unwrap()];
    assert_eq!(regions[1].file().unwrap().1, 4);
    let memory = Memory::new(regions).unwrap();
    let mut found = [0; 2];
    memory.read(0x1000, &mut found).unwrap();
    assert_eq!(found, [2, 3]);
    memory.read(0x2000, &mut found).unwrap();
    assert_eq!(found, [5, 6]);
    assert_eq!(
        memory.read(0x1001, &mut found),
        Err(Fault::Unmapped { address: 0x1002 })
    );
    for (offset, length) in [(0, 6), (5, 1), (usize::MAX, 2)] {
        assert!(region(0, offset, length).is_none(), "{length} bytes at {offset}");
    }
}

#[test]
fn nothing_is_no_mapping() {
    assert!(matches!(Mapping::anonymous(0), Err(MappingError::Empty)));
    assert!(matches!(Mapping::memfd("test", 0), Err(MappingError::Empty)));
    assert!(matches!(
        Mapping::file(file(b"x").into(), 0, 0, true),
        Err(MappingError::Empty)
    ));
}

#[test]
fn more_than_there_is_is_refused() {
    for (offset, length) in [(0, 4097), (1, 4096), (4096, 1), (1 << 40, 1)] {
        match Mapping::file(file(&[0; 4096]).into(), offset, length, true) {
            Err(MappingError::FileTooShort { size: 4096, .. }) => {}
            other => panic!("{length} bytes at {offset}: {other:?}"),
        }
    }
    let past_64_bits = Mapping::file(file(b"x").into(), u64::MAX, 2, true);
    assert!(matches!(past_64_bits, Err(MappingError::TooLarge { .. })));
    assert!(matches!(
        Mapping::anonymous(usize::MAX),
        Err(MappingError::System { call: "mmap", .. })
    ));
    assert!(Mapping::memfd("test", usize::MAX).is_err());
}

#[test]
fn what_has_no_length_is_refused() {
    let (pipe, _other_end) = std::io::pipe().unwrap();
    assert!(matches!(
        Mapping::file(pipe.into(), 0, 1, true),
        Err(MappingError::NotAFile)
    ));
    let folder = File::open(tempfile::tempdir().unwrap().path()).unwrap();
    assert!(matches!(
        Mapping::file(folder.into(), 0, 1, false),
        Err(MappingError::NotAFile)
    ));
    let device = File::open("/dev/zero").unwrap();
    assert!(matches!(
        Mapping::file(device.into(), 0, 1, false),
        Err(MappingError::NotAFile)
    ));
}

#[test]
fn offset_and_length_need_no_page() {
    let content: Vec<u8> = (0..20_000).map(|index: u32| (index % 251) as u8).collect();
    for (offset, length) in [(0, 1), (1, 4096), (4095, 2), (5000, 10_001), (19_999, 1)] {
        let mapping = Mapping::file(file(&content).into(), offset as u64, length as u64, true).unwrap();
        assert_eq!(bytes(&mapping), &content[offset..offset + length]);
        let region = Region::new(0, Arc::new(mapping));
        assert_eq!(region.file().map(|(_, offset)| offset), Some(offset as u64));
    }
}

#[test]
fn two_mappings_of_a_file_are_one_memory() {
    let mut file = file(&[0; 100]);
    let first = Mapping::file(file.try_clone().unwrap().into(), 10, 50, true).unwrap();
    let memory = Memory::new(std::vec![Region::new(0, Arc::new(first))]).unwrap();
    memory.write(0, b"hello").unwrap();
    let second = Mapping::file(file.try_clone().unwrap().into(), 5, 10, false).unwrap();
    assert_eq!(bytes(&second), b"\0\0\0\0\0hello");
    let mut content = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut content).unwrap();
    assert_eq!(&content[10..15], b"hello");
}

#[test]
fn a_read_only_mapping_faults_instead_of_crashing() {
    let mapping = Arc::new(Mapping::file(file(&[1; 100]).into(), 0, 100, false).unwrap());
    assert!(Area::from_region(Region::new(0, mapping.clone())).is_none());
    assert!(DirtyLog::in_mapping(mapping.clone()).is_err());
    let memory = Memory::new(std::vec![Region::new(0, mapping)]).unwrap();
    assert_eq!(
        memory.write(0, &[0]),
        Err(Fault::Denied {
            address: 0,
            access: Access::Write
        })
    );
}

#[test]
fn a_file_open_for_reading_is_not_mapped_for_writing() {
    let named = tempfile::NamedTempFile::new().unwrap();
    named.as_file().set_len(10).unwrap();
    let file = File::open(named.path()).unwrap();
    match Mapping::file(file.into(), 0, 10, true) {
        Err(MappingError::System { call: "mmap", source }) => {
            assert_eq!(source.kind(), io::ErrorKind::PermissionDenied);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_can_be_shortened_is_not_sealed() {
    assert!(
        !Mapping::file(file(&[0; 10]).into(), 0, 10, true)
            .unwrap()
            .is_sealed()
    );
    let unsealed = rustix::fs::memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::ftruncate(&unsealed, 10).unwrap();
    assert!(!Mapping::file(unsealed, 0, 10, true).unwrap().is_sealed());
    let mapping = Arc::new(Mapping::memfd("test", 4096).unwrap());
    let region = Region::new(0, mapping);
    let (file, _) = region.file().unwrap();
    assert!(rustix::fs::ftruncate(file, 0).is_err());
    let again = Mapping::file(file.try_clone_to_owned().unwrap(), 0, 4096, true).unwrap();
    assert!(again.is_sealed());
}

#[test]
fn the_log_may_be_someone_elses_memory() {
    let mapping = Arc::new(Mapping::memfd("log", 4).unwrap());
    let log = DirtyLog::in_mapping(mapping.clone()).unwrap();
    log.mark(9 * DirtyLog::PAGE_SIZE, 1);
    assert_eq!(bytes(&mapping), [0, 2, 0, 0]);
    assert_eq!(log.end(), 32 * DirtyLog::PAGE_SIZE);
}
