//! TCP segments and UDP datagrams to send.

/// Some of each kind, short and long, to `peer` from `mac`. Their checksums are not filled in.
pub(super) fn all(peer: [u8; 6], mac: [u8; 6]) -> Vec<Vec<u8>> {
    let kinds = [(false, false), (false, true), (true, false), (true, true)];
    let lengths = [100, 3000];
    let each = lengths
        .into_iter()
        .flat_map(|length| kinds.map(|kind| (kind, length)));
    each.map(|((is_v6, is_tcp), length)| packet(peer, mac, is_v6, is_tcp, &vec![7; length]))
        .collect()
}

/// A packet in a UDP tunnel over IPv4 with this checksum, and where the network header in it begins.
pub(super) fn in_tunnel(peer: [u8; 6], mac: [u8; 6], inside: &[u8], checksum: [u8; 2]) -> (Vec<u8>, u16) {
    // Geneve, for Ethernet frames of network 1.
    let head = [0, 0, 0x65, 0x58, 0, 0, 1, 0];
    let mut outer = packet(peer, mac, false, false, &[&head, inside].concat());
    let transport = 14 + 20;
    outer[transport + 6..transport + 8].copy_from_slice(&checksum);
    (outer, (transport + 8 + head.len() + 14) as u16)
}

/// One with this payload.
fn packet(peer: [u8; 6], mac: [u8; 6], is_v6: bool, is_tcp: bool, payload: &[u8]) -> Vec<u8> {
    let (protocol, transport) = match is_tcp {
        // CWR, PSH and ACK.
        true => (
            6,
            &[
                0x12, 0x34, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x98, 0xff, 0xff, 0, 0, 0, 0,
            ][..],
        ),
        false => (17, &[0x12, 0x34, 0, 53, 0, 0, 0, 0][..]),
    };
    let behind = (payload.len() + transport.len()) as u16;
    let [high, low] = behind.to_be_bytes();
    let mut transport = transport.to_vec();
    if !is_tcp {
        transport[4..6].copy_from_slice(&[high, low]);
    }
    let network = match is_v6 {
        true => [
            &[0x86, 0xdd, 0x60, 0, 0, 0, high, low, protocol, 64][..],
            &[0xfd; 16],
            &[0xfe; 16],
        ]
        .concat(),
        false => {
            let [high, low] = (behind + 20).to_be_bytes();
            let mut header = vec![0x45, 0, high, low, 0, 1, 0x40, 0, 64, protocol, 0, 0];
            header.extend([10, 0, 0, 9, 10, 0, 0, 2]);
            let sum: u32 = header
                .chunks_exact(2)
                .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]))
                .sum();
            let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            [&[0x08, 0x00], &header[..]].concat()
        }
    };
    [&peer[..], &mac, &network, &transport, payload].concat()
}
