//! Extension HSM, hart state management: harts start each other and stop themselves.

use super::{Answer, Arguments, Error};
use crate::control::{Control, HartStatus};
use crate::{Hart, Ram};

/// Extension HSM.
pub fn call(hart: &mut Hart, control: &Control, ram: &Ram, function: u64, arguments: &Arguments) -> Answer {
    let [id, address, opaque, ..] = *arguments;
    match function {
        0 => start(control, ram, id, address, opaque),
        1 => {
            control.set_status(hart.id() as usize, HartStatus::Stopped);
            Ok(0)
        }
        2 => match control.status(id) {
            Some(HartStatus::Started) => Ok(0),
            Some(HartStatus::Stopped) => Ok(1),
            Some(HartStatus::StartPending { .. }) => Ok(2),
            None => Err(Error::InvalidParameter),
        },
        // A hart suspends itself with WFI.
        _ => Err(Error::NotSupported),
    }
}

fn start(control: &Control, ram: &Ram, id: u64, address: u64, opaque: u64) -> Answer {
    if control.status(id).is_none() {
        return Err(Error::InvalidParameter);
    }
    if ram.load::<u16>(address).is_err() {
        return Err(Error::InvalidAddress);
    }
    match control.start(id as usize, address, opaque) {
        true => Ok(0),
        false => Err(Error::AlreadyAvailable),
    }
}
