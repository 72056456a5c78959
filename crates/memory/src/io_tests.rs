//! Transfers from files and pipes.
#![cfg(not(miri))]

use super::*;
use crate::test_memory::Heap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::vec::Vec;

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}

fn file(content: &[u8]) -> File {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(content, 0).unwrap();
    file
}

/// `count` segments of three bytes each, one byte apart.
fn triples(heap: &Heap, count: usize) -> Vec<Segment> {
    (0..count).map(|index| heap.segment(index * 4, 3)).collect()
}

fn bytes(view: Slices<'_>) -> Vec<u8> {
    let mut bytes = std::vec![0; view.len()];
    view.read(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn reads_and_writes_at_a_place() {
    let heap = Heap::new(100);
    let segments = triples(&heap, 10);
    // SAFETY: the heap outlives the view.
    let view = unsafe { Slices::new(&segments) };
    let file = file(&content(100));
    assert_eq!(view.pread(&file, 7).unwrap(), 30);
    assert_eq!(bytes(view), &content(100)[7..37]);
    // A part that starts and ends within segments.
    let part = view.part(4, 20).unwrap();
    assert_eq!(part.pwrite(&file, 200).unwrap(), 20);
    let mut written = [0; 20];
    file.read_exact_at(&mut written, 200).unwrap();
    assert_eq!(written, content(100)[11..31]);
    assert_eq!(part.pread(&file, 0).unwrap(), 20);
    assert_eq!(bytes(view)[..4], content(100)[7..11], "before the part");
    assert_eq!(bytes(view)[24..], content(100)[31..37], "after the part");
    assert_eq!(bytes(part), &content(100)[..20]);
}

#[test]
fn the_end_of_the_file_is_an_end() {
    let heap = Heap::new(100);
    let segments = triples(&heap, 10);
    // SAFETY: the heap outlives the view.
    let view = unsafe { Slices::new(&segments) };
    let file = file(&content(40));
    assert_eq!(view.pread(&file, 20).unwrap(), 20);
    assert_eq!(view.pread(&file, 40).unwrap(), 0);
    let error = view.pread_exact_at(&file, 20).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    view.pread_exact_at(&file, 10).unwrap();
    for error in [view.pread(&file, u64::MAX), view.pwrite(&file, 1 << 63)] {
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
    assert_eq!(Slices::empty().pread(&file, 0).unwrap(), 0);
    Slices::empty().pread_exact_at(&file, u64::MAX).unwrap();
}

#[test]
fn more_segments_than_one_call_takes() {
    let count = 2 * MOST + 10;
    let heap = Heap::new(count * 4);
    let segments = triples(&heap, count);
    // SAFETY: the heap outlives the view.
    let view = unsafe { Slices::new(&segments) };
    let file = file(&content(count * 3));
    assert_eq!(view.pread(&file, 0).unwrap(), 3 * MOST, "as far as one call goes");
    view.pread_exact_at(&file, 0).unwrap();
    assert_eq!(bytes(view), content(count * 3));
    let part = view.part(1, count * 3 - 2).unwrap();
    assert_eq!(part.pread(&file, 1).unwrap(), 3 * MOST - 1);
    part.pwrite_all_at(&file, 50_000).unwrap();
    let mut written = std::vec![0; part.len()];
    file.read_exact_at(&mut written, 50_000).unwrap();
    assert_eq!(written, content(count * 3)[1..count * 3 - 1]);
}

#[test]
fn streams_come_as_far_as_they_are() {
    let heap = Heap::new(100);
    let segments = triples(&heap, 10);
    // SAFETY: the heap outlives the view.
    let view = unsafe { Slices::new(&segments) };
    let (reader, writer) = io::pipe().unwrap();
    view.write(0, &content(30)).unwrap();
    assert_eq!(view.part(2, 10).unwrap().writev(&writer).unwrap(), 10);
    view.fill(0, 30, 0).unwrap();
    assert_eq!(view.readv(&reader).unwrap(), 10);
    assert_eq!(bytes(view)[..10], content(30)[2..12]);
    drop(writer);
    assert_eq!(view.readv(&reader).unwrap(), 0);
}

#[test]
fn a_packet_goes_behind_a_header_or_not_at_all() {
    let heap = Heap::new(4 * MOST);
    let segments = triples(&heap, MOST);
    // SAFETY: the heap outlives the view.
    let view = unsafe { Slices::new(&segments) };
    view.write(0, &content(3 * MOST)).unwrap();
    let (reader, writer) = std::os::unix::net::UnixDatagram::pair().unwrap();
    let part = view.part(2, 3 * MOST - 6).unwrap();
    assert_eq!(part.writev_behind(b"header", &writer).unwrap(), 3 * MOST);
    let mut packet = std::vec![0; 4 * MOST];
    assert_eq!(reader.recv(&mut packet).unwrap(), 3 * MOST);
    assert_eq!(packet[..6], *b"header");
    assert_eq!(packet[6..3 * MOST], content(3 * MOST)[2..3 * MOST - 4]);
    let refused = view.writev_behind(&[1], &writer).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn a_read_only_view_is_not_read_into() {
    let heap = Heap::new(8);
    let segments = triples(&heap, 2);
    // SAFETY: the heap outlives the view.
    let view = unsafe { Slices::new(&segments) }.read_only();
    let file = file(&content(10));
    assert_eq!(
        view.pread(&file, 0).unwrap_err().kind(),
        io::ErrorKind::PermissionDenied
    );
    assert_eq!(
        view.part(1, 2).unwrap().readv(&file).unwrap_err().kind(),
        io::ErrorKind::PermissionDenied
    );
    assert_eq!(bytes(view), [0; 6]);
    assert_eq!(view.pwrite(&file, 0).unwrap(), 6);
}

#[test]
fn errors_are_those_of_the_system() {
    let heap = Heap::new(8);
    let segments = triples(&heap, 1);
    // SAFETY: the heap outlives the view.
    let view = unsafe { Slices::new(&segments) };
    let read_only = File::open("/dev/null").unwrap();
    assert_eq!(
        view.pwrite(&read_only, 0).unwrap_err().raw_os_error(),
        Some(libc::EBADF)
    );
    let full = File::options().write(true).open("/dev/full").unwrap();
    assert_eq!(
        view.pwrite_all_at(&full, 0).unwrap_err().kind(),
        io::ErrorKind::StorageFull
    );
    let (pipe, _writer) = io::pipe().unwrap();
    assert_eq!(
        view.pread(&pipe, 0).unwrap_err().raw_os_error(),
        Some(libc::ESPIPE)
    );
}

#[test]
fn what_the_page_cache_has_is_read_without_waiting() {
    let heap = Heap::new(100);
    let segments = triples(&heap, 10);
    // SAFETY: the heap outlives the view.
    let view = unsafe { Slices::new(&segments) };
    let file = file(&content(100));
    match view.pread_nowait(&file, 7) {
        Ok(count) => assert_eq!((count, bytes(view)), (30, content(100)[7..37].to_vec())),
        // Some file systems, such as tmpfs, do not say whether they would wait.
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::Unsupported),
    }
    let (reader, _writer) = std::io::pipe().unwrap();
    assert!(view.pread_nowait(&reader, 0).is_err());
    assert_eq!(
        view.read_only().pread_nowait(&file, 0).unwrap_err().kind(),
        io::ErrorKind::PermissionDenied
    );
}
