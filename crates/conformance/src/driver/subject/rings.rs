//! A driver of a disk that is our initialization and our rings, and nothing else: it can do all that they can.

use std::mem::offset_of;

use ringwright_driver::init::Setup;
use ringwright_driver::session::Session;
use ringwright_driver::{DriverError, Transport};
use ringwright_memory::{Area, Buffer};
use ringwright_ring::DriverQueue;
use ringwright_spec::block::{self, Config, features};
use ringwright_spec::feature;
use std::sync::Arc;

use super::Seat;
use crate::driver::scenario::Act;

/// Rounds of requests, so that rings wrap.
const ROUNDS: usize = 20;
/// How often a driver waits for a buffer before it gives up.
const PATIENCE: usize = 50;

/// One life with the device.
pub(super) fn live(seat: &mut Seat) -> Result<(), DriverError> {
    let understood = features::BLK_SIZE | features::SEG_MAX | features::FLUSH;
    let mut setup = Setup::begin(
        &mut *seat.transport,
        &seat.area,
        &block::DEVICE,
        understood,
        seat.options,
    )?;
    let _capacity: u64 = setup.session().config(offset_of!(Config, capacity))?;
    if setup.features().contains(features::BLK_SIZE) {
        let _size: u32 = setup.session().config(offset_of!(Config, blk_size))?;
    }
    let mut queue = setup.queue(block::REQUESTQ1, 3)?;
    let mut session = setup.finish()?;
    let mut driver = Rings {
        area: seat.area.clone(),
        wait: &mut seat.wait,
        session: &mut session,
        queue: &mut queue,
    };
    match seat.act {
        Act::Work | Act::Twice => driver.work(ROUNDS),
        Act::Leave => driver.send(2),
        Act::Suspend => {
            driver.work(3)?;
            if driver.session.has(feature::SUSPEND) {
                driver.session.suspend()?;
                (driver.wait)();
                driver.session.resume()?;
            }
            driver.work(3)
        }
        Act::ResetQueue => {
            driver.work(3)?;
            if driver.session.has(feature::RING_RESET) {
                drop(driver.session.reset_queue(block::REQUESTQ1, driver.queue)?);
                driver.session.enable_queue(block::REQUESTQ1, driver.queue)?;
            }
            driver.work(3)
        }
    }
}

struct Rings<'a, T: Transport> {
    area: Arc<Area>,
    wait: &'a mut (dyn FnMut() + Send),
    session: &'a mut Session<T>,
    queue: &'a mut DriverQueue<[Buffer; 3]>,
}

impl<T: Transport> Rings<'_, T> {
    /// Reads, some at a time.
    fn work(&mut self, rounds: usize) -> Result<(), DriverError> {
        for round in 0..rounds {
            self.send(1 + round % 4)?;
            self.receive()?;
        }
        Ok(())
    }

    /// Makes up to `most` reads available.
    fn send(&mut self, most: usize) -> Result<(), DriverError> {
        for _ in 0..most {
            let buffers = self.buffers()?;
            let [head, data, status] = [0, 1, 2].map(|number: usize| buffers[number].segment());
            if self.queue.add(&[head], &[data, status], buffers).is_err() {
                break;
            }
        }
        self.session.publish(block::REQUESTQ1, self.queue)
    }

    /// Takes everything that is outstanding.
    fn receive(&mut self) -> Result<(), DriverError> {
        let mut waited = 0;
        while self.queue.in_flight() != 0 {
            if self.queue.pop()?.is_some() {
                continue;
            }
            if !self.queue.enable_notifications() {
                (self.wait)();
                self.session.transport().take_interrupt()?;
                waited += 1;
                if waited > PATIENCE {
                    return Err(DriverError::NotLive);
                }
            }
        }
        Ok(())
    }

    fn buffers(&self) -> Result<[Buffer; 3], DriverError> {
        let make = |length| {
            self.area
                .allocate(length, 16)
                .ok_or(DriverError::OutOfMemory(length))
        };
        let head = make(size_of::<block::ReqHead>())?;
        // It has just been made of this length.
        let _ = head.write(0, &[0; size_of::<block::ReqHead>()]);
        Ok([head, make(512)?, make(1)?])
    }
}
