use proptest::prelude::*;
use ringwright_ring::ByteOrder;
use ringwright_spec::Features;
use ringwright_spec::network::header::{GsoFlags, GsoType, HdrFlags};
use ringwright_spec::network::{Hdr, features};
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpAddress, IpProtocol, Ipv4Packet, Ipv6FragmentHeader, Ipv6Packet,
    TcpPacket, UdpPacket,
};
use zerocopy::FromBytes;

use super::checksum::{checksum, put, word};
use super::{Cutter, Partial, TRANSMITTED};

const SOURCE: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xc0, 0, 2, 1];
const TARGET: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xc0, 0, 2, 2];
const TCP: u8 = 6;
const UDP: u8 = 17;

/// A TCP header with FIN, PSH, ACK and CWR, 12 bytes of options, and no checksum.
fn tcp() -> Vec<u8> {
    let mut header = vec![
        0x30, 0x39, 0x00, 0x50, 0xff, 0xff, 0xff, 0x00, 0, 0, 0, 1, 0x80, 0x99,
    ];
    header.extend([0x10, 0, 0, 0, 0, 0]);
    header.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    header
}

/// A UDP header for a payload of this length, without a checksum.
fn udp(payload: usize) -> Vec<u8> {
    let mut header = vec![0x30, 0x39, 0x12, 0xb5, 0, 0, 0, 0];
    put(&mut header, 4, (8 + payload) as u16);
    header
}

/// An IP packet.
fn ip(is_v6: bool, protocol: u8, behind: &[u8]) -> Vec<u8> {
    let mut packet;
    if is_v6 {
        packet = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
        put(&mut packet, 4, behind.len() as u16);
        packet.extend([SOURCE, TARGET].as_flattened());
    } else {
        packet = vec![0x45, 0, 0, 0, 0xff, 0xff, 0x40, 0, 64, protocol, 0, 0];
        put(&mut packet, 2, (20 + behind.len()) as u16);
        packet.extend([&SOURCE[12..], &TARGET[12..]].concat());
        let sum = checksum(&packet);
        put(&mut packet, 10, sum);
    }
    [&packet, behind].concat()
}

/// The frame of a packet.
fn ethernet(is_v6: bool, packet: &[u8]) -> Vec<u8> {
    let kind = if is_v6 { [0x86, 0xdd] } else { [8, 0] };
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2], &kind[..], packet].concat()
}

/// Puts the sum of the pseudo header where a checksum goes.
fn seed(is_v6: bool, protocol: u8, transport: &mut [u8], field: usize) {
    let (source, target) = match is_v6 {
        true => (&SOURCE[..], &TARGET[..]),
        false => (&SOURCE[12..], &TARGET[12..]),
    };
    let length = (transport.len() as u32).to_be_bytes();
    let pseudo = [source, target, &length, &[0, 0, 0, protocol]].concat();
    put(transport, field, !checksum(&pseudo));
}

/// Bytes that differ.
fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|at| ((at * 7) ^ (at >> 8)) as u8).collect()
}

/// A frame to be cut, and its header.
pub(in crate::network) fn frame(kind: GsoType, is_v6: bool, length: usize, size: u16) -> (Hdr, Vec<u8>) {
    let (protocol, field, mut transport) = match kind {
        GsoType::TCPV4 | GsoType::TCPV6 => (TCP, 16, tcp()),
        _ => (UDP, 6, udp(length)),
    };
    transport.extend(payload(length));
    seed(is_v6, protocol, &mut transport, field);
    let start = 14 + if is_v6 { 40 } else { 20 };
    let header = Hdr {
        flags: HdrFlags::NEEDS_CSUM.0,
        gso_type: kind.0,
        gso_size: size.into(),
        csum_start: start.into(),
        csum_offset: (field as u16).into(),
        ..Hdr::default()
    };
    (header, ethernet(is_v6, &ip(is_v6, protocol, &transport)))
}

fn all(header: &Hdr, frame: &[u8]) -> Option<Partial> {
    Partial::of(header, ByteOrder::Little, TRANSMITTED, frame)
}

