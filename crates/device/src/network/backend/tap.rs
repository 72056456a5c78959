//! Frames of a tap interface of the host.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};

use ringwright_memory::Slices;
use ringwright_ring::ByteOrder;
use ringwright_spec::network::{Hdr, features};
use ringwright_spec::{Features, feature};
use ringwright_sys::tap::{self, offload};
use rustix::io::Errno;
use zerocopy::IntoBytes;

use super::{Backend, Frame, MAX_FRAME};
use crate::network::offload::Partial;
use crate::{Context, DeviceError, Interest, Source, Watch};

/// Bytes of a header without fields for tunnels, as it is until it is said otherwise, and with them.
const HEADER: usize = Hdr::size(Features::NONE);
const HEADER_WITH_TUNNEL: usize = Hdr::size(features::HOST_UDP_TUNNEL_GSO.union(feature::VERSION_1));

/// What any kernel takes and gives.
const PLAIN: Features = features::CSUM
    .union(features::HOST_TSO4)
    .union(features::HOST_TSO6)
    .union(features::HOST_ECN)
    .union(features::GUEST_CSUM)
    .union(features::GUEST_TSO4)
    .union(features::GUEST_TSO6)
    .union(features::GUEST_ECN);

/// What newer ones do, each with what comes before.
const NEWER: [(u32, Features); 2] = [
    (
        offload::USO,
        features::HOST_USO
            .union(features::GUEST_USO4)
            .union(features::GUEST_USO6),
    ),
    (
        offload::UDP_TUNNEL | offload::UDP_TUNNEL_CSUM,
        features::HOST_UDP_TUNNEL_GSO
            .union(features::HOST_UDP_TUNNEL_GSO_CSUM)
            .union(features::GUEST_UDP_TUNNEL_GSO)
            .union(features::GUEST_UDP_TUNNEL_GSO_CSUM),
    ),
];

/// A tap interface. The host's end of it is set up by whoever owns it; the link of this end is always up.
#[derive(Debug)]
pub struct Tap {
    tap: OwnedFd,
    /// Bytes of the header before each frame, if there is one.
    header: usize,
    offloads: Features,
    /// The frame in hand with its header, in the first bytes.
    buffer: Vec<u8>,
    length: Option<usize>,
    watch: Watch,
}

impl Tap {
    /// Attaches to the tap interface `name`, which is made if there is none; `%d` in it is replaced by a number. Returns
    /// also the interface's name. Errors: see [`ringwright_sys::tap::open_tap`].
    pub fn open(name: &str) -> io::Result<(Self, String)> {
        let (tap, name) = tap::open_tap(name)?;
        let mut offloads = PLAIN;
        let mut known = flags(PLAIN);
        for (flags, features) in NEWER {
            // Any other error comes again when it is set.
            if tap::set_offload(&tap, known | flags).is_err() {
                break;
            }
            (known, offloads) = (known | flags, offloads | features);
        }
        tap::set_offload(&tap, 0)?;
        let header = match offloads.contains(features::HOST_UDP_TUNNEL_GSO) {
            true => HEADER_WITH_TUNNEL,
            false => HEADER,
        };
        tap::set_header_size(&tap, header as u8)?;
        let tap = Self {
            header,
            offloads,
            ..Self::from_descriptor(tap)?
        };
        Ok((tap, name))
    }

    /// Takes a descriptor that carries one frame, without anything before it, with each read and write: a tap opened by
    /// someone else, or a packet socket.
    pub fn from_descriptor(tap: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&tap, true)?;
        Ok(Self {
            tap,
            header: 0,
            offloads: Features::NONE,
            buffer: vec![0; HEADER_WITH_TUNNEL + MAX_FRAME],
            length: None,
            watch: Watch::new(Source(0)),
        })
    }

    /// Reads a frame, if there is one.
    fn fill(&mut self) {
        self.length = match rustix::io::read(&self.tap, &mut *self.buffer) {
            Ok(length) => Some(length),
            Err(Errno::AGAIN | Errno::INTR) => None,
            Err(error) => {
                tracing::debug!(%error, "reading a tap");
                None
            }
        };
    }

    /// The frame in hand. `None` if it is none.
    fn in_hand(&self) -> Option<Frame<'_>> {
        let bytes = &self.buffer[..self.length?];
        match self.header {
            0 => Some(Frame::whole(bytes)),
            size => Frame::behind_header(bytes, size, ByteOrder::NATIVE),
        }
    }
}

impl Backend for Tap {
    fn offloads(&self) -> Features {
        self.offloads
    }

    fn accept(&mut self, accepted: Features) {
        if self.header != 0
            && let Err(error) = tap::set_offload(&self.tap, flags(accepted & self.offloads))
        {
            // It goes on as it did, and frames that need more than the driver takes are completed.
            tracing::warn!(%error, "offloads of a tap");
        }
    }

    fn connected(&self) -> bool {
        true
    }

    fn frame(&mut self) -> Option<Frame<'_>> {
        if self.length.is_none() {
            self.fill();
        }
        while self.length.is_some() && self.in_hand().is_none() {
            tracing::debug!("a tap gives a frame that is none");
            self.fill();
        }
        self.in_hand()
    }

    fn consume(&mut self) {
        self.length = None;
    }

    fn send(&mut self, frame: Slices<'_>, partial: Option<&Partial>) -> bool {
        if self.header == 0 {
            return is_taken(frame.writev(&self.tap));
        }
        let header = partial.map_or_else(Hdr::default, |partial| partial.header(ByteOrder::NATIVE));
        is_taken(frame.writev_behind(&header.as_bytes()[..self.header], &self.tap))
    }

    fn send_copy(&mut self, frame: &[u8]) -> bool {
        let before = [0; HEADER_WITH_TUNNEL];
        let parts = [IoSlice::new(&before[..self.header]), IoSlice::new(frame)];
        is_taken(rustix::io::writev(&self.tap, &parts).map_err(io::Error::from))
    }

    fn watch(&mut self, context: &mut Context, interest: Option<Interest>) -> Result<(), DeviceError> {
        self.watch.set(context, self.tap.as_fd(), interest)
    }
}

/// What a driver takes, in the tap's words.
fn flags(accepted: Features) -> u32 {
    if !accepted.contains(features::GUEST_CSUM) {
        return 0;
    }
    let both = features::GUEST_USO4 | features::GUEST_USO6;
    let tunnel = features::GUEST_UDP_TUNNEL_GSO;
    [
        (offload::TSO4, features::GUEST_TSO4),
        (offload::TSO6, features::GUEST_TSO6),
        (offload::TSO_ECN, features::GUEST_ECN),
        (offload::USO, both),
        (offload::UDP_TUNNEL, tunnel),
        (
            offload::UDP_TUNNEL_CSUM,
            tunnel | features::GUEST_UDP_TUNNEL_GSO_CSUM,
        ),
    ]
    .into_iter()
    .filter(|(_, needs)| accepted.contains(*needs))
    .fold(offload::CSUM, |flags, (flag, _)| flags | flag)
}

/// Whether a frame is off our hands. One that the kernel does not want is lost.
fn is_taken(written: io::Result<usize>) -> bool {
    match written {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
        Err(error) => {
            tracing::debug!(%error, "writing a tap");
            true
        }
        Ok(_) => true,
    }
}
