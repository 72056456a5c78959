//! The supervisor binary interface, version 2.0: what the machine does for the kernel, in the place of firmware.

mod console;
mod fence;
mod harts;

#[cfg(test)]
mod tests;

use std::io::Write;
use std::sync::Mutex;

use crate::control::{Control, Outcome};
use crate::{Hart, Ram};

/// Version 2.0, as `get_spec_version` has it.
const VERSION: u64 = 2 << 24;

/// Who we say we are; a number that is not registered to anybody.
const IMPLEMENTATION: u64 = 0x5257;

/// The extensions, by number.
mod extension {
    pub const BASE: u64 = 0x10;
    pub const TIME: u64 = 0x5449_4d45;
    pub const IPI: u64 = 0x73_5049;
    pub const RFENCE: u64 = 0x5246_4e43;
    pub const HSM: u64 = 0x48_534d;
    pub const SRST: u64 = 0x5352_5354;
    pub const DBCN: u64 = 0x4442_434e;
    pub const ALL: [u64; 7] = [BASE, TIME, IPI, RFENCE, HSM, SRST, DBCN];
}

/// Why a call fails; the value is what the guest gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i64)]
enum Error {
    Failed = -1,
    NotSupported = -2,
    InvalidParameter = -3,
    InvalidAddress = -5,
    AlreadyAvailable = -6,
}

/// Arguments of a call: `a0` to `a5`.
type Arguments = [u64; 6];

/// What a call returns: the value in `a1`, or an error.
type Answer = Result<u64, Error>;

/// The firmware.
pub struct Sbi {
    /// Where the debug console's output goes.
    console: Mutex<Box<dyn Write + Send>>,
}

impl Sbi {
    /// A firmware whose debug console writes to `console`, and reads nothing.
    pub fn new(console: Box<dyn Write + Send>) -> Self {
        Self {
            console: Mutex::new(console),
        }
    }

    /// Does what the hart has asked for by ECALL, and puts the answer into its registers.
    pub fn call(&self, hart: &mut Hart, control: &Control, ram: &Ram) {
        let arguments: Arguments = std::array::from_fn(|index| hart.x(10 + index));
        let (extension, function) = (hart.x(17), hart.x(16));
        let answer = match extension {
            extension::BASE => base(function, &arguments),
            extension::TIME => time(hart, function, &arguments),
            extension::IPI => fence::interrupt(control, function, &arguments),
            extension::RFENCE => fence::remote(control, function, &arguments),
            extension::HSM => harts::call(hart, control, ram, function, &arguments),
            extension::SRST => reset(control, function, &arguments),
            extension::DBCN => console::call(&self.console, ram, function, &arguments),
            _ => Err(Error::NotSupported),
        };
        let (error, value) = match answer {
            Ok(value) => (0, value),
            Err(error) => (error as i64 as u64, 0),
        };
        hart.set_x(10, error);
        hart.set_x(11, value);
    }
}

fn base(function: u64, arguments: &Arguments) -> Answer {
    match function {
        0 => Ok(VERSION),
        1 => Ok(IMPLEMENTATION),
        2 => Ok(0),
        3 => Ok(u64::from(extension::ALL.contains(&arguments[0]))),
        // mvendorid, marchid, mimpid: 0 says that nothing is said.
        4..=6 => Ok(0),
        _ => Err(Error::NotSupported),
    }
}

fn time(hart: &mut Hart, function: u64, arguments: &Arguments) -> Answer {
    match function {
        0 => {
            hart.set_timer(arguments[0]);
            Ok(0)
        }
        _ => Err(Error::NotSupported),
    }
}

/// Ends the machine, so the answer of a call that succeeds is never seen.
fn reset(control: &Control, function: u64, arguments: &Arguments) -> Answer {
    // Type and reason are 32 bits wide.
    let (kind, reason) = (arguments[0] as u32, arguments[1] as u32);
    match (function, kind, reason) {
        (0, 0, 0 | 1) => control.end(Outcome::PowerOff),
        (0, 1 | 2, 0 | 1) => control.end(Outcome::Reboot),
        (0, ..) => return Err(Error::InvalidParameter),
        _ => return Err(Error::NotSupported),
    }
    Ok(0)
}
