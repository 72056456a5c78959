//! Where the devices are.

use bare::Boot;

use crate::report::Report;

/// Drives every device of the machine.
pub fn all(boot: &Boot, report: &mut Report) {
    #[cfg(not(target_arch = "s390x"))]
    mmio(boot, report);
    #[cfg(target_arch = "s390x")]
    ccw(boot, report);
}

/// Drives the devices with registers in memory.
#[cfg(not(target_arch = "s390x"))]
fn mmio(boot: &Boot, report: &mut Report) {
    use ringwright_driver::transport::mmio::Mmio;

    for registers in boot.virtio_mmio() {
        match Mmio::probe(registers) {
            // A placeholder.
            Ok(None) => {}
            Ok(Some(mut transport)) => report.device("mmio", &mut transport),
            Err(error) => report.failure(format_args!("mmio: {error}")),
        }
    }
}

/// Drives the devices behind subchannels.
#[cfg(target_arch = "s390x")]
fn ccw(boot: &Boot, report: &mut Report) {
    use ringwright_driver::transport::ccw::{Ccw, CcwOptions, discover};

    let area = report.area().clone();
    let mut channels = boot.channels();
    let found = match discover(&mut channels, &area) {
        Ok(found) => found,
        Err(error) => return report.failure(format_args!("ccw: {error}")),
    };
    for device in found {
        match Ccw::probe(&mut channels, device.subchannel, &area, CcwOptions::default()) {
            Ok(None) => report.failure(format_args!("ccw {}: the device is gone", device.device_number)),
            Ok(Some(mut transport)) => report.device("ccw", &mut transport),
            Err(error) => report.failure(format_args!("ccw {}: {error}", device.device_number)),
        }
    }
}
