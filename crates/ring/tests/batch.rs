//! Many buffers with one call, at the driver end: what is particular to that. What it has in common with buffers one by one is
//! in the model and with the hostile devices.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use common::{BOTH, PACKED, SPLIT, Shared};
use ringwright_memory::DmaSegment;
use ringwright_ring::{AddRefusal, DeviceQueue, DriverQueue, Violation};
use ringwright_spec::packed::DescFlags;
use ringwright_spec::{Features, feature};

/// Device-readable and device-writable elements, each of one byte.
type Shape = (usize, usize);

/// The shapes that have loops of their own, and others.
const SHAPES: [Shape; 8] = [(1, 1), (1, 0), (0, 1), (1, 2), (2, 1), (2, 2), (3, 0), (0, 4)];

/// Both ends of a virtqueue whose buffers are numbers.
struct Pair {
    shared: Shared,
    driver: DriverQueue<u32>,
    device: DeviceQueue,
}

impl Pair {
    fn new(size: u16, features: Features, indirect: u16) -> Self {
        let shared = Shared::new(1 << 20);
        let (driver, device) = shared.pair(size, features, indirect);
        Self {
            shared,
            driver,
            device,
        }
    }

    /// A chain of this shape. What is in it does not matter.
    fn chain(&self, (readable, writable): Shape, data: u32) -> (Vec<DmaSegment>, Vec<DmaSegment>, u32) {
        let segment = self.shared.buffer(1).segment();
        (vec![segment; readable], vec![segment; writable], data)
    }

    /// The device uses all buffers that it has; tells how many.
    fn use_all(&mut self) -> u16 {
        self.driver.publish();
        let handle = |chain: &ringwright_ring::Chain<'_>| Some(chain.writable().len() as u32);
        let served = self.device.serve(u16::MAX, handle).unwrap();
        self.device.publish().unwrap();
        served
    }

    /// Takes all used buffers, which must be these of this shape.
    fn take(&mut self, shape: Shape, expected: impl IntoIterator<Item = u32>) {
        let mut taken = Vec::new();
        self.driver
            .take_used(u16::MAX, |used| taken.push((used.data, used.written)))
            .unwrap();
        let expected = expected.into_iter().map(|data| (data, shape.1 as u32));
        assert_eq!(taken, expected.collect::<Vec<_>>());
    }
}

/// Formats and what matters to the driver end, and the longest chain that goes into a table.
fn set_ups() -> impl Iterator<Item = (Features, u16)> {
    let more = [
        Features::NONE,
        feature::EVENT_IDX,
        feature::IN_ORDER,
        feature::ORDER_PLATFORM,
    ];
    BOTH.into_iter()
        .flat_map(move |format| more.map(|more| format | more))
        .flat_map(|features| [(features, 0), (features | feature::INDIRECT_DESC, 3)])
}

#[test]
fn nothing_is_asked_for_after_a_refusal() {
    for (features, indirect) in set_ups() {
        for shape in SHAPES {
            let mut pair = Pair::new(4, features, indirect);
            let elements = (shape.0 + shape.1) as u16;
            let tabled = elements > 1 && elements <= indirect;
            let fit = u32::from(if tabled { 4 } else { 4 / elements });
            let mut asked = 0;
            let chains: Vec<_> = (0..9).map(|data| pair.chain(shape, data)).collect();
            let chains = chains.into_iter().inspect(|_| asked += 1);
            let refused = pair.driver.add_all(chains).unwrap_err();
            assert_eq!((refused.data, refused.reason), (fit, AddRefusal::Full));
            assert_eq!(asked, fit + 1);
            assert_eq!(u32::from(pair.use_all()), fit);
            pair.take(shape, 0..fit);
            assert_eq!(pair.driver.free(), 4);
        }
    }
}

#[test]
fn nothing_and_the_limit() {
    for (features, indirect) in set_ups() {
        let mut pair = Pair::new(16, features, indirect);
        let none: [([DmaSegment; 1], [DmaSegment; 1], u32); 0] = [];
        pair.driver.add_all(none).unwrap();
        assert!(!pair.driver.publish());
        assert_eq!(pair.driver.take_used(9, |_| unreachable!()), Ok(0));
        let chains = (0..7).map(|data| pair.chain((1, 1), data)).collect::<Vec<_>>();
        pair.driver.add_all(chains).unwrap();
        assert_eq!(pair.use_all(), 7);
        let mut next = 0;
        for (limit, taken) in [(0, 0), (2, 2), (1, 1), (9, 4), (9, 0)] {
            let result = pair.driver.take_used(limit, |used| {
                assert_eq!(used.data, next);
                next += 1;
            });
            assert_eq!(result, Ok(taken));
        }
    }
}

#[test]
fn buffers_of_2_to_the_32_bytes_and_of_more() {
    // SAFETY: no device reads or writes there.
    let segment = |length| unsafe { DmaSegment::new(0x1000, length) };
    let half = segment(1 << 31);
    let (most, one) = (segment(u32::MAX), segment(1));
    for features in BOTH {
        // In each place of a batch, and by itself.
        for before in 0..3 {
            let mut pair = Pair::new(16, features, 0);
            for data in 0..before {
                pair.driver.add(&[one], &[one], data).unwrap();
            }
            let just = [vec![half], vec![half, segment(0)]];
            for (data, writable) in just.iter().enumerate() {
                let data = before + data as u32;
                pair.driver.add_all([([half], writable, data)]).unwrap();
            }
            pair.driver.add_all([([most], vec![one], 90)]).unwrap();
            let free = pair.driver.free();
            let large = [
                (vec![most], vec![most]),
                (vec![half], vec![half, one]),
                (vec![one, half], vec![half]),
                (vec![most], vec![segment(2)]),
            ];
            for (readable, writable) in large {
                let refused = pair.driver.add_all([(&readable, &writable, 91)]).unwrap_err();
                assert_eq!((refused.data, refused.reason), (91, AddRefusal::TooLarge));
                let refused = pair.driver.add(&readable, &writable, 92).unwrap_err();
                assert_eq!((refused.data, refused.reason), (92, AddRefusal::TooLarge));
            }
            assert_eq!(pair.driver.free(), free);
            assert_eq!(u32::from(pair.driver.in_flight()), before + 3);
            let outstanding: Vec<u32> = pair.driver.reset().collect();
            assert_eq!(outstanding.len() as u32, before + 3);
        }
    }
}

