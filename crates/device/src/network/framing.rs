//! How a frame lies in the driver's buffers: behind a header that says what is left to do with it (section 5.1.9).

use ringwright_memory::Slices;
use ringwright_ring::{ByteOrder, Token};
use ringwright_spec::Features;
use ringwright_spec::data::Le16;
use ringwright_spec::network::header::{GsoType, HdrFlags};
use ringwright_spec::network::{Hdr, features};
use zerocopy::IntoBytes;

use super::backend::{Frame, MAX_FRAME};
use super::offload::{Partial, TRANSMITTED};
use crate::{Session, Virtqueue};

/// Most buffers of the driver that one frame is spread over.
pub(super) const MAX_BUFFERS: usize = 64;

/// Bytes of an Ethernet header.
pub(super) const ETHERNET: usize = 14;
/// Bytes of an Ethernet header with a VLAN tag.
const ETHERNET_WITH_TAG: usize = 18;

/// How frames lie in buffers.
#[derive(Clone, Copy)]
pub(super) struct Format {
    /// Frames may be spread over several buffers.
    mergeable: bool,
    header_size: usize,
    /// Of the integers of a frame's header.
    pub byte_order: ByteOrder,
    /// What the driver may leave to the device.
    pub offloads: Features,
    /// The flags that then mean something.
    flags: u8,
}

/// A frame of the driver.
pub(super) enum Sent<'a> {
    /// It is complete.
    Whole(Slices<'a>),
    /// Something is left to do with it.
    Partial(Hdr, Slices<'a>),
}

/// What became of a frame for the driver.
pub(super) enum Placed {
    /// It is in the driver's buffers.
    Yes,
    /// There is no buffer, or no more for this callback.
    Later,
    /// It does not fit the buffers there are.
    Never,
}

impl Format {
    pub fn of(session: &Session) -> Self {
        let offloads = session.features & TRANSMITTED;
        let mut flags = HdrFlags::NONE;
        for (feature, flag) in [
            (features::CSUM, HdrFlags::NEEDS_CSUM),
            (features::HOST_UDP_TUNNEL_GSO_CSUM, HdrFlags::UDP_TUNNEL_CSUM),
        ] {
            if offloads.contains(feature) {
                flags = flags | flag;
            }
        }
        Self {
            mergeable: session.features.contains(features::MRG_RXBUF),
            header_size: Hdr::size(session.features),
            byte_order: session.byte_order,
            offloads,
            flags: flags.0,
        }
    }

    /// The frame in a chain of the driver, which a header precedes. `None` if it is none.
    /// Flags that were not negotiated are ignored (`dev:net:packet-transmission:01`).
    pub fn sent<'a>(&self, readable: Slices<'a>) -> Option<Sent<'a>> {
        let [flags, gso_type] = readable.read_array(0).ok()?;
        let length = readable.len().checked_sub(self.header_size)?;
        if !(ETHERNET..=MAX_FRAME).contains(&length) {
            return None;
        }
        let frame = readable.part(self.header_size, length).ok()?;
        // dev:net:packet-transmission:02
        if flags & self.flags == 0 && gso_type == GsoType::NONE.0 {
            return Some(Sent::Whole(frame));
        }
        let mut header = Hdr::default();
        let bytes = &mut header.as_mut_bytes()[..self.header_size];
        readable.read(0, bytes).ok()?;
        Some(Sent::Partial(header, frame))
    }
}

/// Whether a frame, or what it is cut into, is larger than the driver has agreed to
/// (`dev:net:device-configuration-layout:05`).
pub(super) fn exceeds(frame: &Frame<'_>, mtu: Option<u16>) -> bool {
    let Some(mtu) = mtu else {
        return false;
    };
    let tagged = frame.bytes.get(12..14) == Some(&[0x81, 0]);
    let header = if tagged { ETHERNET_WITH_TAG } else { ETHERNET };
    let segments = frame.partial.as_ref().and_then(Partial::longest_segment);
    segments.unwrap_or(frame.bytes.len()) > usize::from(mtu) + header
}

/// The header of a frame for a driver that takes all that is left to do with it, without the number of buffers.
/// `flags` is zero unless it takes checksums (`dev:net:processing-of-incoming-packets:05`).
pub(super) fn received_header(frame: &Frame<'_>, accepted: Features, order: ByteOrder) -> Hdr {
    match &frame.partial {
        Some(partial) => partial.header(order),
        None if frame.is_valid && accepted.contains(features::GUEST_CSUM) => Hdr {
            flags: HdrFlags::DATA_VALID.0,
            ..Hdr::default()
        },
        None => Hdr::default(),
    }
}

/// Puts a frame with its header into as many of the driver's buffers as it needs, if there are as many. `tokens` is
/// scratch space.
pub(super) fn place(
    queue: &mut Virtqueue,
    header: Hdr,
    mut frame: &[u8],
    format: Format,
    tokens: &mut Vec<Token>,
) -> Placed {
    let Format {
        mergeable,
        header_size,
        byte_order,
        ..
    } = format;
    let needed = header_size + frame.len();
    let most = if mergeable { MAX_BUFFERS } else { 1 };

    // The header comes first and says how many buffers there are, so they are counted before anything is written.
    let mut room = 0;
    while room < needed && tokens.len() < most {
        let chain = match tokens.is_empty() {
            true => queue.pop(),
            false => queue.pop_more(),
        };
        let Some(chain) = chain else {
            break;
        };
        let length = chain.writable().len();
        // Every buffer has room for the header (drv:net:setting-up-receive-buffers:03).
        room += if length < header_size { 0 } else { length };
        tokens.push(chain.into_token());
    }
    let buffers = tokens.len();
    while let Some(token) = tokens.pop() {
        queue.push_back(token);
    }
    if room < needed {
        return match buffers {
            0 => Placed::Later,
            _ => Placed::Never,
        };
    }

    // With one buffer only, as it always is without MRG_RXBUF, num_buffers is 1
    // (dev:net:processing-of-incoming-packets:01, dev:net:processing-of-incoming-packets:02).
    let header = Hdr {
        num_buffers: Le16::from_bytes(byte_order.bytes16(buffers as u16)),
        ..header
    };
    let mut header = &header.as_bytes()[..header_size];
    for _ in 0..buffers {
        // A driver that has changed its buffers meanwhile gets what fits.
        let Some(chain) = queue.pop_more() else {
            break;
        };
        let mut buffer = chain.writable().writer();
        header = &header[buffer.write(header)..];
        frame = &frame[buffer.write(frame)..];
        let written = buffer.written() as u32;
        let token = chain.into_token();
        queue.complete(token, written);
    }
    queue.join(buffers as u32);
    Placed::Yes
}
