//! Views against flat byte arrays.

use super::*;
use crate::test_memory::Heap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use proptest::prelude::*;

/// Segments of the given lengths with gaps between them, all of one heap.
fn scattered(lengths: &[usize]) -> (Arc<Heap>, Vec<Segment>) {
    let heap = Heap::new(lengths.iter().map(|length| length + 3).sum());
    let mut at = 0;
    let segments = lengths.iter().map(|length| {
        let segment = heap.segment(at, *length);
        at += length + 3;
        segment
    });
    let segments = segments.collect();
    (heap, segments)
}

fn bytes(view: Slices<'_>) -> Vec<u8> {
    let mut bytes = std::vec![0; view.len()];
    view.read(0, &mut bytes).unwrap();
    bytes
}

fn counting(length: usize) -> Vec<u8> {
    (0..length).map(|index| index as u8).collect()
}

#[test]
fn a_range_outside_is_refused_whole() {
    let (_heap, segments) = scattered(&[4, 4]);
    // SAFETY: the heap outlives the view.
    let view = unsafe { Slices::new(&segments) };
    let refused = OutOfBounds {
        offset: 6,
        length: 3,
        available: 8,
    };
    assert_eq!(view.write(6, &[1, 2, 3]), Err(refused));
    assert_eq!(view.read(6, &mut [0; 3]), Err(refused));
    assert_eq!(view.fill(6, 3, 1), Err(refused));
    assert_eq!(view.part(6, 3).map(|part| part.len()), Err(refused));
    assert_eq!(bytes(view), [0; 8], "nothing was written");
    assert!(view.read(usize::MAX, &mut [0; 2]).is_err());
    assert!(view.fill(1, usize::MAX, 0).is_err());
    assert!(view.part(9, 0).is_err());
    assert!(view.split_at(9).is_err());
}

#[test]
fn nothing_is_a_view() {
    let view = Slices::empty();
    assert_eq!(view.read(0, &mut []), Ok(()));
    assert_eq!(view.segments().count(), 0);
    assert!(view.read_array::<1>(0).is_err());
    assert_eq!(view.copy_to(view), 0);
    let (_heap, segments) = scattered(&[0, 0]);
    // SAFETY: the heap outlives the view.
    let view = unsafe { Slices::new(&segments) };
    assert!(view.is_empty());
    assert_eq!(view.segments().count(), 0);
}

#[test]
fn only_the_whole_is_whole() {
    let (_heap, segments) = scattered(&[4, 0, 4]);
    // SAFETY: the heap outlives the view.
    let view = unsafe { Slices::new(&segments) };
    assert_eq!(view.whole(), Some(&*segments));
    assert_eq!(view.part(1, 7).unwrap().whole(), None);
    assert_eq!(view.part(0, 7).unwrap().whole(), None);
    assert_eq!(view.part(0, 3).unwrap().whole(), None);
    assert_eq!(
        view.part(1, 4).unwrap().whole(),
        None,
        "as long as a segment, but not one"
    );
    assert_eq!(
        view.part(0, 4).unwrap().whole().map(<[Segment]>::len),
        Some(1),
        "a header in its own segment"
    );
    assert_eq!(view.part(0, 0).unwrap().whole().map(<[Segment]>::len), Some(0));
    assert_eq!(
        view.part(4, 4).unwrap().whole().map(<[Segment]>::len),
        Some(2),
        "the empty one and the last"
    );
}

#[test]
fn what_is_read_only_has_no_room() {
    let (_heap, segments) = scattered(&[4, 4]);
    // SAFETY: the heap outlives the view.
    let view = unsafe { Slices::new(&segments) };
    view.fill(0, 8, 7).unwrap();
    let sealed = view.read_only();
    let refused = OutOfBounds {
        offset: 1,
        length: 2,
        available: 0,
    };
    assert_eq!(sealed.write(1, &[1, 2]), Err(refused));
    assert_eq!(sealed.part(2, 4).unwrap().fill(1, 2, 1), Err(refused));
    assert_eq!(view.copy_to(sealed), 0);
    let mut writer = sealed.writer();
    assert_eq!(
        (writer.remaining(), writer.write(&[1]), writer.written()),
        (0, 0, 0)
    );
    assert!(writer.skip(1).is_err());
    assert_eq!(bytes(sealed), [7; 8]);
    assert_eq!(sealed.reader().read(&mut [0; 9]), 8);
}

