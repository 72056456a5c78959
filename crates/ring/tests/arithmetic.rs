//! Indices, positions and places of virtqueues: all there are at small sizes, against the document's definitions.

mod common;

use common::{BASE, PACKED, SPLIT, Shared};
use ringwright_memory::DmaSegment;
use ringwright_ring::{ByteOrder, DeviceQueue, DriverQueue, Layout, SetupError, State};
use ringwright_spec::Features;
use ringwright_spec::split::{LegacyLayout, need_event};

/// The event was passed if it is one of the entries from the old index up to, but not including, the new one. All indices of
/// eight bits, in the upper half of words of sixteen: there the comparison wraps where those of eight bits do.
#[test]
fn a_notification_is_needed_exactly_when_the_event_was_passed() {
    let wide = |index: u8| u16::from(index) << 8;
    for old in 0..=u8::MAX {
        let mut passed = [false; 256];
        for count in 0..=u8::MAX {
            let new = old.wrapping_add(count);
            for event in 0..=u8::MAX {
                assert_eq!(
                    need_event(wide(event), wide(new), wide(old)),
                    passed[usize::from(event)],
                    "{event} {new} {old}"
                );
            }
            passed[usize::from(new)] = true;
        }
    }
}

/// The same for all events, where batches are as long as they can be and indices are about to wrap.
#[test]
fn a_notification_is_needed_exactly_when_the_event_was_passed_of_all_sixteen_bits() {
    for old in [0, 1, 0x7fff, 0x8000, 0xfffe, 0xffff_u16] {
        for count in [0, 1, 2, 0x7fff, 0x8000, 0x8001, 0xffff_u16] {
            for event in 0..=u16::MAX {
                let passed = event.wrapping_sub(old) < count;
                assert_eq!(need_event(event, old.wrapping_add(count), old), passed);
            }
        }
    }
}

/// All states of packed virtqueues with so many descriptors.
fn packed_states(size: u16) -> impl Iterator<Item = State> {
    let places = move || (0..size).flat_map(|offset| [(offset, false), (offset, true)]);
    places().flat_map(move |(next_available, available_wrap)| {
        places().map(move |(next_used, used_wrap)| State {
            next_available,
            available_wrap,
            next_used,
            used_wrap,
        })
    })
}

#[test]
fn packed_states_and_vring_bases_are_the_same() {
    for size in (1..=16).chain([17, 31]) {
        for state in packed_states(size) {
            let base = state.to_vring_base(true);
            let half = |offset: u16, wrap: bool| u32::from(offset) + if wrap { 0x8000 } else { 0 };
            let expected = half(state.next_available, state.available_wrap)
                + half(state.next_used, state.used_wrap) * 0x1_0000;
            assert_eq!(base, expected);
            if base == 0 {
                // Also what somebody says who knows nothing of packed virtqueues.
                assert_eq!(State::from_vring_base(base, true), State::default());
            } else {
                assert_eq!(State::from_vring_base(base, true), state);
            }
        }
    }
}

#[test]
fn split_states_and_vring_bases_are_the_same() {
    for next_available in 0..=u16::MAX {
        let state = State {
            next_available,
            next_used: next_available,
            ..State::default()
        };
        assert_eq!(state.to_vring_base(false), u32::from(next_available));
        assert_eq!(State::from_vring_base(next_available.into(), false), state);
    }
}

#[test]
fn a_device_end_starts_at_every_state_of_its_size_and_at_no_other() {
    let shared = Shared::new(1 << 16);
    let layout = |size| Layout {
        size,
        descriptor_area: BASE,
        driver_area: BASE + 0x1000,
        device_area: BASE + 0x2000,
    };
    let start = |size, features, state| {
        let queue = DeviceQueue::new(layout(size), features, shared.memory.clone(), state);
        queue.map(|queue| queue.state())
    };
    let refused = |size, state: State| {
        Err(SetupError::State {
            next_available: state.next_available,
            next_used: state.next_used,
            size,
        })
    };
    for size in 1..=8 {
        // Positions up to twice the size, of which half do not exist.
        for state in packed_states(2 * size) {
            let exists = state.next_available < size && state.next_used < size;
            let expected = if exists { Ok(state) } else { refused(size, state) };
            assert_eq!(start(size, PACKED, state), expected);
        }
        if !size.is_power_of_two() {
            continue;
        }
        for next_used in [0, 1, 0x7fff, 0xfff8, 0xffff_u16] {
            for ahead in (0..=2 * size).chain([0x8000, 0xfffe, 0xffff]) {
                let state = State {
                    next_available: next_used.wrapping_add(ahead),
                    next_used,
                    ..State::default()
                };
                let expected = if ahead <= size {
                    Ok(state)
                } else {
                    refused(size, state)
                };
                assert_eq!(start(size, SPLIT, state), expected);
            }
        }
    }
}

