//! Tap interfaces: Ethernet interfaces of the host whose far end is a file descriptor.
//!
//! `unsafe` is needed here for the `ioctl` that names the interface.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

/// `TUNSETIFF` of `linux/if_tun.h`. Its number claims an `int` as argument, but it takes an [`InterfaceRequest`].
const TUNSETIFF: Opcode = opcode::write::<i32>(b'T', 202);

/// `IFF_TAP | IFF_NO_PI`: frames with Ethernet header, and nothing before it.
const TAP_WITHOUT_INFORMATION: u16 = 0x0002 | 0x1000;

/// `IFNAMSIZ`, with the final NUL.
const NAME: usize = 16;

/// `struct ifreq` of `linux/if.h`, the parts in use.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; NAME],
    flags: u16,
    rest: [u8; 22],
}

/// Attaches to the tap interface `name`, which is made if there is none; `%d` in it is replaced by a number. Reads and
/// writes carry one frame each and do not block. Returns also the interface's name.
///
/// Errors: `InvalidInput` for a name of more than 15 bytes, and those of the operating system: `NotFound` without
/// `/dev/net/tun`, `PermissionDenied` without the right to it (or `CAP_NET_ADMIN`), `ResourceBusy` if someone else is
/// attached.
pub fn open_tap(name: &str) -> io::Result<(OwnedFd, String)> {
    let mut request = InterfaceRequest {
        name: [0; NAME],
        flags: TAP_WITHOUT_INFORMATION,
        rest: [0; 22],
    };
    let place = request.name[..NAME - 1]
        .get_mut(..name.len())
        .filter(|_| !name.contains('\0'));
    place
        .ok_or(io::ErrorKind::InvalidInput)?
        .copy_from_slice(name.as_bytes());

    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let tun = open("/dev/net/tun", flags, Mode::empty())?;
    loop {
        // SAFETY: the argument of TUNSETIFF is a struct ifreq, of 40 bytes on 64-bit and 32 on 32-bit machines; the
        // request has 40, is valid for reads and writes during the call, and has no invalid bit patterns.
        match unsafe { ioctl(&tun, Updater::<TUNSETIFF, _>::new(&mut request)) } {
            Err(Errno::INTR) => {}
            outcome => break outcome?,
        }
    }
    let length = request.name.iter().position(|byte| *byte == 0).unwrap_or(NAME);
    Ok((tun, String::from_utf8_lossy(&request.name[..length]).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_interface_can_have_is_refused() {
        assert_eq!(size_of::<InterfaceRequest>(), 40);
        assert_eq!(TUNSETIFF, 0x4004_54ca);
        for name in ["a name of 16 byt", "nul\0"] {
            assert_eq!(open_tap(name).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn an_interface_is_made_and_goes_with_its_descriptor() {
        let (tap, name) = match open_tap("rwtest%d") {
            Ok(opened) => opened,
            Err(error) => {
                let why = error.kind();
                assert!(
                    matches!(why, io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied),
                    "{error}"
                );
                return eprintln!("not tested, this machine gives no tap interface: {error}");
            }
        };
        let present = || {
            std::fs::read_to_string("/proc/net/dev")
                .unwrap()
                .contains(&format!("{name}:"))
        };
        assert!(name.starts_with("rwtest") && present(), "{name}");
        assert_eq!(open_tap(&name).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        // There is no frame to read, and reading does not wait for one.
        assert!(rustix::io::read(&tap, &mut [0; 2000]).is_err());
        drop(tap);
        assert!(!present());
    }
}
