//! The frames that go to and fro, made by hand.

/// The addresses of the end that is in the test.
pub const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x11];
pub const OUR_IP: [u8; 4] = [192, 0, 2, 1];

/// The addresses of the other end, which answers whatever it is asked for.
pub const THEIR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x22];
pub const THEIR_IP: [u8; 4] = [192, 0, 2, 2];

/// One of the frames that are sent by number, of a length between 60 and `longest`.
pub fn frame(number: u32, longest: usize) -> Vec<u8> {
    let length = 60 + number as usize * 97 % (longest - 59);
    let mut frame = ethernet(THEIR_MAC, OUR_MAC, LOCAL_EXPERIMENT);
    frame.extend(number.to_be_bytes());
    let start = frame.len();
    frame.extend((start..length).map(|at| (at as u32 * 7 + number) as u8));
    frame
}

/// Checks a frame that testpmd has made: UDP between two addresses of a range for benchmarks (RFC 2544).
pub fn check_made(frame: &[u8], length: usize) {
    assert_eq!((frame.len(), &frame[12..14]), (length, &IPV4.to_be_bytes()[..]));
    assert_eq!((checksum(&frame[14..34]), frame[23]), (0, 17));
    assert_eq!(
        (&frame[26..30], &frame[30..34]),
        (&[198, 18, 0, 1][..], &[198, 18, 0, 2][..])
    );
}

/// EtherTypes.
const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const LOCAL_EXPERIMENT: u16 = 0x88b5;

fn ethernet(destination: [u8; 6], source: [u8; 6], ether_type: u16) -> Vec<u8> {
    [&destination[..], &source, &ether_type.to_be_bytes()].concat()
}

/// An ARP request (1) or reply (2) of `sender` for `target` (RFC 826).
pub fn arp(
    operation: u8,
    sender: ([u8; 6], [u8; 4]),
    target: ([u8; 6], [u8; 4]),
    destination: [u8; 6],
) -> Vec<u8> {
    let mut frame = ethernet(destination, sender.0, ARP);
    frame.extend([0, 1, 8, 0, 6, 4, 0, operation]);
    for (mac, ip) in [sender, target] {
        frame.extend(mac);
        frame.extend(ip);
    }
    frame
}

/// An ICMP echo request (8) or reply (0) with `length` bytes of data (RFC 791, RFC 792).
pub fn echo(kind: u8, source: ([u8; 6], [u8; 4]), destination: ([u8; 6], [u8; 4]), length: u16) -> Vec<u8> {
    let total = (28 + length).to_be_bytes();
    let mut ip = [0x45, 0, total[0], total[1], 0, 1, 0, 0, 64, 1, 0, 0].to_vec();
    ip.extend([source.1, destination.1].as_flattened());
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut icmp = vec![kind, 0, 0, 0, 0x12, 0x34, 0, 1];
    icmp.extend((0..length).map(|at| at as u8));
    let sum = checksum(&icmp);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    [ethernet(destination.0, source.0, IPV4), ip, icmp].concat()
}

/// The checksum of the Internet protocols over an even number of bytes (RFC 1071); 0 over what includes its own.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}
