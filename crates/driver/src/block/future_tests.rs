//! Futures without an executor, and functions that wait.

use std::boxed::Box;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::vec;
use std::vec::Vec;

use ringwright_spec::feature;

use super::requests_tests::{buffer, device_with, drive, see};
use super::*;
use crate::testing::{Device, FORMATS, Fake};

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn shared(format: Features, size: u16) -> (Fake, Shared<Fake>, Device) {
    let config = Config {
        capacity: 100.into(),
        ..Config::default()
    };
    let fake = device_with(format | features::FLUSH, &config, size);
    let (disk, device) = drive(&fake, Options::default());
    (fake, Shared::new(disk), device)
}

#[test]
fn futures_end_when_the_device_has_finished() {
    for format in FORMATS {
        let (fake, shared, mut device) = shared(format, 16);
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let mut context = Context::from_waker(&waker);
        let mut first = pin!(shared.perform(0, Request::read(1, buffer(&fake, 512))));
        let mut second = pin!(shared.perform(0, Request::flush()));
        // Nothing is submitted before a future is polled.
        assert!(see(&mut device, &[]).is_empty());
        assert!(first.as_mut().poll(&mut context).is_pending());
        assert!(second.as_mut().poll(&mut context).is_pending());
        assert!(!shared.enable_notifications());
        assert_eq!(
            see(&mut device, &[7; 512]),
            [(0, 1, vec![], 513), (4, 0, vec![], 1)]
        );
        assert!(shared.enable_notifications());
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        assert_eq!(shared.process().unwrap(), 2);
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
        for (future, buffers) in [(&mut first, 1), (&mut second, 0)] {
            let Poll::Ready(Ok(completion)) = future.as_mut().poll(&mut context) else {
                panic!("not finished");
            };
            assert_eq!(completion.result, Ok(()));
            assert_eq!(completion.data.as_slice().len(), buffers);
            assert!(matches!(
                future.as_mut().poll(&mut context),
                Poll::Ready(Err(Failure::Ended))
            ));
        }
    }
}

#[test]
fn futures_wait_for_room_and_abandoned_requests_make_it() {
    for format in FORMATS {
        // Room for two requests.
        let (fake, shared, mut device) = shared(format, 6);
        let room = if format.contains(feature::RING_PACKED) {
            2
        } else {
            1
        };
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let mut context = Context::from_waker(&waker);
        for _ in 0..5 {
            let mut futures: Vec<_> = (0..room + 1)
                .map(|sector| Box::pin(shared.perform(0, Request::read(sector, buffer(&fake, 512)))))
                .collect();
            for future in &mut futures {
                assert!(future.as_mut().poll(&mut context).is_pending());
            }
            let mut last = futures.pop().unwrap();
            // Their buffers stay with the device.
            drop(futures);
            assert_eq!(see(&mut device, &[]).len(), room as usize);
            let before = count.0.load(Ordering::Relaxed);
            assert_eq!(shared.process().unwrap(), room as usize);
            assert_eq!(count.0.load(Ordering::Relaxed), before + 1);
            assert!(last.as_mut().poll(&mut context).is_pending());
            assert_eq!(see(&mut device, &[])[0].1, room);
            assert!(last.as_mut().poll(&mut context).is_ready());
        }
        drop(shared);
        assert!(fake.is_area_whole());
    }
}

#[test]
fn a_future_that_cannot_be_submitted_gives_its_request_back() {
    let (fake, shared, _device) = shared(feature::VERSION_1, 16);
    let mut context = Context::from_waker(Waker::noop());
    let mut future = pin!(shared.perform(0, Request::read(100, buffer(&fake, 512))));
    let Poll::Ready(Err(Failure::Refused(refused))) = future.as_mut().poll(&mut context) else {
        panic!("not refused");
    };
    assert_eq!(refused.reason, Refusal::BeyondCapacity(100));
    assert_eq!(refused.request.into_data().as_slice().len(), 1);
    let mut future = pin!(shared.perform(7, Request::flush()));
    assert!(matches!(
        future.as_mut().poll(&mut context),
        Poll::Ready(Err(Failure::Refused(Refused {
            reason: Refusal::NoQueue,
            ..
        })))
    ));
}

#[test]
fn functions_wait_and_cut_what_is_long() {
    for format in FORMATS {
        let config = Config {
            capacity: 100.into(),
            max_discard_sectors: 50.into(),
            max_discard_seg: 2.into(),
            ..Config::default()
        };
        let offered = format | features::FLUSH | features::DISCARD | features::LIFETIME;
        let fake = device_with(offered, &config, 16);
        let (disk, mut device) = drive(&fake, Options::default());
        let mut content = vec![0_u8; 100 * 512];
        let mut sizes = Vec::new();
        let serve = |_: &mut Fake| {
            device.serve(9, |readable, writable| {
                let at = readable[8] as usize * 512;
                let length = writable.len() - 1;
                match readable[0] {
                    0 => writable.write(0, &content[at..at + length]).unwrap(),
                    1 => content[at..at + readable.len() - 16].copy_from_slice(&readable[16..]),
                    8 => writable.write(0, b"serial\0").unwrap(),
                    10 => writable.write(0, &[1, 0, 2, 0, 3, 0]).unwrap(),
                    _ => {}
                }
                sizes.push(readable.len().max(length));
                writable.write(length, &[u8::from(readable[0] == 11)]).unwrap();
                writable.len() as u32
            });
        };
        let mut disk = Blocking::new(disk, 1100, serve);
        let written: Vec<u8> = (0..512 * 5).map(|at| (at / 100) as u8).collect();
        disk.write(3, &written).unwrap();
        let mut read = vec![0; 512 * 5];
        disk.read(3, &mut read).unwrap();
        assert!(read == written);
        disk.flush().unwrap();
        assert!(disk.id().unwrap().starts_with(b"serial\0"));
        let lifetime = disk.lifetime().unwrap();
        assert_eq!((lifetime.type_a, lifetime.type_b), (2, 3));
        let range = Range {
            sector: 1,
            sectors: 2,
            unmap: false,
        };
        assert!(matches!(
            disk.discard(&[range]),
            Err(BlockingError::Failed(BlockError::Io))
        ));
        assert!(matches!(
            disk.write(96, &written),
            Err(BlockingError::Refused(Refusal::BeyondCapacity(100)))
        ));
        drop(disk);
        assert!(sizes.iter().all(|size| *size <= 1024 + 16));
        assert!(fake.is_area_whole());
    }
}
