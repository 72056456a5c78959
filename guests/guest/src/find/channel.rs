//! Devices behind subchannels.

use alloc::format;

use bare::{Boot, SUBCLASS};
use ringwright_driver::transport::ccw::{Ccw, CcwOptions, discover};

use crate::report::Report;

/// Drives every device of the machine, with either kind of indicators.
pub fn all(boot: &Boot, report: &mut Report) {
    let area = report.area().clone();
    let mut channels = boot.channels();
    let found = match discover(&mut channels, &area) {
        Ok(found) => found,
        Err(error) => return report.failure(format_args!("ccw: {error}")),
    };
    for device in found {
        for (signal, adapter_subclass) in [("classic", None), ("adapter", Some(SUBCLASS))] {
            let options = CcwOptions {
                subclass: SUBCLASS,
                adapter_subclass,
                ..CcwOptions::default()
            };
            match Ccw::probe(&mut channels, device.subchannel, &area, options) {
                Ok(None) => report.failure(format_args!("ccw: device {} is gone", device.device_number)),
                Ok(Some(mut transport)) => {
                    let bus = format!("ccw-{}", transport.revision().0);
                    report.device(&bus, signal, true, &mut transport);
                }
                Err(error) => report.failure(format_args!("ccw: {error}")),
            }
        }
    }
}