/// The frames that one becomes.
pub(in crate::network) fn cut(header: &Hdr, frame: &[u8]) -> Vec<Vec<u8>> {
    let mut cutter = Cutter::new();
    let is_right = cutter.load(
        frame.len(),
        |copy| copy.copy_from_slice(frame),
        |copy| all(header, copy),
    );
    assert!(is_right, "{header:?}");
    let mut frames = Vec::new();
    while let Some(frame) = cutter.frame() {
        frames.push(frame.to_vec());
        cutter.consume();
    }
    frames
}

/// The packet in a frame: its protocol, and what is behind its IP header. All lengths and the checksum of an IPv4 header are
/// right.
fn opened(frame: &[u8]) -> (IpProtocol, [IpAddress; 2], &[u8]) {
    let frame = EthernetFrame::new_checked(frame).unwrap();
    let packet = frame.payload();
    match frame.ethertype() {
        EthernetProtocol::Ipv4 => {
            let ip = Ipv4Packet::new_checked(packet).unwrap();
            assert!(ip.verify_checksum());
            assert_eq!(usize::from(ip.total_len()), packet.len());
            let ends = [ip.src_addr().into(), ip.dst_addr().into()];
            (ip.next_header(), ends, ip.payload())
        }
        EthernetProtocol::Ipv6 => {
            let ip = Ipv6Packet::new_checked(packet).unwrap();
            assert_eq!(ip.total_len(), packet.len());
            let ends = [ip.src_addr().into(), ip.dst_addr().into()];
            (ip.next_header(), ends, ip.payload())
        }
        other => panic!("{other}"),
    }
}

/// The payload of a UDP datagram, whose checksum is right.
fn datagram(frame: &[u8]) -> Vec<u8> {
    let (protocol, [source, target], transport) = opened(frame);
    assert_eq!(protocol, IpProtocol::Udp);
    let udp = UdpPacket::new_checked(transport).unwrap();
    assert!(udp.verify_checksum(&source, &target) && udp.checksum() != 0);
    assert_eq!(usize::from(udp.len()), transport.len());
    udp.payload().to_vec()
}

#[test]
fn tcp_becomes_segments() {
    for (kind, is_v6) in [(GsoType::TCPV4, false), (GsoType::TCPV6, true)] {
        for (length, size) in [(2801, 1400), (1400, 1400), (65_000, 1448), (3, 1), (1401, 1400)] {
            let (header, frame) = frame(kind, is_v6, length, size);
            let segments = cut(&header, &frame);
            let (mut whole, count) = (Vec::<u8>::new(), length.div_ceil(size.into()));
            assert_eq!(segments.len(), count);
            for (number, segment) in segments.iter().enumerate() {
                let (protocol, [source, target], transport) = opened(segment);
                assert_eq!(protocol, IpProtocol::Tcp);
                let tcp = TcpPacket::new_checked(transport).unwrap();
                assert!(tcp.verify_checksum(&source, &target), "segment {number}");
                assert_eq!(tcp.header_len(), 32);
                assert_eq!(
                    tcp.seq_number().0 as u32,
                    0xffff_ff00_u32.wrapping_add(whole.len() as u32)
                );
                let is_last = number + 1 == count;
                assert_eq!(
                    (tcp.fin(), tcp.psh(), tcp.cwr(), tcp.ack()),
                    (is_last, is_last, number == 0, true)
                );
                if !is_v6 {
                    assert_eq!(word(segment, 14 + 4), 0xffff_u16.wrapping_add(number as u16));
                }
                assert!(is_last || tcp.payload().len() == usize::from(size));
                whole.extend(tcp.payload());
            }
            assert_eq!(whole, payload(length));
        }
    }
}

#[test]
fn udp_becomes_datagrams() {
    for is_v6 in [false, true] {
        let (header, frame) = frame(GsoType::UDP_L4, is_v6, 5000, 1300);
        let datagrams: Vec<_> = cut(&header, &frame).iter().map(|frame| datagram(frame)).collect();
        assert_eq!(
            datagrams.iter().map(Vec::len).collect::<Vec<_>>(),
            [1300, 1300, 1300, 1100]
        );
        assert_eq!(datagrams.concat(), payload(5000));
    }
}

