//! Both ends of a virtqueue together: what a well-behaved pair can rely on.

mod common;

use common::{BOTH, Shared};

#[test]
fn bytes_go_there_and_back() {
    for features in BOTH {
        for indirect in [0, 8] {
            let features = features | ringwright_spec::feature::INDIRECT_DESC;
            let shared = Shared::new(1 << 20);
            let (mut driver, mut device) = shared.pair(8, features, indirect);
            for round in 0..50_u8 {
                let (request, answer) = (shared.buffer(4), shared.buffer(4));
                request.write(0, &[round, 1, 2, 3]).unwrap();
                driver
                    .add(&[request.segment()], &[answer.segment()], (request, answer))
                    .unwrap();
                assert!(device.pop().unwrap().is_none(), "not published yet");
                assert!(driver.publish());
                assert!(device.has_available());
                let chain = device.pop().unwrap().unwrap();
                let mut bytes = [0; 4];
                chain.readable().read(0, &mut bytes).unwrap();
                assert_eq!(bytes, [round, 1, 2, 3]);
                bytes.reverse();
                chain.writable().write(0, &bytes).unwrap();
                let token = chain.into_token();
                assert_eq!(device.in_flight(), 1);
                device.complete(token, 4).unwrap();
                assert!(driver.pop().unwrap().is_none(), "not published yet");
                assert!(device.publish().unwrap());
                let used = driver.pop().unwrap().unwrap();
                assert_eq!(used.written, 4);
                used.data.1.read(0, &mut bytes).unwrap();
                assert_eq!(bytes, [3, 2, 1, round]);
                assert!(driver.pop().unwrap().is_none());
                assert_eq!((driver.free(), driver.in_flight(), device.in_flight()), (8, 0, 0));
            }
        }
    }
}
