//! What is in the packets that a driver sends: TCP and UDP, as far as rules have to know it.

/// The headers of a packet with TCP or UDP right behind its IP header.
pub(super) struct Segment {
    /// Where the transport header begins.
    pub transport: usize,
    /// Where the headers end.
    pub end: usize,
    /// Offset of the checksum in the transport header.
    pub offset: usize,
    /// The checksum that is there.
    pub checksum: u16,
    /// The sum of the pseudo header.
    pub pseudo: u16,
    /// Whether it is TCP with CWR set.
    pub reduces_congestion: bool,
}

impl Segment {
    /// That of a packet of `length` bytes that begins with `frame`; `None` if it is something else, or goes on too long.
    pub fn of(frame: &[u8], length: u64) -> Option<Self> {
        let ip = 14 + 4 * usize::from(frame.get(12..14)? == [0x81, 0]);
        let (protocol, addresses, transport) = match frame.get(ip - 2..ip)? {
            [0x08, 0x00] => {
                let header = usize::from(frame.get(ip)? & 15) * 4;
                (*frame.get(ip + 9)?, frame.get(ip + 12..ip + 20)?, ip + header)
            }
            [0x86, 0xdd] => (*frame.get(ip + 6)?, frame.get(ip + 8..ip + 40)?, ip + 40),
            _ => return None,
        };
        let (offset, end) = match protocol {
            6 => (16, transport + usize::from(frame.get(transport + 12)? >> 4) * 4),
            17 => (6, transport + 8),
            _ => return None,
        };
        let field = frame.get(transport + offset..)?.first_chunk()?;
        let behind = length.checked_sub(transport as u64)?;
        let words = addresses.chunks_exact(2);
        let mut pseudo = words.fold(behind + u64::from(protocol), |sum, word| {
            sum + u64::from(word[0]) * 256 + u64::from(word[1])
        });
        while pseudo >> 16 != 0 {
            pseudo = (pseudo & 0xffff) + (pseudo >> 16);
        }
        Some(Self {
            transport,
            end,
            offset,
            checksum: u16::from_be_bytes(*field),
            pseudo: pseudo as u16,
            reduces_congestion: protocol == 6 && frame.get(transport + 13)? & 0x80 != 0,
        })
    }
}
