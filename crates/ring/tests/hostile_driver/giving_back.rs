//! Buffers in flight: made available twice, completed twice, or outliving the rules.

use super::*;

#[test]
fn buffer_made_available_twice() {
    for start in STARTS {
        let mut driver = Hostile::split(start);
        driver.descriptor(2, DATA, 16, 0, 0);
        driver.offer(2);
        driver.offer(2);
        assert_eq!(driver.taken(), (16, 0));
        assert_eq!(driver.caught(), (Violation::InUse { id: 2 }, None));
        assert_eq!(driver.device.in_flight(), 1);
        let mut driver = Hostile::packed(start);
        driver.descriptor(0, DATA, 16, 2, AVAIL);
        driver.descriptor(1, DATA, 16, 2, AVAIL);
        assert_eq!(driver.taken(), (16, 0));
        let expected = (
            Violation::InUse { id: 2 },
            Some("drv:packed:the-virtqueue-descriptor-table:01"),
        );
        assert_eq!(driver.caught(), expected);
    }
}

#[test]
fn packed_buffer_id_beyond_the_queue_size() {
    for start in STARTS {
        for id in [SIZE, u16::MAX] {
            let mut driver = Hostile::packed(start);
            driver.descriptor(0, DATA, 16, id, AVAIL);
            assert_eq!(driver.caught(), (Violation::BufferId { id, size: SIZE }, None));
        }
    }
}

#[test]
fn a_broken_queue_still_gives_back_what_it_has() {
    for start in STARTS {
        for features in [SPLIT, PACKED] {
            let mut driver = Hostile::new(start, features);
            let flags = if features == SPLIT { (0, 0) } else { (0, AVAIL) };
            driver.descriptor(0, DATA, 16, flags.0, flags.1);
            driver.descriptor(1, 0, 16, flags.0 + u16::from(features == PACKED), flags.1);
            driver.offer(0);
            driver.offer(1);
            let token = driver.device.pop().unwrap().unwrap().into_token();
            assert_eq!(
                driver.device.pop().unwrap_err().kind,
                Violation::Address(Fault::Unmapped { address: 0 })
            );
            driver.device.complete(token, 0).unwrap();
            assert!(driver.device.publish().unwrap());
            assert!(driver.device.pop().is_err());
        }
    }
}

#[test]
fn completing_what_is_not_in_flight_is_refused_and_harmless() {
    for start in STARTS {
        for features in [
            SPLIT,
            PACKED,
            SPLIT | feature::IN_ORDER,
            PACKED | feature::IN_ORDER,
        ] {
            let mut driver = Hostile::new(start, features);
            let flags = if features.contains(feature::RING_PACKED) {
                (3, WRITE | AVAIL)
            } else {
                (WRITE, 0)
            };
            let id = if features.contains(feature::RING_PACKED) {
                3
            } else {
                0
            };
            driver.descriptor(0, DATA, 16, flags.0, flags.1);
            driver.offer(0);
            for stranger in [id, 5, SIZE, u16::MAX] {
                let error: RingError = driver.device.complete(Token::from_id(stranger), 0).unwrap_err();
                assert_eq!(error.kind, Violation::NotInFlight { id: stranger });
            }
            let token = driver.device.pop().unwrap().unwrap().into_token();
            let error = driver.device.complete(token, 17).unwrap_err();
            assert_eq!(
                error.kind,
                Violation::WrittenTooLong {
                    id,
                    written: 17,
                    writable: 16
                }
            );
            driver.device.complete(Token::from_id(id), 16).unwrap();
            let error = driver.device.complete(Token::from_id(id), 16).unwrap_err();
            assert_eq!(error.kind, Violation::NotInFlight { id });
            assert!(driver.device.publish().unwrap());
            assert_eq!((driver.device.in_flight(), driver.device.broken()), (0, None));
        }
    }
}
