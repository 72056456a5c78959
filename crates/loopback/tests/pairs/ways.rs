//! What the pairs over buses share: which ring formats there are over which interface, and the four
//! drivers, each put to work on a device that nobody has used yet.

use std::sync::Arc;

use ringwright_device::Device;
use ringwright_device::block::ZoneModel;
use ringwright_driver::block::Block;
use ringwright_driver::console::Console;
use ringwright_driver::entropy::Entropy;
use ringwright_driver::init::Setup;
use ringwright_driver::network::Network;
use ringwright_driver::session::Session;
use ringwright_driver::{DriverError, Options, Transport};
use ringwright_memory::{Area, Buffer};
use ringwright_ring::{DriverOptions, DriverQueue};
use ringwright_spec::{Features, feature};

use crate::common::*;
use crate::{block, console, disk, entropy, network};

/// A ring format, and the greatest size of a virtqueue.
pub type Shape = (Features, u16);

/// The ring formats of legacy interfaces. All drivers accept ANY_LAYOUT.
pub fn legacy_shapes(size: u16) -> Vec<Shape> {
    let bits = [
        Features::NONE,
        feature::EVENT_IDX,
        feature::INDIRECT_DESC,
        feature::EVENT_IDX | feature::INDIRECT_DESC,
    ];
    bits.map(|bits| (bits | feature::ANY_LAYOUT, size)).into()
}

/// A device that is joined with its driver.
pub trait Way: Copy {
    /// The driver's transport.
    type Transport: Transport;

    /// The ring format that is negotiated.
    fn shape(&self) -> Shape;

    /// Joins a device with a driver to come.
    fn join(&self, device: Box<dyn Device>) -> (Self::Transport, Arc<Area>);

    /// Waits for a notification, and takes it.
    fn wait(transport: &mut Self::Transport);

    /// What is to hold at the end.
    fn check(&self, _transport: &mut Self::Transport) {}
}

fn options_of(way: &impl Way) -> Options {
    let (format, size) = way.shape();
    options(format, size)
}

fn check_features(way: &impl Way, features: Features) {
    let (format, _) = way.shape();
    assert_eq!(features & !feature::DEVICE_TYPE_BITS, format);
}

fn check_whole(area: &Arc<Area>) {
    let rest = area.allocate(area.len(), 1);
    assert!(rest.is_some(), "all memory is free again");
}

pub fn entropy<W: Way>(way: W) {
    let (transport, area) = way.join(Box::new(entropy::device()));
    let mut driver = Entropy::new(transport, &area, options_of(&way)).unwrap();
    check_features(&way, driver.session().features());
    entropy::exercise(&mut driver, &area, way.shape().1, false, W::wait);
    way.check(driver.session().transport());
    drop(driver);
    check_whole(&area);
}

pub fn block<W: Way>(way: W, seed: u64) {
    let (transport, area) = way.join(Box::new(block::device()));
    let mut disk = Block::new(transport, &area, block::QUEUES, options_of(&way)).unwrap();
    check_features(&way, disk.session().features());
    block::exercise(&mut disk, &area, seed, W::wait);
    way.check(disk.session().transport());
    drop(disk);
    check_whole(&area);
}

/// Every request of a disk; on modern interfaces those of zoned ones as well.
pub fn disk<W: Way>(way: W) {
    let (transport, area) = way.join(Box::new(disk::device()));
    let driver = Block::new(transport, &area, 1, options_of(&way)).unwrap();
    disk::exercise(driver, &area, W::wait);
    check_whole(&area);
    if way.shape().0.contains(feature::VERSION_1) {
        let (transport, area) = way.join(Box::new(disk::zoned_device(ZoneModel::HostManaged)));
        let driver = Block::new(transport, &area, 1, options_of(&way)).unwrap();
        disk::exercise_zones(driver, W::wait);
        check_whole(&area);
    }
}

pub fn console<W: Way>(way: W) {
    let (device, far) = console::device();
    let (transport, area) = way.join(Box::new(device));
    let mut driver = Console::new(transport, &area, options_of(&way)).unwrap();
    check_features(&way, driver.session().features());
    console::exercise(&mut driver, far, W::wait);
    way.check(driver.session().transport());
    drop(driver);
    check_whole(&area);
}

pub fn network<W: Way>(way: W) {
    let (device, far) = network::device(Some(1500));
    let (transport, area) = way.join(Box::new(device));
    let mut driver = Network::new(transport, &area, options_of(&way)).unwrap();
    check_features(&way, driver.session().features());
    assert_eq!(
        (driver.mac(), driver.link_up().unwrap()),
        (Some(network::MAC), true)
    );
    let far = network::exercise(&mut driver, far, W::wait);
    // The configuration changes, and the driver is told.
    drop(far);
    let deadline = Deadline::new();
    while driver.link_up().unwrap() {
        deadline.check();
        W::wait(driver.session().transport());
    }
    way.check(driver.session().transport());
    drop(driver);
    check_whole(&area);
}

/// A source of randomness without its driver, whose one virtqueue is driven here.
fn source<W: Way>(way: W) -> (Session<W::Transport>, DriverQueue<Buffer>, Arc<Area>) {
    use ringwright_spec::entropy::{DEVICE, REQUESTQ};

    let (transport, area) = way.join(Box::new(entropy::device()));
    let setup = Setup::begin(transport, &area, &DEVICE, Features::NONE, options_of(&way));
    let mut setup = setup.unwrap();
    let queue = setup.queue(REQUESTQ, 1).unwrap();
    (setup.finish().unwrap(), queue, area)
}

/// Adds a request, shows it to the device if that is allowed, and waits for the answer.
fn request<W: Way>(
    session: &mut Session<W::Transport>,
    queue: &mut DriverQueue<Buffer>,
) -> Result<(), DriverError> {
    let buffer = session.allocate(8).unwrap();
    queue.add(&[], &[buffer.segment()], buffer).unwrap();
    session.publish(0, queue)?;
    let deadline = Deadline::new();
    while queue.in_flight() > 0 {
        deadline.check();
        if queue.pop()?.is_none() && !queue.enable_notifications() {
            W::wait(session.transport());
        }
    }
    Ok(())
}

/// A virtqueue is reset with a buffer in it, and used again, in another size.
pub fn reset_a_queue<W: Way>(way: W) {
    let (mut session, mut queue, area) = source(way);
    for size in [4, 8, 2, 8] {
        request::<W>(&mut session, &mut queue).unwrap();
        let buffer = area.allocate(8, 8).unwrap();
        queue.add(&[], &[buffer.segment()], buffer).unwrap();
        assert_eq!(session.reset_queue(0, &mut queue).unwrap().count(), 1);
        queue = DriverQueue::new(&area, size, session.features(), DriverOptions::default()).unwrap();
        session.enable_queue(0, &queue).unwrap();
    }
    request::<W>(&mut session, &mut queue).unwrap();
    session.check().unwrap();
}

/// A device is suspended and resumed.
pub fn suspend<W: Way>(way: W) {
    let (mut session, mut queue, _area) = source(way);
    for _ in 0..3 {
        request::<W>(&mut session, &mut queue).unwrap();
        session.suspend().unwrap();
        assert!(matches!(
            session.publish(0, &mut queue),
            Err(DriverError::NotLive)
        ));
        session.resume().unwrap();
    }
    request::<W>(&mut session, &mut queue).unwrap();
    session.check().unwrap();
    // It is also reset while it is suspended.
    session.suspend().unwrap();
}