#[test]
fn udp_becomes_fragments() {
    for is_v6 in [false, true] {
        let (header, frame) = frame(GsoType::UDP, is_v6, 5000, 1483);
        let (mut whole, mut ids) = (Vec::<u8>::new(), Vec::<u32>::new());
        let fragments = cut(&header, &frame);
        for (number, fragment) in fragments.iter().enumerate() {
            let (protocol, _, behind) = opened(fragment);
            let (id, offset, more, behind) = if is_v6 {
                assert_eq!(protocol, IpProtocol::Ipv6Frag);
                assert_eq!(behind[0], UDP);
                let header = Ipv6FragmentHeader::new_checked(&behind[2..8]).unwrap();
                (
                    header.ident(),
                    header.frag_offset() * 8,
                    header.more_frags(),
                    &behind[8..],
                )
            } else {
                let ip = Ipv4Packet::new_checked(&fragment[14..]).unwrap();
                assert!(!ip.dont_frag());
                (ip.ident().into(), ip.frag_offset(), ip.more_frags(), behind)
            };
            assert_eq!(
                (usize::from(offset), more),
                (whole.len(), number + 1 != fragments.len())
            );
            ids.push(id);
            whole.extend(behind);
        }
        assert_eq!(fragments.len(), 4);
        assert!(ids.iter().all(|id| *id == ids[0]));
        assert_eq!(datagram(&ethernet(is_v6, &ip(is_v6, UDP, &whole))), payload(5000));
    }
}

#[test]
fn a_checksum_is_completed() {
    for length in [0, 1, 64, 1472] {
        let (header, frame) = frame(GsoType::NONE, false, length, 0);
        let frames = cut(&header, &frame);
        assert_eq!(frames.len(), 1);
        assert_eq!(datagram(&frames[0]), payload(length));
    }
    // A checksum of zero would say that there is none.
    let (header, mut frame) = frame(GsoType::NONE, false, 2, 0);
    let sum = checksum(&frame[34..]);
    let last = frame.len() - 2;
    let more = u32::from(word(&frame, last)) + u32::from(sum);
    put(&mut frame, last, (more % 0xffff) as u16);
    let frames = cut(&header, &frame);
    assert_eq!(word(&frames[0], 34 + 6), 0xffff);
    datagram(&frames[0]);
}

/// A frame with TCP or UDP in a UDP tunnel, by the IP versions of the tunnel and what is in it.
pub(in crate::network) fn tunnel(
    kind: GsoType,
    [outer, inner]: [bool; 2],
    has_checksum: bool,
) -> (Hdr, Vec<u8>) {
    let (mut header, inside) = frame(kind, inner, 4001, 1000);
    let mut around = udp(8 + inside.len());
    around.extend([0, 0, 0x65, 0x58, 0, 0, 1, 0]);
    around.extend(&inside);
    if has_checksum {
        seed(outer, UDP, &mut around, 6);
        header.flags |= HdrFlags::UDP_TUNNEL_CSUM.0;
    }
    header.gso_type |= match inner {
        false => GsoFlags::UDP_TUNNEL_IPV4.0,
        true => GsoFlags::UDP_TUNNEL_IPV6.0,
    };
    let transport = 14 + if outer { 40 } else { 20 };
    header.outer_th_offset = transport.into();
    header.inner_nh_offset = (transport + 8 + 8 + 14).into();
    header.csum_start = (transport + 8 + 8 + header.csum_start.get()).into();
    (header, ethernet(outer, &ip(outer, UDP, &around)))
}

