use super::*;
use crate::testing::{FORMATS, Fake};

const LENGTH: usize = 1 << 20;

#[test]
fn buffers_come_back_with_what_was_written() {
    for features in FORMATS {
        let fake = Fake::new(DEVICE.id, features, &[4], LENGTH);
        let area = fake.area();
        let mut driver = Entropy::new(fake.clone(), &area, Fake::options(features)).unwrap();
        let mut device = fake.device(REQUESTQ);
        for round in 0..10u8 {
            let buffers = || area.allocate(32, 1).unwrap();
            for _ in 0..4 {
                driver.request(buffers()).unwrap().unwrap();
            }
            let returned = driver.request(buffers()).unwrap().unwrap_err();
            assert_eq!(returned.len(), 32, "the fifth is given back");
            assert!(driver.poll().unwrap().is_none());
            assert!(!driver.enable_notifications());
            let mut next = 0;
            let served = device.serve(9, |readable, writable| {
                assert_eq!((readable.len(), writable.len()), (0, 32));
                next += 1;
                writable.write(0, &[round; 4][..next]).unwrap();
                next as u32
            });
            assert_eq!(served, 4);
            assert!(driver.enable_notifications());
            for expected in 1..=4 {
                let (buffer, written) = driver.poll().unwrap().unwrap();
                let mut bytes = [0xff; 4];
                buffer.read(0, &mut bytes[..written]).unwrap();
                assert_eq!((written, &bytes[..written]), (expected, &[round; 4][..expected]));
            }
            assert!(driver.poll().unwrap().is_none());
        }
        drop(driver);
        assert!(fake.is_area_whole());
    }
}

#[test]
fn lies_are_errors() {
    for features in FORMATS {
        for (id, written) in [(0, 33), (3, 1), (4, 1), (0xffff, 0)] {
            let fake = Fake::new(DEVICE.id, features, &[4], LENGTH);
            let area = fake.area();
            let mut driver = Entropy::new(fake.clone(), &area, Fake::options(features)).unwrap();
            driver.request(area.allocate(32, 1).unwrap()).unwrap().unwrap();
            fake.lie(REQUESTQ, id, written);
            for _ in 0..2 {
                assert!(matches!(driver.poll(), Err(DriverError::Ring(_))));
            }
            let returned = driver.request(area.allocate(32, 1).unwrap()).unwrap();
            assert!(returned.is_err(), "a broken virtqueue takes nothing more");
            drop((driver, returned));
            assert!(fake.is_area_whole());
        }
    }
}
