//! Waiting for a device: asleep where its interrupts reach the processor, else looking again and again.

use core::time::Duration;

use bare::Deadline;
use ringwright_driver::block::Block;
use ringwright_driver::console::Console;
use ringwright_driver::entropy::Entropy;
use ringwright_driver::network::Network;
use ringwright_driver::session::Session;
use ringwright_driver::{DriverError, Transport};
use ringwright_spec::Features;

use super::{Drive, Error, RING_FORMATS};

/// How long a device may take for what it is asked.
const PATIENCE: Duration = Duration::from_secs(20);

/// What all drivers have that is needed to wait for their devices.
pub trait Driver {
    /// What leads to the device.
    type Transport: Transport;

    /// The session with the device.
    fn session(&mut self) -> &mut Session<Self::Transport>;

    /// Asks for interrupts. `true`: there is something to do already.
    fn enable_notifications(&mut self) -> bool;
}

/// Waits for one device.
pub struct Waiter {
    interrupts: bool,
    ring: Features,
    /// Whether the device has notified of used buffers.
    notified: bool,
}

impl Waiter {
    /// For the device of `drive`.
    pub fn new(drive: &Drive<'_>) -> Self {
        Self {
            interrupts: drive.interrupts,
            ring: drive.ring,
            notified: false,
        }
    }

    /// Repeats `step` until it has a result.
    pub fn until<D: Driver, T>(
        &mut self,
        driver: &mut D,
        awaited: &'static str,
        mut step: impl FnMut(&mut D) -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        let deadline = Deadline::after(PATIENCE);
        loop {
            if let Some(done) = step(driver)? {
                return Ok(done);
            }
            if deadline.is_over() {
                return Err(Error::Late(awaited));
            }
            if !self.interrupts {
                core::hint::spin_loop();
            } else if !driver.enable_notifications() {
                bare::wait_for_interrupt();
                self.take_interrupt(driver)?;
            }
        }
    }

    /// Checks that the virtqueues have the format that was chosen, and that the device has notified of used buffers.
    pub fn confirm(&mut self, driver: &mut impl Driver) -> Result<(), Error> {
        if driver.session().features() & RING_FORMATS != self.ring {
            return Err(Error::Wrong("another format of virtqueues was negotiated"));
        }
        let deadline = Deadline::after(PATIENCE);
        while !self.notified {
            // It always notifies of the first ones.
            self.take_interrupt(driver)?;
            if deadline.is_over() {
                return Err(Error::Late("a used buffer notification"));
            }
        }
        Ok(())
    }

    fn take_interrupt(&mut self, driver: &mut impl Driver) -> Result<(), Error> {
        let taken = driver.session().transport().take_interrupt();
        self.notified |= taken.map_err(DriverError::from)?.queue;
        Ok(())
    }
}

impl<T: Transport> Driver for Block<T> {
    type Transport = T;

    fn session(&mut self) -> &mut Session<T> {
        self.session()
    }

    fn enable_notifications(&mut self) -> bool {
        self.enable_notifications(0)
    }
}

macro_rules! drivers {
    ($($driver:ident),*) => {
        $(impl<T: Transport> Driver for $driver<T> {
            type Transport = T;

            fn session(&mut self) -> &mut Session<T> {
                self.session()
            }

            fn enable_notifications(&mut self) -> bool {
                self.enable_notifications()
            }
        })*
    };
}
drivers!(Entropy, Console, Network);
