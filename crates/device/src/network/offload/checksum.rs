//! The checksum of the Internet protocols, and numbers in their headers.

/// The checksum of these bytes: the complement of their ones' complement sum.
pub(super) fn checksum(bytes: &[u8]) -> u16 {
    !sum(bytes)
}

/// Replaces the seed at `field` of a frame by the checksum of what begins at `start`, in which the seed is.
pub(super) fn complete(frame: &mut [u8], start: usize, field: usize) {
    let checksum = match checksum(&frame[start..]) {
        // For UDP that would say that there is none; for all others it is the same.
        0 => 0xffff,
        checksum => checksum,
    };
    put(frame, field, checksum);
}

/// Takes `less` bytes off the length in the seed at `field`.
pub(super) fn shorten(frame: &mut [u8], field: usize, less: usize) {
    let seed = u64::from(word(frame, field)) + u64::from(!fold(less as u64));
    put(frame, field, fold(seed));
}

/// The big-endian number at `at`.
pub(super) fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Puts a number there.
pub(super) fn put(bytes: &mut [u8], at: usize, number: u16) {
    bytes[at..at + 2].copy_from_slice(&number.to_be_bytes());
}

/// The ones' complement sum of 16-bit words, the last of which may lack a byte. It does not matter in which byte order
/// they are summed up, nor how many of them at a time.
fn sum(bytes: &[u8]) -> u16 {
    let (words, rest) = bytes.as_chunks();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    let sum = words
        .iter()
        .chain([&last])
        .map(|word| u64::from(u32::from_ne_bytes(*word)))
        .sum();
    u16::from_be_bytes(fold(sum).to_ne_bytes())
}

/// The ones' complement sum that this is.
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
