//! Tap interfaces: Ethernet interfaces of the host whose far end is a file descriptor.
//!
//! `unsafe` is needed here for the `ioctl`s.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::ioctl::{IntegerSetter, Opcode, Setter, Updater, ioctl, opcode};

/// `TUNSETIFF` of `linux/if_tun.h`. Its number claims an `int` as argument, but it takes an [`InterfaceRequest`].
const TUNSETIFF: Opcode = opcode::write::<i32>(b'T', 202);

/// `TUNSETOFFLOAD`, whose argument is no pointer, and `TUNSETVNETHDRSZ`.
pub const TUNSETOFFLOAD: Opcode = opcode::write::<u32>(b'T', 208);
const TUNSETVNETHDRSZ: Opcode = opcode::write::<i32>(b'T', 216);

/// `IFF_TAP | IFF_NO_PI | IFF_VNET_HDR`: frames with Ethernet header, and before it a `struct virtio_net_hdr`.
const TAP_WITH_HEADER: u16 = 0x0002 | 0x1000 | 0x4000;

/// What a tap may leave to whoever reads its frames, the `TUN_F_` values.
pub mod offload {
    /// Checksums.
    pub const CSUM: u32 = 0x01;
    /// Segments of TCP over IPv4.
    pub const TSO4: u32 = 0x02;
    /// Segments of TCP over IPv6.
    pub const TSO6: u32 = 0x04;
    /// The same with ECN.
    pub const TSO_ECN: u32 = 0x08;
    /// Datagrams of UDP over IPv4 and over IPv6, which there are only together.
    pub const USO: u32 = 0x20 | 0x40;
    /// Segments in a UDP tunnel.
    pub const UDP_TUNNEL: u32 = 0x080;
    /// The same with the checksum of the tunnel.
    pub const UDP_TUNNEL_CSUM: u32 = 0x100;
}

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
/// writes carry one frame each, behind a header of 10 bytes, the first of `struct virtio_net_hdr` in the byte order of this
/// machine, and do not block. Returns also the interface's name.
///
/// Errors: `InvalidInput` for a name of more than 15 bytes, and those of the operating system: `NotFound` without
/// `/dev/net/tun`, `PermissionDenied` without the right to it (or `CAP_NET_ADMIN`), `ResourceBusy` if someone else is
/// attached.
pub fn open_tap(name: &str) -> io::Result<(OwnedFd, String)> {
    let mut request = InterfaceRequest {
        name: [0; NAME],
        flags: TAP_WITH_HEADER,
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

/// What the tap leaves to whoever reads its frames: of [`offload`]. Fails with `InvalidInput` where the kernel does not know
/// one of them.
pub fn set_offload(tap: impl AsFd, offload: u32) -> io::Result<()> {
    // SAFETY: the argument of TUNSETOFFLOAD is a number.
    let set = unsafe { IntegerSetter::<TUNSETOFFLOAD>::new_usize(offload as usize) };
    // SAFETY: as above; the call has no effect on this process.
    Ok(unsafe { ioctl(tap, set) }?)
}

/// How long the header is, in bytes: 10 or more.
pub fn set_header_size(tap: impl AsFd, bytes: u8) -> io::Result<()> {
    // SAFETY: the argument of TUNSETVNETHDRSZ is an int.
    let set = unsafe { Setter::<TUNSETVNETHDRSZ, i32>::new(bytes.into()) };
    // SAFETY: as above; the call has no effect on this process.
    Ok(unsafe { ioctl(tap, set) }?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_interface_can_have_is_refused() {
        assert_eq!(size_of::<InterfaceRequest>(), 40);
        assert_eq!(
            (TUNSETIFF, TUNSETOFFLOAD, TUNSETVNETHDRSZ),
            (0x4004_54ca, 0x4004_54d0, 0x4004_54d8)
        );
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
        set_offload(
            &tap,
            offload::CSUM | offload::TSO4 | offload::TSO6 | offload::TSO_ECN,
        )
        .unwrap();
        let unknown = set_offload(&tap, offload::CSUM | 1 << 31).unwrap_err();
        assert_eq!(unknown.kind(), io::ErrorKind::InvalidInput);
        set_offload(&tap, 0).unwrap();
        set_header_size(&tap, 24).unwrap();
        assert!(set_header_size(&tap, 9).is_err());
        // There is no frame to read, and reading does not wait for one.
        assert!(rustix::io::read(&tap, &mut [0; 2000]).is_err());
        drop(tap);
        assert!(!present());
    }
}