#[test]
fn segments_in_a_tunnel_are_each_in_one() {
    for (kind, inner) in [
        (GsoType::TCPV4, false),
        (GsoType::TCPV6, true),
        (GsoType::UDP_L4, false),
        (GsoType::UDP_L4, true),
    ] {
        for (outer, has_checksum) in [(false, false), (false, true), (true, true)] {
            let (header, frame) = tunnel(kind, [outer, inner], has_checksum);
            let mut whole = Vec::new();
            for segment in cut(&header, &frame) {
                let inside = match has_checksum {
                    true => datagram(&segment),
                    false => {
                        let (_, _, transport) = opened(&segment);
                        assert_eq!(word(transport, 6), 0);
                        assert_eq!(usize::from(word(transport, 4)), transport.len());
                        transport[8..].to_vec()
                    }
                };
                assert_eq!(inside[..8], [0, 0, 0x65, 0x58, 0, 0, 1, 0]);
                let inside = &inside[8..];
                if kind == GsoType::UDP_L4 {
                    whole.extend(datagram(inside));
                    continue;
                }
                let (_, [source, target], transport) = opened(inside);
                let tcp = TcpPacket::new_checked(transport).unwrap();
                assert!(tcp.verify_checksum(&source, &target));
                whole.extend(tcp.payload());
            }
            assert_eq!(whole, payload(4001));
        }
    }
}

#[test]
fn what_is_said_is_said_again() {
    let frames = [
        frame(GsoType::NONE, false, 100, 0),
        frame(GsoType::TCPV4, false, 3000, 1000),
        frame(GsoType::TCPV6, true, 3000, 1000),
        frame(GsoType::UDP_L4, true, 3000, 1000),
        frame(GsoType::UDP, false, 3000, 1000),
        tunnel(GsoType::TCPV4, [true, false], true),
        tunnel(GsoType::UDP_L4, [false, true], false),
    ];
    for (mut header, frame) in frames {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let said = all(&header, &frame).unwrap().header(order);
            assert_eq!(
                Partial::of(&said, order, TRANSMITTED, &frame[..]),
                all(&header, &frame)
            );
            if order == ByteOrder::Little {
                header.hdr_len = said.hdr_len;
                assert_eq!(said, header);
            }
        }
        // Nothing of it is more than the driver's features allow.
        let needs = all(&header, &frame).unwrap().host();
        for feature in (0..128).map(Features::bit).filter(|bit| needs.contains(*bit)) {
            assert_eq!(
                Partial::of(&header, ByteOrder::Little, needs - feature, &frame[..]),
                None
            );
        }
        assert!(Partial::of(&header, ByteOrder::Little, needs, &frame[..]).is_some());
    }
    let (mut header, frame) = frame(GsoType::TCPV4, false, 3000, 1000);
    header.gso_type |= GsoFlags::ECN.0;
    let partial = all(&header, &frame).unwrap();
    assert_eq!(
        partial.host(),
        features::CSUM | features::HOST_TSO4 | features::HOST_ECN
    );
    assert_eq!(
        partial.guest(),
        features::GUEST_CSUM | features::GUEST_TSO4 | features::GUEST_ECN
    );
    assert_eq!(partial.longest_segment(), Some(14 + 20 + 32 + 1000));
}

#[test]
fn what_contradicts_itself_is_refused() {
    let (good, frame) = frame(GsoType::TCPV4, false, 3000, 1000);
    let with = |change: fn(&mut Hdr)| {
        let mut header = good;
        change(&mut header);
        header
    };
    let end = frame.len() as u16;
    assert!(all(&good, &frame).is_some());
    for header in [
        with(|header| header.flags = 0),
        with(|header| header.gso_size = 0.into()),
        with(|header| header.gso_type = 2),
        with(|header| header.gso_type = GsoType::TCPV6.0),
        with(|header| header.gso_type = GsoType::UDP_L4.0),
        with(|header| header.gso_type = GsoType::UDP.0),
        with(|header| header.csum_start = 33.into()),
        with(|header| header.csum_start = 35.into()),
        with(|header| header.csum_offset = 6.into()),
        with(|header| header.csum_start = 13.into()),
        // dev:net:packet-transmission:08, dev:net:packet-transmission:11
        with(|header| header.gso_type |= 0x60),
        with(|header| header.flags |= HdrFlags::UDP_TUNNEL_CSUM.0),
        with(|header| header.gso_type |= GsoFlags::UDP_TUNNEL_IPV4.0),
        Hdr {
            gso_type: 0,
            csum_start: (end - 17).into(),
            ..good
        },
    ] {
        assert_eq!(all(&header, &frame), None, "{header:?}");
    }
    // Nothing behind the headers.
    assert_eq!(all(&good, &frame[..14 + 20 + 32]), None);

    // dev:net:packet-transmission:10
    let (good, frame) = tunnel(GsoType::TCPV4, [false, false], true);
    let with = |change: fn(&mut Hdr)| {
        let mut header = good;
        change(&mut header);
        header
    };
    for header in [
        with(|header| header.flags &= !HdrFlags::NEEDS_CSUM.0),
        with(|header| header.flags |= HdrFlags::DATA_VALID.0),
        // dev:net:packet-transmission:08
        with(|header| header.gso_type |= GsoFlags::UDP_TUNNEL_IPV6.0),
        with(|header| header.gso_type = GsoFlags::UDP_TUNNEL_IPV4.0),
        with(|header| header.gso_type = GsoFlags::UDP_TUNNEL_IPV6.0 | GsoType::TCPV4.0),
        with(|header| header.outer_th_offset = 35.into()),
        with(|header| header.inner_nh_offset = 40.into()),
        with(|header| header.inner_nh_offset = 0xffff.into()),
    ] {
        assert_eq!(all(&header, &frame), None, "{header:?}");
    }
}

