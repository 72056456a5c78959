//! Both ends at every kind of queue size, full and over several laps: ids given back in any order, and once.

mod common;

use common::{PACKED, SPLIT, Shared};
use ringwright_memory::Memory;
use ringwright_ring::{AddRefusal, DriverQueue, Layout, Token, Violation};
use ringwright_spec::packed::DescFlags;
use ringwright_spec::{Features, feature};

/// Queue sizes with their format: all small ones, and those where something could be one too short.
fn sizes() -> impl Iterator<Item = (u16, Features)> {
    let split = (0..=15).map(|bit| (1 << bit, SPLIT));
    let packed = (1..=17)
        .chain([100, 255, 256, 257, 1000, 4095, 16383, 32767, 32768])
        .map(|size| (size, PACKED));
    split.chain(packed)
}

/// Memory for the largest virtqueue and a few buffers.
fn shared() -> Shared {
    Shared::new(2 << 20)
}

fn is_packed(features: Features) -> bool {
    features.contains(feature::RING_PACKED)
}

/// The next number of a sequence without a pattern that matters.
fn next(seed: &mut u64) -> u64 {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

#[test]
fn a_full_queue_of_any_size_is_used_in_any_order() {
    for (size, features) in sizes() {
        let shared = shared();
        let (mut driver, mut device): (DriverQueue<u16>, _) = shared.pair(size, features, 0);
        let piece = [shared.buffer(8).segment()];
        let mut seed = size.into();
        // Two laps and more, so that ids come in another order than positions.
        for lap in 0..3 {
            for data in 0..size {
                driver.add(&[], &piece, data).unwrap();
            }
            let refused = driver.add(&[], &piece, 0).unwrap_err();
            assert_eq!((refused.reason, driver.free()), (AddRefusal::Full, 0));
            assert!(driver.publish());
            let mut tokens = Vec::new();
            while let Some(chain) = device.pop().unwrap() {
                assert_eq!(chain.writable().len(), 8);
                tokens.push(chain.into_token());
            }
            assert_eq!(
                (tokens.len(), device.in_flight()),
                (size.into(), size),
                "lap {lap}"
            );
            while !tokens.is_empty() {
                let token = tokens.swap_remove(next(&mut seed) as usize % tokens.len());
                let id = token.id();
                device.complete(token, u32::from(id) % 9).unwrap();
                // Once more at a few places, as it takes time.
                if tokens.len() % 64 == 0 {
                    let again = device.complete(Token::from_id(id), 0).unwrap_err();
                    assert_eq!(again.kind, Violation::NotInFlight { id });
                }
            }
            assert!(device.publish().unwrap());
            let mut seen = vec![false; size.into()];
            while let Some(used) = driver.pop().unwrap() {
                assert!(!std::mem::replace(&mut seen[usize::from(used.data)], true));
            }
            assert!(seen.iter().all(|seen| *seen));
            assert_eq!((driver.free(), driver.in_flight()), (size, 0));
        }
    }
}

#[test]
fn chains_of_the_whole_queue_and_one_longer() {
    for (size, features) in sizes() {
        let shared = shared();
        let (mut driver, mut device): (DriverQueue<()>, _) = shared.pair(size, features, 0);
        let piece = shared.buffer(1).segment();
        let chain = vec![piece; usize::from(size) + 1];
        let (longest, half) = (&chain[..usize::from(size)], usize::from(size) / 2);
        let refused = driver.add(&chain, &[], ()).unwrap_err();
        assert_eq!(refused.reason, AddRefusal::TooLong);
        for _ in 0..3 {
            driver.add(&longest[..half], &longest[half..], ()).unwrap();
            driver.publish();
            let chain = device.pop().unwrap().unwrap();
            assert_eq!(
                (chain.readable().len(), chain.writable().len()),
                (half, longest.len() - half)
            );
            let token = chain.into_token();
            assert!(device.pop().unwrap().is_none());
            device.complete(token, 1).unwrap();
            device.publish().unwrap();
            assert_eq!(driver.pop().unwrap().unwrap().written, 1);
            assert_eq!(driver.free(), size);
        }
    }
}

#[test]
fn ids_that_are_not_in_flight_are_refused_at_every_size() {
    for (size, features) in sizes() {
        // An id that is free, the first one beyond, and the last that can be said; then one that was just used.
        for id in [size - 1, size, u16::MAX] {
            let shared = shared();
            let (mut driver, device): (DriverQueue<()>, _) = shared.pair(size, features, 0);
            if size > 1 || id != 0 {
                driver.add(&[shared.buffer(1).segment()], &[], ()).unwrap();
                driver.publish();
            }
            use_by_hand(&shared.memory, device.layout(), is_packed(features), 0, id);
            let error = driver.pop().unwrap_err();
            if size > 1 || id != 0 || is_packed(features) {
                assert_eq!(error.kind, Violation::UsedId { id: id.into() }, "{size}");
            } else {
                // Nothing is in flight, so the index is wrong before the id is.
                assert!(matches!(error.kind, Violation::UsedIndex { .. }));
            }
        }
        if size == 1 {
            continue;
        }
        let shared = shared();
        let (mut driver, device): (DriverQueue<()>, _) = shared.pair(size, features, 0);
        let piece = [shared.buffer(1).segment()];
        for position in 0..2 {
            driver.add(&piece, &[], ()).unwrap();
            driver.publish();
            use_by_hand(&shared.memory, device.layout(), is_packed(features), position, 0);
        }
        assert!(driver.pop().unwrap().is_some());
        assert_eq!(
            driver.pop().unwrap_err().kind,
            Violation::UsedId { id: 0 },
            "{size}"
        );
    }
}

/// Writes the used entry or descriptor number `position`, which is in the first lap, with an id.
fn use_by_hand(memory: &Memory, layout: Layout, packed: bool, position: u16, id: u16) {
    let place = u64::from(position % layout.size);
    if packed {
        let tail = layout.descriptor_area + 16 * place + 8;
        let flags = DescFlags::AVAIL.0 | DescFlags::USED.0;
        memory.write(tail + 4, &id.to_le_bytes()).unwrap();
        memory.write(tail + 6, &flags.to_le_bytes()).unwrap();
    } else {
        let entry = layout.device_area + 4 + 8 * place;
        memory.write(entry, &u32::from(id).to_le_bytes()).unwrap();
        memory.write(entry + 4, &[0; 4]).unwrap();
        memory
            .write(layout.device_area + 2, &(position + 1).to_le_bytes())
            .unwrap();
    }
}
