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
        match frame.get(ip - 2..ip)? {
            [0x08, 0x00] | [0x86, 0xdd] => Self::at(frame, ip, length),
            _ => None,
        }
    }

    /// The same with an IP header that begins at `ip`.
    pub fn at(frame: &[u8], ip: usize, length: u64) -> Option<Self> {
        let (protocol, addresses, transport) = match frame.get(ip)? >> 4 {
            4 => {
                let header = usize::from(frame.get(ip)? & 15) * 4;
                (*frame.get(ip + 9)?, frame.get(ip + 12..ip + 20)?, ip + header)
            }
            6 => (*frame.get(ip + 6)?, frame.get(ip + 8..ip + 40)?, ip + 40),
            _ => return None,
        };
        let (offset, end) = match protocol {
            6 => (16, transport + usize::from(frame.get(transport + 12)? >> 4) * 4),
            17 => (6, transport + 8),
            _ => return None,
        };
        let field = frame.get(transport + offset..)?.first_chunk()?;
        let behind = length.checked_sub(transport as u64)?;
        Some(Self {
            transport,
            end,
            offset,
            checksum: u16::from_be_bytes(*field),
            pseudo: fold(behind + u64::from(protocol) + sum(addresses)),
            reduces_congestion: protocol == 6 && frame.get(transport + 13)? & 0x80 != 0,
        })
    }
}

/// The sum of the 16-bit words of an even number of bytes.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    let (words, _) = bytes.as_chunks();
    words
        .iter()
        .map(|word| u64::from(u16::from_be_bytes(*word)))
        .sum()
}

/// The ones' complement sum that this is.
pub(super) fn fold(mut sum: u64) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