#[test]
fn the_caller_panics_while_it_is_asked_for_more() {
    for (features, indirect) in set_ups() {
        for shape in SHAPES {
            let mut pair = Pair::new(64, features, indirect);
            for round in 0..30 {
                let chains: Vec<_> = (0..4).map(|data| pair.chain(shape, data)).collect();
                let last = round % 4;
                let chains = chains.into_iter().inspect(|chain| {
                    if chain.2 == last {
                        std::panic::resume_unwind(Box::new(()));
                    }
                });
                let driver = &mut pair.driver;
                catch_unwind(AssertUnwindSafe(|| driver.add_all(chains))).unwrap_err();
                assert_eq!(u32::from(pair.driver.in_flight()), last);
                // The queue goes on as if these were all.
                let more = pair.chain(shape, last);
                pair.driver.add_all([more]).unwrap();
                assert_eq!(u32::from(pair.use_all()), last + 1);
                pair.take(shape, 0..=last);
                assert_eq!((pair.driver.free(), pair.driver.in_flight()), (64, 0));
            }
        }
    }
}

#[test]
fn the_caller_panics_with_a_used_buffer() {
    for (features, indirect) in set_ups() {
        for shape in SHAPES {
            let mut pair = Pair::new(64, features, indirect);
            for round in 0..30 {
                let chains: Vec<_> = (0..5).map(|data| pair.chain(shape, data)).collect();
                pair.driver.add_all(chains).unwrap();
                assert_eq!(pair.use_all(), 5);
                let last = round % 5;
                let mut seen = Vec::new();
                let driver = &mut pair.driver;
                let take = || {
                    driver.take_used(9, |used| {
                        seen.push(used.data);
                        if used.data == last {
                            std::panic::resume_unwind(Box::new(()));
                        }
                    })
                };
                catch_unwind(AssertUnwindSafe(take)).unwrap_err();
                assert_eq!(seen, (0..=last).collect::<Vec<_>>());
                // That one is the caller's, the others come back.
                assert_eq!(u32::from(pair.driver.in_flight()), 4 - last);
                pair.take(shape, last + 1..5);
                assert_eq!((pair.driver.free(), pair.driver.in_flight()), (64, 0));
            }
        }
    }
}

#[test]
fn what_is_right_before_something_wrong_is_taken() {
    for (features, wrong) in [SPLIT, PACKED].into_iter().flat_map(|format| {
        // What a device must not say of the fourth buffer: an id that it does not have, or too many bytes.
        [(format, 9 << 32), (format, 2)]
    }) {
        for shape in SHAPES {
            let mut pair = Pair::new(64, features, 0);
            let chains: Vec<_> = (0..6).map(|data| pair.chain(shape, data)).collect();
            pair.driver.add_all(chains).unwrap();
            assert_eq!(pair.use_all(), 6);
            // One byte more than there are.
            let wrong = if wrong == 2 { shape.1 as u64 + 1 } else { wrong };
            let elements = (shape.0 + shape.1) as u64;
            let layout = pair.driver.layout();
            let expected = if features == PACKED {
                let place = layout.descriptor_area + 16 * 3 * elements + 8;
                let flags = DescFlags::AVAIL.0 | DescFlags::USED.0 | DescFlags::WRITE.0;
                let id = if wrong >> 32 == 0 { 3 << 32 } else { wrong };
                let tail = id | wrong & 0xffff_ffff | u64::from(flags) << 48;
                pair.shared.memory.write(place, &tail.to_le_bytes()).unwrap();
                (3, 9)
            } else {
                // Ids are those of the first descriptors.
                let (head, none) = (3 * elements, 6 * elements);
                let id = if wrong >> 32 == 0 { head } else { none };
                let place = layout.device_area + 4 + 8 * 3;
                let entry = id | (wrong & 0xffff_ffff) << 32;
                pair.shared.memory.write(place, &entry.to_le_bytes()).unwrap();
                (head as u16, none as u32)
            };
            let mut taken = Vec::new();
            let error = pair
                .driver
                .take_used(9, |used| taken.push(used.data))
                .unwrap_err();
            assert_eq!(taken, [0, 1, 2]);
            let kind = if wrong >> 32 == 0 {
                Violation::UsedLength {
                    id: expected.0,
                    written: wrong as u32,
                    writable: shape.1 as u64,
                }
            } else {
                Violation::UsedId { id: expected.1 }
            };
            assert_eq!(error.kind, kind, "{features:?} {shape:?}");
            assert_eq!(pair.driver.broken(), Some(&error));
            assert_eq!(pair.driver.take_used(9, |_| unreachable!()), Err(error));
            let more = pair.chain(shape, 6);
            assert_eq!(
                pair.driver.add_all([more]).unwrap_err().reason,
                AddRefusal::Broken
            );
            let mut outstanding: Vec<u32> = pair.driver.reset().collect();
            outstanding.sort_unstable();
            assert_eq!(outstanding, [3, 4, 5]);
        }
    }
}
