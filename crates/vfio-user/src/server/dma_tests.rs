use super::*;
use ringwright_memory::{Fault, MappingError, Window};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

fn memfd(size: u64) -> OwnedFd {
    let file = memfd_create("dma", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&file, size).unwrap();
    file
}

fn map(address: u64, size: u64) -> DmaMap {
    DmaMap {
        argsz: 32,
        flags: DmaMap::READ | DmaMap::WRITE,
        offset: 0,
        address,
        size,
    }
}

fn unmap(address: u64, size: u64) -> DmaUnmap {
    DmaUnmap {
        argsz: 24,
        flags: 0,
        address,
        size,
    }
}

#[test]
fn memory_is_seen_at_its_dma_addresses() {
    let mut table = DmaTable::default();
    let file = memfd(0x3000);
    rustix::io::pwrite(&file, b"here", 0x2000).unwrap();
    let second = DmaMap {
        offset: 0x2000,
        ..map(0x8_0000, 0x1000)
    };
    table.map(second, Some(file.try_clone().unwrap())).unwrap();
    table
        .map(map(0x1000, 0x1000), Some(file.try_clone().unwrap()))
        .unwrap();
    let memory = table.memory(false).unwrap();
    let mut found = [0; 4];
    memory.read(0x8_0000, &mut found).unwrap();
    assert_eq!(&found, b"here");
    memory.write(0x1ffc, b"last").unwrap();
    rustix::io::pread(&file, &mut found, 0xffc).unwrap();
    assert_eq!(&found, b"last");
    assert_eq!(
        memory.read(0x2000, &mut found),
        Err(Fault::Unmapped { address: 0x2000 })
    );
}

#[test]
fn a_file_is_mapped_once_however_many_maps_there_are() {
    let mut table = DmaTable::default();
    let file = memfd(0x10_0000);
    for page in 0..MANY as u64 - 2 {
        let map = DmaMap {
            offset: page * 0x1000,
            ..map(page * 0x1_0000, 0x1000)
        };
        table.map(map, Some(file.try_clone().unwrap())).unwrap();
    }
    assert_eq!(table.files.known(), 1);
    let memory = table.memory(false).unwrap();
    let first = memory.regions()[0].pointer() as usize;
    for (page, region) in memory.regions().iter().enumerate() {
        assert_eq!(region.pointer() as usize, first + page * 0x1000);
    }
    // A file that has grown is mapped anew, one that is read-only apart, and what is not used any more not at all.
    ftruncate(&file, 0x20_0000).unwrap();
    let grown = DmaMap {
        offset: 0x10_0000,
        ..map(1 << 32, 0x1000)
    };
    table.map(grown, Some(file.try_clone().unwrap())).unwrap();
    let read_only = DmaMap {
        flags: DmaMap::READ,
        ..map(1 << 33, 0x1000)
    };
    table.map(read_only, Some(file.try_clone().unwrap())).unwrap();
    assert_eq!(table.files.known(), 2);
    drop(memory);
    table.unmap(unmap(0, 1 << 34)).unwrap();
    table.map(map(0, 0x1000), Some(memfd(0x1000))).unwrap();
    assert_eq!(table.files.known(), 1);
}

#[test]
fn what_is_read_only_is_not_written() {
    let mut table = DmaTable::default();
    let read_only = DmaMap {
        flags: DmaMap::READ,
        ..map(0x1000, 0x1000)
    };
    table.map(read_only, Some(memfd(0x1000))).unwrap();
    let memory = table.memory(false).unwrap();
    assert!(matches!(memory.write(0x1000, &[1]), Err(Fault::Denied { .. })));
    memory.read(0x1000, &mut [0]).unwrap();
}

#[test]
fn maps_that_cannot_be_are_refused() {
    let mut table = DmaTable::default();
    table.map(map(0x1000, 0x2000), Some(memfd(0x2000))).unwrap();
    for (address, size) in [
        (0x1000, 0x2000),
        (0, 0x1001),
        (0x2fff, 1),
        (0x1800, 8),
        (0, 1 << 40),
    ] {
        let refusal = table.map(map(address, size), Some(memfd(0x2000))).unwrap_err();
        assert!(
            matches!(refusal, ServerError::Overlap { .. }),
            "{address:#x}: {refusal}"
        );
        assert_eq!(refusal.errno(), 17);
        // Memory without a descriptor is memory too.
        assert!(table.map(map(address, size), None).is_err());
    }
    for (address, size) in [(0x8000, 0), (u64::MAX, 2), (u64::MAX - 0xffe, 0x1000)] {
        let refusal = table.map(map(address, size), Some(memfd(0x2000))).unwrap_err();
        assert!(
            matches!(refusal, ServerError::Range { .. }),
            "{address:#x}: {refusal}"
        );
    }
    for flags in [0, 4, u32::MAX] {
        let map = DmaMap {
            flags,
            ..map(0x8000, 0x1000)
        };
        assert!(matches!(table.map(map, None), Err(ServerError::MapFlags(found)) if found == flags));
    }
    // The last page of the address space is one like any other.
    table
        .map(map(u64::MAX - 0xfff, 0x1000), Some(memfd(0x1000)))
        .unwrap();
    assert_eq!(table.memory(false).unwrap().regions().len(), 2);
}