proptest! {
    /// Whatever a driver says of a frame, nothing outside of it is looked at, and what is cut is not more than there was.
    #[test]
    fn hostile_headers_do_no_harm(
        bytes in proptest::array::uniform32(any::<u8>()),
        which in 0..6_usize,
        flags in prop_oneof![Just(1_u8), Just(9), any::<u8>()],
        kind in prop_oneof![Just(1_u8), Just(3), Just(4), Just(5), Just(0x21), Just(0x44), any::<u8>()],
        keep in prop::array::uniform6(any::<bool>()),
        flips in prop::collection::vec((0..200_usize, any::<u8>()), 0..4),
        length in 0..5000_usize,
    ) {
        let (right, mut frame) = match which {
            0 => frame(GsoType::TCPV4, false, 200, 50),
            1 => frame(GsoType::TCPV6, true, 200, 50),
            2 => frame(GsoType::UDP_L4, true, 200, 50),
            3 => frame(GsoType::UDP, true, 200, 50),
            4 => tunnel(GsoType::TCPV6, [false, true], true),
            _ => frame(GsoType::NONE, false, 200, 0),
        };
        let mut header = Hdr { flags, gso_type: kind, ..Hdr::read_from_bytes(&bytes).unwrap() };
        let fields: [fn(&mut Hdr, &Hdr); 6] = [
            |to, from| to.csum_start = from.csum_start,
            |to, from| to.csum_offset = from.csum_offset,
            |to, from| to.outer_th_offset = from.outer_th_offset,
            |to, from| to.inner_nh_offset = from.inner_nh_offset,
            |to, from| to.gso_type = from.gso_type,
            |to, from| to.gso_size = from.gso_size,
        ];
        for (field, _) in fields.iter().zip(keep).filter(|(_, keep)| *keep) {
            field(&mut header, &right);
        }
        for (at, byte) in flips {
            if let Some(place) = frame.get_mut(at) {
                *place ^= byte;
            }
        }
        frame.truncate(length);
        let mut cutter = Cutter::new();
        let partial = all(&header, &frame);
        let loaded = cutter.load(frame.len(), |copy| copy.copy_from_slice(&frame), |_| partial);
        prop_assert_eq!(loaded, partial.is_some());
        let mut count = 0;
        while let Some(segment) = cutter.frame() {
            prop_assert!(segment.len() <= frame.len() + 8);
            count += 1;
            cutter.consume();
        }
        prop_assert!(count <= frame.len());
        if let Some(partial) = partial {
            let said = partial.header(ByteOrder::Little);
            prop_assert!(usize::from(said.csum_start.get() + said.csum_offset.get()) + 2 <= frame.len());
            prop_assert!(usize::from(said.hdr_len.get()) <= frame.len());
            prop_assert_eq!(all(&said, &frame), Some(partial));
        }
    }
}