/// Both ends go on buffer by buffer through four laps, and for buffers of every length: where the device end stands,
/// and that another one finds that in the virtqueue.
#[test]
fn states_step_by_step() {
    for size in 1..=8_u16 {
        for length in 1..=size {
            step_by_step(size, PACKED, length);
            if size.is_power_of_two() {
                step_by_step(size, SPLIT, length);
            }
        }
    }
}

fn step_by_step(size: u16, features: Features, length: u16) {
    let packed = features == PACKED;
    let shared = Shared::new(1 << 16);
    let (mut driver, mut device): (DriverQueue<()>, _) = shared.pair(size, features, 0);
    let element = shared.buffer(1);
    let chain: Vec<DmaSegment> = (0..length).map(|_| element.segment()).collect();
    // Descriptors, or entries of the ring.
    let unit = if packed { length } else { 1 };
    let place = |count: u16| {
        if packed {
            (count % size, (count / size).is_multiple_of(2))
        } else {
            (count, true)
        }
    };
    let mut buffers = 0;
    while buffers < 4 * size {
        let state = |available: u16, used: u16| {
            let ((next_available, available_wrap), (next_used, used_wrap)) = (place(available), place(used));
            State {
                next_available,
                available_wrap,
                next_used,
                used_wrap,
            }
        };
        let (before, after) = (buffers * unit, (buffers + 1) * unit);
        driver.add(&chain, &[], ()).unwrap();
        driver.publish();
        assert_eq!(device.state(), state(before, before));
        let token = device.pop().unwrap().unwrap().into_token();
        assert_eq!(device.state(), state(after, before));
        device.complete(token, 0).unwrap();
        assert_eq!(device.state(), state(after, before), "not published yet");
        device.publish().unwrap();
        assert_eq!(device.state(), state(after, after));
        let base = device.state().to_vring_base(packed);
        let layout = device.layout();
        let found = DeviceQueue::state_at_base(base, &layout, packed, &shared.memory, ByteOrder::Little);
        assert_eq!(found, Ok(state(after, after)), "{size} {length} {buffers}");
        let (next, wrap) = place(after);
        assert_eq!(
            driver.notification_data(9) >> 16,
            u32::from(next) | if packed { u32::from(wrap) << 15 } else { 0 }
        );
        assert!(driver.pop().unwrap().is_some());
        buffers += 1;
    }
}

/// Batches of all lengths and shapes, from every place on: where they lie, and that they come back.
#[test]
fn batches_from_every_place_on() {
    let shapes = [(1, 0), (0, 1), (1, 1), (1, 2), (2, 1), (2, 2)];
    for size in 1..=8_u16 {
        for shape in shapes {
            for count in 1..=size + 1 {
                batches(size, PACKED, shape, count);
                if size.is_power_of_two() {
                    batches(size, SPLIT, shape, count);
                }
            }
        }
    }
}