#[test]
fn files_that_are_too_short_or_none_are_refused() {
    let mut table = DmaTable::default();
    for (offset, size) in [
        (0, 0x2001),
        (0x2000, 1),
        (u64::MAX, 1),
        (1 << 62, 0x1000),
        (0, 1 << 60),
    ] {
        let map = DmaMap {
            offset,
            ..map(0, size)
        };
        let refusal = table.map(map, Some(memfd(0x2000))).unwrap_err();
        assert!(
            matches!(refusal, ServerError::Map { .. }),
            "{offset:#x}: {refusal}"
        );
    }
    let (reader, _writer) = std::io::pipe().unwrap();
    let refusal = table.map(map(0, 0x1000), Some(reader.into())).unwrap_err();
    let none = MappingError::NotAFile;
    assert!(matches!(&refusal, ServerError::Map { source, .. } if source.to_string() == none.to_string()));
    // What may not be written cannot be mapped for writing, and says so.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, [0; 0x1000]).unwrap();
    let read_only = std::fs::File::open(&path).unwrap();
    let refusal = table.map(map(0, 0x1000), Some(read_only.into())).unwrap_err();
    assert_eq!(refusal.errno(), 13, "{refusal}");
    assert!(table.maps.is_empty());
}

#[test]
fn whole_maps_are_unmapped_one_or_several_at_once() {
    let mut table = DmaTable::default();
    let fill = |table: &mut DmaTable| {
        for page in [1, 2, 5, 6] {
            table
                .map(map(page * 0x1000, 0x1000), (page != 6).then(|| memfd(0x1000)))
                .unwrap();
        }
    };
    fill(&mut table);
    assert!(matches!(
        table.unmap(unmap(0x3000, 0x2000)),
        Err(ServerError::NotMapped { .. })
    ));
    for (address, size) in [(0x1000, 0xfff), (0x1001, 0xfff), (0x1800, 0x1000), (0, 0x6001)] {
        let refusal = table.unmap(unmap(address, size)).unwrap_err();
        assert!(
            matches!(refusal, ServerError::PartlyMapped { .. }),
            "{address:#x}: {refusal}"
        );
    }
    assert!(matches!(
        table.unmap(unmap(0x1000, 0)),
        Err(ServerError::Range { .. })
    ));
    assert_eq!(table.maps.len(), 4);
    table.unmap(unmap(0x1000, 0x1000)).unwrap();
    table.unmap(unmap(0x2000, 0x5000)).unwrap();
    assert!(table.maps.is_empty() && table.memory(false).unwrap().regions().is_empty());
    fill(&mut table);
    let all = DmaUnmap {
        flags: DmaUnmap::ALL,
        ..unmap(0, 0)
    };
    let some = DmaUnmap { size: 1, ..all };
    assert!(table.unmap(some).is_err());
    table.unmap(all).unwrap();
    assert!(table.maps.is_empty());
}

#[test]
fn maps_that_continue_each_other_are_one_region() {
    let mut table = DmaTable::default();
    let file = memfd(0x8000);
    let piece = |address, offset| DmaMap {
        offset,
        ..map(address, 0x1000)
    };
    // From 0x1_0000 on: two pages of the file in order, one that is not next in the file, one that is read-only, one of
    // another file, one without a file.
    for (address, offset) in [(0x1_1000, 0x3000), (0x1_0000, 0x2000), (0x1_2000, 0x5000)] {
        table
            .map(piece(address, offset), Some(file.try_clone().unwrap()))
            .unwrap();
    }
    let read_only = DmaMap {
        flags: DmaMap::READ,
        ..piece(0x1_3000, 0x6000)
    };
    table.map(read_only, Some(file.try_clone().unwrap())).unwrap();
    table.map(piece(0x1_4000, 0x7000), Some(memfd(0x8000))).unwrap();
    table.map(piece(0x1_5000, 0), None).unwrap();
    let memory = table.memory(false).unwrap();
    let regions = memory
        .regions()
        .iter()
        .map(|region| (region.guest_address(), region.len()));
    let expected = [
        (0x1_0000, 0x2000),
        (0x1_2000, 0x1000),
        (0x1_3000, 0x1000),
        (0x1_4000, 0x1000),
    ];
    assert_eq!(Vec::from_iter(regions), expected);
    // What was mapped in pieces is unmapped in pieces.
    table.unmap(unmap(0x1_0000, 0x1000)).unwrap();
    assert_eq!(
        table.memory(false).unwrap().regions()[0].guest_address(),
        0x1_1000
    );
}

