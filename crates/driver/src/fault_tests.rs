//! Transports that fail, at every call there is: no panic, no device left running, no memory lost.

use alloc::sync::Arc;
use std::vec;

use ringwright_memory::{Area, Slices};
use ringwright_spec::{DeviceType, Features, feature};

use crate::block::{Block, Request};
use crate::console::Console;
use crate::entropy::Entropy;
use crate::network::Network;
use crate::testing::{FORMATS, Fake};
use crate::{DriverError, Options, TransportError};

const LENGTH: usize = 1 << 20;

type Life = fn(Fake, &Arc<Area>) -> Result<(), DriverError>;

/// Everything that the devices offer which a driver reads the configuration space for.
const OFFERED: Features = Features(0xffff_ffff & feature::DEVICE_TYPE_BITS.0);

fn options() -> Options {
    Options {
        queue_size: 8,
        ..Options::default()
    }
}

/// Answers everything that is available.
fn answer(fake: &Fake, queue: u16) {
    fake.device(queue).serve(99, |_, writable: Slices<'_>| {
        writable.fill(0, writable.len(), 0).unwrap();
        writable.len() as u32
    });
}

fn entropy(fake: Fake, area: &Arc<Area>) -> Result<(), DriverError> {
    let mut driver = Entropy::new(fake.clone(), area, options())?;
    driver.request(area.allocate(16, 1).unwrap())?.unwrap();
    driver.session().check()?;
    answer(&fake, 0);
    driver.poll()?.unwrap();
    driver.request(area.allocate(16, 1).unwrap())?.unwrap();
    Ok(())
}

fn block(fake: Fake, area: &Arc<Area>) -> Result<(), DriverError> {
    let mut disk = Block::new(fake.clone(), area, 2, options())?;
    for queue in [0, 1] {
        let read = Request::read(0, area.allocate(512, 1).unwrap());
        disk.submit(queue, read, 0).unwrap();
        disk.publish(queue)?;
    }
    answer(&fake, 0);
    disk.poll(0)?.unwrap().result.unwrap();
    disk.submit(0, Request::flush(), 0).unwrap();
    disk.publish(0)
}

fn console(fake: Fake, area: &Arc<Area>) -> Result<(), DriverError> {
    let mut driver = Console::new(fake.clone(), area, options())?;
    driver.size()?.unwrap();
    driver.write(b"out")?;
    answer(&fake, 0);
    assert_eq!(driver.read(&mut [0; 3000])?, 3000);
    driver.write(b"more").map(drop)
}

fn network(fake: Fake, area: &Arc<Area>) -> Result<(), DriverError> {
    let mut driver = Network::new(fake.clone(), area, options())?;
    driver.link_up()?;
    driver.send(&[1; 60])?;
    driver.publish()?;
    fake.device(0).serve(1, |_, writable| {
        writable.write(0, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]).unwrap();
        72
    });
    assert_eq!(driver.receive(&mut [0; 60])?, Some(60));
    driver.publish()
}

/// A device for `driver`, which works.
fn device(driver: &DeviceType, format: Features) -> Fake {
    let fake = Fake::new(driver.id, format | OFFERED, &[8; 3], LENGTH);
    // A capacity, a size_max and a blk_size that are possible, a size of the console, an MTU of 512, two queues.
    fake.board().config = vec![0; 128];
    let put = |at: usize, bytes: &[u8]| fake.board().config[at..at + bytes.len()].copy_from_slice(bytes);
    match driver.id {
        1 => put(10, &[0, 2]),
        2 => {
            put(0, &[100]);
            put(9, &[2]);
            put(12, &[4]);
            put(21, &[2]);
            put(34, &[2]);
        }
        _ => put(0, &[80, 0, 25, 0]),
    }
    fake
}

fn drivers() -> [(&'static DeviceType, Life); 4] {
    [
        (&ringwright_spec::entropy::DEVICE, entropy),
        (&ringwright_spec::block::DEVICE, block),
        (&ringwright_spec::console::DEVICE, console),
        (&ringwright_spec::network::DEVICE, network),
    ]
}

#[test]
fn every_call_can_fail() {
    for (driver, life) in drivers() {
        for format in FORMATS {
            let fake = device(driver, format);
            life(fake.clone(), &fake.area()).unwrap();
            let calls = fake.calls();
            assert!(calls > 15 && !fake.is_live() && fake.is_area_whole());
            for number in 0..calls {
                // Once, or from then on; with or without effect.
                for (end, heard) in [
                    (number + 1, false),
                    (number + 1, true),
                    (usize::MAX, false),
                    (usize::MAX, true),
                ] {
                    let fake = device(driver, format);
                    fake.board().faults = number..end;
                    fake.board().heard = heard;
                    let outcome = life(fake.clone(), &fake.area());
                    let at = (driver.name, number, end, heard);
                    match outcome {
                        Err(DriverError::Transport(TransportError::Gone)) => {
                            // Unless it is gone for good, it has been told to stop.
                            assert!(end == usize::MAX || !fake.is_live(), "{at:?}");
                        }
                        Err(error) => panic!("{at:?}: {error}"),
                        // Only the reset at the end was left to fail.
                        Ok(()) => assert!(number + 8 > calls, "{at:?}"),
                    }
                    assert!(fake.is_area_whole(), "{at:?}");
                }
            }
        }
    }
}