fn batches(size: u16, features: Features, (readable, writable): (u16, u16), count: u16) {
    let packed = features == PACKED;
    let shared = Shared::new(1 << 16);
    let (mut driver, mut device): (DriverQueue<u16>, _) = shared.pair(size, features, 0);
    let element = shared.buffer(3).segment();
    let part = |elements: u16| vec![element; elements.into()];
    let length = readable + writable;
    let fit = (size / length).min(count);
    // Descriptors or entries passed since the start.
    let mut passed = 0_u32;
    let mut pass = |buffers: u16, elements: u16| {
        let unit = if packed { elements } else { 1 };
        passed += u32::from(buffers * unit);
        let lap = passed / u32::from(size);
        if packed {
            (passed % u32::from(size)) | (u32::from(lap.is_multiple_of(2)) << 15)
        } else {
            passed
        }
    };
    for _ in 0..2 * size {
        let result = driver.add_all((0..count).map(|data| (part(readable), part(writable), data)));
        let refused = result.err().map(|error| error.data);
        assert_eq!(refused, (fit < count).then_some(fit));
        assert_eq!((driver.free(), driver.in_flight()), (size - fit * length, fit));
        driver.publish();
        assert_eq!(driver.notification_data(0) >> 16, pass(fit, length));
        let mut ids = Vec::new();
        for _ in 0..fit {
            let chain = device.pop().unwrap().unwrap();
            assert_eq!(chain.readable().len(), 3 * usize::from(readable));
            assert_eq!(chain.writable().len(), 3 * usize::from(writable));
            assert!(!ids.contains(&chain.id()));
            ids.push(chain.id());
            let token = chain.into_token();
            device.complete(token, (3 * writable).into()).unwrap();
        }
        assert!(device.pop().unwrap().is_none());
        device.publish().unwrap();
        let mut taken = 0;
        for limit in [fit / 2, u16::MAX] {
            let before = taken;
            let result = driver.take_used(limit, |used| {
                assert_eq!((used.data, used.written), (taken, (3 * writable).into()));
                taken += 1;
            });
            assert_eq!(result, Ok(taken - before));
        }
        assert_eq!((taken, driver.free(), driver.in_flight()), (fit, size, 0));
        // The next batch starts one place later than it would.
        driver.add(&[element], &[], 0).unwrap();
        driver.publish();
        assert_eq!(driver.notification_data(0) >> 16, pass(1, 1));
        let token = device.pop().unwrap().unwrap().into_token();
        device.complete(token, 0).unwrap();
        device.publish().unwrap();
        assert_eq!(driver.take_used(2, |_| {}), Ok(1));
    }
}

/// Section 2.7.2: `virtq_size`, with ALIGN rounding up, as its sentences say.
fn virtq_size(qsz: u64, qalign: u64) -> (u64, u64) {
    let align = |x: u64| x.div_ceil(qalign) * qalign;
    let used = align(16 * qsz + 2 * (3 + qsz));
    (used, used + align(2 * 3 + 8 * qsz))
}

#[test]
fn legacy_virtqueues_are_where_the_formula_says() {
    for size in (0..16).map(|bit| 1_u16 << bit) {
        for queue_align in (0..32).map(|bit| 1_u32 << bit) {
            let (used, length) = virtq_size(size.into(), queue_align.into());
            let parts = LegacyLayout::new(size, queue_align).unwrap();
            assert_eq!(
                (parts.avail, parts.used, parts.size),
                (16 * u64::from(size), used, length)
            );
            for page_size in (0..32).map(|bit| 1_u32 << bit) {
                for page in [0, 1, 0xabcde, u32::MAX] {
                    let start = u64::from(page) * u64::from(page_size);
                    let layout = Layout::legacy(page, page_size, size, queue_align).unwrap();
                    let expected = Layout {
                        size,
                        descriptor_area: start,
                        driver_area: start + 16 * u64::from(size),
                        device_area: start + used,
                    };
                    assert_eq!(layout, expected);
                    assert_eq!(layout.page_frame_number(page_size), Some(page));
                }
            }
        }
    }
}

#[test]
fn legacy_virtqueues_that_cannot_be() {
    for not_a_power in [0, 3, 4095, 4097, u32::MAX] {
        assert_eq!(Layout::legacy(1, not_a_power, 8, 4096), None);
        assert_eq!(Layout::legacy(1, 4096, 8, not_a_power), None);
    }
    let layout = |descriptor_area| Layout {
        size: 8,
        descriptor_area,
        ..Layout::default()
    };
    assert_eq!(layout(0x1000).page_frame_number(0), None);
    assert_eq!(layout(0x1800).page_frame_number(4096), None);
    assert_eq!(layout(0x1800).page_frame_number(2048), Some(3));
    assert_eq!(
        layout(0xffff_ffff_f000).page_frame_number(4096),
        None,
        "more than 32 bits"
    );
    assert_eq!(layout(0xfff_ffff_f000).page_frame_number(4096), Some(u32::MAX));
}