#[test]
fn many_maps_are_a_translation() {
    let mut table = DmaTable::default();
    let file = memfd(0x10_0000);
    // Page by page, backwards in the file.
    let address = |page: u64| (1 << 40) + page * 0x1000;
    let add = |table: &mut DmaTable, page: u64| {
        let map = DmaMap {
            offset: (255 - page) * 0x1000,
            ..map(address(page), 0x1000)
        };
        table.map(map, Some(file.try_clone().unwrap())).unwrap();
    };
    (0..256).for_each(|page| add(&mut table, page));
    let memory = table.memory(false).unwrap();
    assert_eq!(memory.regions().len(), 1);
    for page in 0..256 {
        memory.write(address(page), &page.to_le_bytes()).unwrap();
        let mut found = [0; 8];
        rustix::io::pread(&file, &mut found, (255 - page) * 0x1000).unwrap();
        assert_eq!(u64::from_le_bytes(found), page);
    }
    // What is unmapped is not found any more, by no one who has the same memory.
    let generation = memory.translation().unwrap().generation();
    table.unmap(unmap(address(7), 0x2000)).unwrap();
    assert_ne!(memory.translation().unwrap().generation(), generation);
    for page in 6..10 {
        let found = memory.read(address(page), &mut [0]);
        assert_eq!(found.is_err(), page == 7 || page == 8, "{page}: {found:?}");
    }
    let read_only = DmaMap {
        flags: DmaMap::READ,
        ..map(address(7), 0x1000)
    };
    table.map(read_only, Some(file.try_clone().unwrap())).unwrap();
    let memory = table.memory(false).unwrap();
    assert!(memory.read(address(7), &mut [0]).is_ok());
    assert!(memory.write(address(7), &[0]).is_err());
    assert!(memory.write(address(8), &[0]).is_err());
    // A file that no map is left of is gone.
    table.unmap(unmap(address(7), 0x1000)).unwrap();
    assert_eq!(table.memory(false).unwrap().regions().len(), 1);
    // Few maps are regions again, and the memory is the same.
    table.unmap(unmap(address(20), 0x1000 * 236)).unwrap();
    let memory = table.memory(false).unwrap();
    assert!(memory.translation().is_none());
    let mut found = [0; 8];
    memory.read(address(19), &mut found).unwrap();
    assert_eq!(u64::from_le_bytes(found), 19);
}

#[test]
fn a_ring_of_several_maps_is_found_behind_a_translation_too() {
    let mut table = DmaTable::default();
    let file = memfd(0x20_0000);
    for page in 0..128 {
        // Pairs of pages that are neighbours, and gaps between the pairs.
        let offset = page / 2 * 0x4000 + page % 2 * 0x1000;
        let map = DmaMap {
            offset,
            ..map(offset, 0x1000)
        };
        table.map(map, Some(file.try_clone().unwrap())).unwrap();
    }
    let memory = table.memory(false).unwrap();
    assert!(memory.translation().is_some());
    let found = memory
        .resolve_one(0x4000, 0x2000, ringwright_memory::Access::ReadWrite)
        .unwrap();
    assert_eq!(found.len(), 0x2000);
    let mut segments = Vec::new();
    let access = ringwright_memory::Access::Write;
    let beyond = memory.resolve(&mut Window::new(), 0x4000, 0x2001, access, &mut segments);
    assert!(beyond.is_err());
}

#[test]
fn memory_is_far_while_there_is_some_and_none_that_is_shared() {
    let mut table = DmaTable::default();
    assert!(!table.is_far());
    for round in 0..2 {
        table.map(map(0x1000, 0x1000), None).unwrap();
        assert!(table.is_far(), "{round}");
        table.map(map(0x2000, 0x1000), Some(memfd(0x1000))).unwrap();
        assert!(!table.is_far(), "{round}");
        table.unmap(unmap(0x2000, 0x1000)).unwrap();
        assert!(table.is_far(), "{round}");
        table.unmap(unmap(0x1000, 0x1000)).unwrap();
        assert!(!table.is_far(), "{round}");
    }
}

#[test]
fn there_are_no_more_maps_than_are_agreed_on() {
    let mut table = DmaTable::default();
    let nothing = |number: u64| DmaMap {
        flags: DmaMap::READ,
        ..map(number * 0x1000, 0x1000)
    };
    for number in 0..MAX_MAPS as u64 {
        table.map(nothing(number), None).unwrap();
    }
    let one_more = table.map(nothing(MAX_MAPS as u64), None);
    assert!(matches!(one_more, Err(ServerError::TooManyMaps)));
    table.unmap(unmap(0x5000, 0x1000)).unwrap();
    table.map(nothing(MAX_MAPS as u64), None).unwrap();
}

#[test]
fn what_is_only_to_be_written_is_not_read_behind_a_translation() {
    let mut table = DmaTable::default();
    let file = memfd(0x10_0000);
    for page in 0..MANY as u64 + 1 {
        let flags = if page == 3 {
            DmaMap::WRITE
        } else {
            DmaMap::READ | DmaMap::WRITE
        };
        let map = DmaMap {
            flags,
            offset: page * 0x1000,
            ..map(page * 0x2000, 0x1000)
        };
        table.map(map, Some(file.try_clone().unwrap())).unwrap();
    }
    let memory = table.memory(false).unwrap();
    memory.write(3 * 0x2000, &[1]).unwrap();
    let refused = memory.read(3 * 0x2000, &mut [0]);
    assert!(matches!(refused, Err(Fault::Denied { .. })), "{refused:?}");
    memory.read(4 * 0x2000, &mut [0]).unwrap();
}