#[test]
fn cursors_go_front_to_back() {
    let (_heap, segments) = scattered(&[3, 5]);
    // SAFETY: the heap outlives the view.
    let view = unsafe { Slices::new(&segments) };
    let mut writer = view.writer();
    assert_eq!(writer.write(&[1, 2]), 2);
    assert_eq!(writer.write_all(&[3, 4, 5, 6, 7, 8, 9]).unwrap_err().available, 6);
    assert_eq!(writer.skip(1), Ok(()));
    assert_eq!(writer.take(2).unwrap().write(0, &[4, 5]), Ok(()));
    assert_eq!(writer.written(), 5);
    assert_eq!(writer.write(&[6, 7, 8, 9]), 3);
    assert_eq!(
        (writer.written(), writer.remaining(), writer.rest().len()),
        (8, 0, 0)
    );

    let mut reader = view.reader();
    assert_eq!(reader.read_array(), Ok([1, 2, 0, 4]));
    assert_eq!(reader.read_exact(&mut [0; 5]).unwrap_err().available, 4);
    assert_eq!(bytes(reader.take(1).unwrap()), [5]);
    assert_eq!(reader.skip(4).unwrap_err().length, 4);
    assert_eq!(reader.remaining(), 3);
    let mut rest = [0; 5];
    assert_eq!(reader.read(&mut rest), 3);
    assert_eq!(rest, [6, 7, 8, 0, 0]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 8 } else { 256 }, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_view_is_as_a_flat_array(
        lengths in prop::collection::vec(0_usize..40, 0..8),
        steps in prop::collection::vec((any::<u16>(), any::<u16>(), 0..4), 0..20),
    ) {
        let (_heap, segments) = scattered(&lengths);
        // SAFETY: the heap outlives the view.
        let view = unsafe { Slices::new(&segments) };
        let mut model = std::vec![0; lengths.iter().sum()];
        prop_assert_eq!(view.len(), model.len());
        for (number, (offset, length, kind)) in steps.into_iter().enumerate() {
            let offset = usize::from(offset) % (model.len() + 1);
            let length = usize::from(length) % (model.len() - offset + 1);
            let range = offset..offset + length;
            let part = view.part(offset, length).unwrap();
            match kind {
                0 => {
                    let data: Vec<u8> = (0..length).map(|index| (index + number) as u8).collect();
                    view.write(offset, &data).unwrap();
                    model[range.clone()].copy_from_slice(&data);
                }
                1 => {
                    view.fill(offset, length, number as u8).unwrap();
                    model[range.clone()].fill(number as u8);
                }
                2 => {
                    let (before, after) = part.split_at(length / 2).unwrap();
                    prop_assert_eq!(before.len() + after.len(), length);
                    after.fill(0, after.len(), 0xee).unwrap();
                    model[offset + length / 2..offset + length].fill(0xee);
                }
                _ => {
                    let pieces: usize = part.segments().map(Segment::len).sum();
                    prop_assert_eq!(pieces, length);
                    prop_assert!(part.segments().all(|piece| !piece.is_empty()));
                }
            }
            prop_assert_eq!(&bytes(part)[..], &model[range]);
            prop_assert_eq!(&bytes(view), &model);
        }
    }

    #[test]
    fn shared_to_shared_copies_the_shorter(
        from in prop::collection::vec(0_usize..300, 0..6),
        to in prop::collection::vec(0_usize..300, 0..6),
    ) {
        let (_source_heap, source) = scattered(&from);
        let (_target_heap, target) = scattered(&to);
        // SAFETY: the heaps outlive the views.
        let (source, target) = unsafe { (Slices::new(&source), Slices::new(&target)) };
        source.write(0, &counting(source.len())).unwrap();
        let length = source.len().min(target.len());
        prop_assert_eq!(source.copy_to(target), length);
        let mut expected = counting(length);
        expected.resize(target.len(), 0);
        prop_assert_eq!(bytes(target), expected);
    }
}
