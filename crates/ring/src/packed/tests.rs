//! Offsets, wrap counters and event comparison of packed virtqueues: all there are in small rings, against counts of
//! descriptors since the beginning of time, which never wrap.

use std::vec::Vec;

use super::{EventWord, Position, STATE, WRITE};
use ringwright_spec::packed::EventFlags;

/// Descriptors after which a ring of `size` looks the same: two laps.
fn period(size: u16) -> u32 {
    2 * u32::from(size)
}

/// Offset and wrap counter of the descriptor at `count`.
fn place(count: u32, size: u16) -> (u16, bool) {
    let size = u32::from(size);
    ((count % size) as u16, (count / size).is_multiple_of(2))
}

fn available(count: u32, size: u16) -> Position {
    let (index, wrap) = place(count, size);
    Position::available(index, wrap)
}

fn used(count: u32, size: u16) -> Position {
    let (index, wrap) = place(count, size);
    Position::used(index, wrap)
}

/// What an end writes that wants to be notified of the descriptor at `count`.
fn event(count: u32, size: u16) -> EventWord {
    let (offset, wrap) = place(count, size);
    EventWord(u32::from(EventFlags::DESC.0) << 16 | u32::from(wrap) << 15 | u32::from(offset))
}

/// The sizes that are tried in full, and odd and large ones of which the ends of laps are.
fn positions() -> impl Iterator<Item = (u16, u32)> {
    let small = (1..=8).flat_map(|size| (0..period(size)).map(move |count| (size, count)));
    let large = [255, 256, 0x7fff, 0x8000_u16].into_iter().flat_map(|size| {
        // The last descriptors of one lap and the first of the other.
        (u32::from(size) - 3..u32::from(size) + 3)
            .chain(0..3)
            .map(move |count| (size, count))
    });
    small.chain(large)
}

#[test]
fn a_position_goes_on_lap_after_lap() {
    for size in 1..=8 {
        for start in 0..period(size) {
            for step in 0..=size {
                for at in [available, used] {
                    let mut position = at(start, size);
                    position.advance(step, size);
                    assert_eq!(
                        position,
                        at(start + u32::from(step), size),
                        "{start} + {step} of {size}"
                    );
                }
            }
        }
    }
    // The largest ring, whose sums come closest to 16 bits.
    for (size, step) in [(0x8000, 0x8000), (0x8000, 1), (0x7fff, 0x7fff)] {
        let mut position = Position::available(size - 1, true);
        position.advance(step, size);
        assert_eq!(position, Position::available(step - 1, false));
    }
}

#[test]
fn a_position_has_its_wrap_counter_and_event_word() {
    for (size, count) in positions() {
        let (offset, wrap) = place(count, size);
        for position in [available(count, size), used(count, size)] {
            assert_eq!((position.index, position.wrap()), (offset, wrap));
            assert_eq!(position.to_event(), offset | u16::from(wrap) << 15);
            assert_eq!(EventWord::at(position), event(count, size));
        }
    }
}

#[test]
fn a_descriptor_is_available_or_used_in_one_lap_only() {
    // By the document's sentences: available with AVAIL equal to the wrap counter and USED not, used with both equal to
    // it (section 2.8.1).
    const AVAIL: u64 = 1 << (48 + 7);
    const USED: u64 = 1 << (48 + 15);
    assert_eq!(STATE, AVAIL | USED);
    for others in [0, !STATE, WRITE] {
        for wrap in [false, true] {
            for bits in [0, AVAIL, USED, AVAIL | USED] {
                let (avail_bit, used_bit) = (bits & AVAIL != 0, bits & USED != 0);
                let tail = bits | others;
                assert_eq!(
                    Position::available(0, wrap).matches(tail),
                    avail_bit == wrap && used_bit != wrap
                );
                assert_eq!(
                    Position::used(0, wrap).matches(tail),
                    avail_bit == wrap && used_bit == wrap
                );
            }
        }
    }
}

#[test]
fn a_notification_is_wanted_exactly_when_the_event_was_passed() {
    for size in 1..=8 {
        for start in 0..period(size) {
            for added in 0..=size {
                let passed: Vec<u32> = (start..start + u32::from(added))
                    .map(|count| count % period(size))
                    .collect();
                for end in [available, used] {
                    let next = end(start + u32::from(added), size);
                    for wished in 0..period(size) {
                        assert_eq!(
                            event(wished, size).wanted(next, added, size, true),
                            passed.contains(&wished),
                            "event {wished}, {added} from {start} on of {size}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn an_event_at_the_end_of_a_large_ring_is_passed_once() {
    for (size, start) in positions() {
        for added in [1, size.div_ceil(2), size] {
            for offset in [0, 1, added - 1, added, size - 1] {
                // As many descriptors after the start.
                let wished = (start + u32::from(offset)) % period(size);
                let next = available(start + u32::from(added), size);
                assert_eq!(
                    event(wished, size).wanted(next, added, size, true),
                    offset < added,
                    "{offset} of {added} from {start} on of {size}"
                );
            }
        }
    }
}

#[test]
fn flags_without_an_event() {
    for (size, count) in positions() {
        let next = available(count, size);
        for low in [0, 0x8000, 0xffff] {
            for event_idx in [false, true] {
                let wanted = |flags: u32| EventWord(flags << 16 | low).wanted(next, 1, size, event_idx);
                assert!(wanted(EventFlags::ENABLE.0.into()));
                assert!(!wanted(EventFlags::DISABLE.0.into()));
                assert!(wanted(3), "reserved: rather too often");
                // Reserved bits above the flags mean nothing.
                assert!(!wanted(0xfffc | u32::from(EventFlags::DISABLE.0)));
                assert!(wanted(0xfffc | u32::from(EventFlags::ENABLE.0)));
            }
            let event = EventWord(u32::from(EventFlags::DESC.0) << 16 | low);
            assert!(event.wanted(next, 1, size, false), "no event without the feature");
        }
    }
}

#[test]
fn no_event_word_makes_trouble() {
    // Offsets beyond the ring, from an end that breaks the rules.
    for size in [1, 7, 0x8000] {
        for (index, wrap) in [(0, true), (size - 1, false), (size / 2, true)] {
            for low in 0..=u16::MAX {
                let word = EventWord(u32::from(EventFlags::DESC.0) << 16 | u32::from(low));
                word.wanted(Position::available(index, wrap), size, size, true);
            }
        }
    }
}
