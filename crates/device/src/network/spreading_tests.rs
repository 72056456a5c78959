//! Receive-side scaling, reports of hashes, hashes of packets in tunnels, and contexts.

use ringwright_spec::feature;
use ringwright_spec::network::control::{Class, HashTunnelCommand, Mq, RssCtx};
use ringwright_spec::network::hash::{HashTypes, TunnelTypes};

use super::hash::tests::{KEY, frame as packet};
use super::hash::{Hashing, TYPES};
use super::packet::{Packet, TCP, UDP};
use super::steering_tests::{Driver, PAIRS, frame, interface};
use super::tunnel::innermost;
use super::*;
use crate::testing::{Bench, formats, wait_until};

const SCALED: Features = Features(features::CTRL_VQ.0 | features::MQ.0 | features::RSS.0);
const REPORTED: Features = Features(features::CTRL_VQ.0 | features::HASH_REPORT.0);

/// The data of VIRTIO_NET_CTRL_MQ_RSS_CONFIG.
fn configuration(types: HashTypes, table: &[u16], unclassified: u16, transmit: u16, key: &[u8]) -> Vec<u8> {
    let mut data = types.0.to_le_bytes().to_vec();
    data.extend((table.len() as u16).wrapping_sub(1).to_le_bytes());
    data.extend(unclassified.to_le_bytes());
    data.extend(table.iter().flat_map(|pair| pair.to_le_bytes()));
    data.extend(transmit.to_le_bytes());
    data.push(key.len() as u8);
    data.extend(key);
    data
}

/// The hash of a frame with all types.
fn hash(frame: &[u8]) -> u32 {
    Hashing::new(TYPES, &KEY).unwrap().of(Packet::of(frame)).value
}

#[test]
fn frames_go_where_their_hash_says() {
    let table = [0, 2, 2, 1, 0, 0, 1, 2];
    for features in formats() {
        let mut driver = Driver::new(features | SCALED);
        // Nothing is spread before it is asked for.
        assert_eq!(driver.pairs_of(0..8), [0; 8]);
        let data = configuration(TYPES, &table, 1, PAIRS, &KEY);
        assert!(driver.obeys(Class::MQ, Mq::RSS_CONFIG.0, &data));
        let expected: Vec<_> = (0..32)
            .map(|flow| table[hash(&frame(flow, false)) as usize % table.len()])
            .collect();
        assert!((0..PAIRS).all(|pair| expected.contains(&pair)));
        assert_eq!(driver.pairs_of(0..32), expected);
        assert_eq!(driver.pair_of(&[0xff; 60]), 1, "what has no hash");
        // The mode that was chosen last counts.
        assert!(driver.use_pairs(1));
        assert_eq!(driver.pairs_of(0..8), [0; 8]);
        assert!(driver.obeys(Class::MQ, Mq::RSS_CONFIG.0, &data));
        assert_eq!(driver.pairs_of(0..32), expected);
    }
}

#[test]
fn frames_for_a_pair_that_is_reset_are_dropped() {
    let mut driver = Driver::new(formats()[0] | SCALED | feature::RING_RESET);
    let data = configuration(TYPES, &[1], 0, PAIRS, &KEY);
    assert!(driver.obeys(Class::MQ, Mq::RSS_CONFIG.0, &data));
    assert_eq!(driver.pairs_of(0..4), [1; 4]);
    driver.bench.host.stop_queue(2).unwrap();
    driver.arrive(&frame(1, false));
    let drops = driver.drops.clone();
    wait_until("it is dropped", || drops.receive() == 1);
    assert_eq!(driver.pair_of(&[0xff; 60]), 0);
}

#[test]
fn configurations_that_make_no_sense_are_refused() {
    let mut driver = Driver::new(formats()[0] | SCALED);
    let pairs = [0; 257];
    for (data, sense) in [
        (configuration(TYPES, &pairs[..128], 0, 1, &KEY), true),
        (configuration(HashTypes::NONE, &[0], 0, 1, &[]), true),
        (configuration(TYPES, &pairs[..256], 0, 1, &KEY), false),
        (configuration(TYPES, &pairs[..3], 0, 1, &KEY), false),
        (configuration(TYPES, &[], 0, 1, &KEY), false),
        (configuration(TYPES, &[PAIRS], 0, 1, &KEY), false),
        (configuration(TYPES, &[0], PAIRS, 1, &KEY), false),
        (configuration(TYPES, &[0], 0, 0, &KEY), false),
        (configuration(TYPES, &[0], 0, PAIRS + 1, &KEY), false),
        (configuration(HashTypes(1 << 9), &[0], 0, 1, &KEY), false),
        (configuration(TYPES, &[0], 0, 1, &[0; 41]), false),
        (configuration(TYPES, &[0], 0, 1, &KEY)[..50].to_vec(), false),
    ] {
        assert_eq!(
            driver.obeys(Class::MQ, Mq::RSS_CONFIG.0, &data),
            sense,
            "{data:?}"
        );
    }
    // It belongs to the configuration here.
    let hash = [&TYPES.0.to_le_bytes()[..], &[0; 9]].concat();
    assert!(!driver.obeys(Class::MQ, Mq::HASH_CONFIG.0, &hash));
}

#[test]
fn hashes_are_reported() {
    for more in [Features::NONE, SCALED] {
        let mut driver = Driver::new(formats()[0] | REPORTED | more);
        let segment = frame(5, false);
        let (_, header) = driver.received(&segment);
        assert_eq!(header[12..], [0; 8]);
        let obeys = match more.contains(features::RSS) {
            true => {
                let data = configuration(TYPES, &[0], 0, 1, &KEY);
                driver.obeys(Class::MQ, Mq::RSS_CONFIG.0, &data)
            }
            false => {
                let data = [&TYPES.0.to_le_bytes()[..], &[0; 8], &[40], &KEY].concat();
                driver.obeys(Class::MQ, Mq::HASH_CONFIG.0, &data)
            }
        };
        assert!(obeys);
        let (_, header) = driver.received(&segment);
        assert_eq!(header[12..16], hash(&segment).to_le_bytes());
        assert_eq!(header[16..], [2, 0, 0, 0]);
        let (_, header) = driver.received(&[0xff; 60]);
        assert_eq!(header[12..], [0; 8]);
    }
}

/// An IPv4 or IPv6 packet with this content of a protocol, in a frame.
fn outside(v6: bool, protocol: u8, content: &[u8]) -> Vec<u8> {
    let ends: [&[u8]; 2] = if v6 {
        [&[1; 16], &[2; 16]]
    } else {
        [&[1; 4], &[2; 4]]
    };
    let mut frame = packet(ends[0], ends[1], protocol, (0, &[]), [0; 2]);
    frame.truncate(frame.len() - 20);
    frame.extend(content);
    frame
}

#[test]
fn packets_in_tunnels_are_hashed_if_that_is_wanted() {
    let inner = packet(&[10, 0, 0, 1], &[10, 0, 0, 2], TCP, (0, &[]), [80, 1234]);
    let (bare, inside) = (&inner[14..], Packet::of(&inner).unwrap());
    let udp = |port: u16| [&[9, 9], &port.to_be_bytes()[..], &[0; 4]].concat();
    for (kind, v6, protocol, head, content) in [
        (TunnelTypes::IPIP, false, 4, vec![], bare),
        (
            TunnelTypes::GRE_2784,
            false,
            47,
            vec![0x80, 0, 8, 0, 0, 0, 0, 0],
            bare,
        ),
        (
            TunnelTypes::GRE_2890,
            false,
            47,
            [&[0x30, 0, 8, 0][..], &[0; 8]].concat(),
            bare,
        ),
        (TunnelTypes::GRE_7676, true, 47, vec![0, 0, 8, 0], bare),
        (
            TunnelTypes::NVGRE,
            false,
            47,
            vec![0x20, 0, 0x65, 0x58, 0, 0, 1, 2],
            &inner,
        ),
        (
            TunnelTypes::GRE_UDP,
            false,
            UDP,
            [&udp(4754)[..], &[0, 0, 8, 0]].concat(),
            bare,
        ),
        (
            TunnelTypes::VXLAN,
            false,
            UDP,
            [&udp(4789)[..], &[8, 0, 0, 0, 0, 0, 1, 0]].concat(),
            &inner,
        ),
        (
            TunnelTypes::VXLAN_GPE,
            true,
            UDP,
            [&udp(4790)[..], &[12, 0, 0, 1, 0, 0, 1, 0]].concat(),
            bare,
        ),
        (
            TunnelTypes::GENEVE,
            false,
            UDP,
            [&udp(6081)[..], &[1, 0, 0x65, 0x58, 0, 0, 1, 0], &[0; 4]].concat(),
            &inner,
        ),
    ] {
        let whole = outside(v6, protocol, &[&head, content].concat());
        assert_eq!(innermost(&whole, kind), Some(inside), "{kind:?}");
        let others = TUNNELS.without(kind);
        assert_eq!(innermost(&whole, others), Packet::of(&whole), "{kind:?}");
        assert_eq!(
            innermost(&whole, TunnelTypes::NONE),
            Packet::of(&whole),
            "{kind:?}"
        );
        // What ends too soon is in no tunnel, or nothing is in that.
        for length in 0..whole.len() {
            let _ = innermost(&whole[..length], TUNNELS);
        }
    }
}

#[test]
fn hashes_of_inner_headers_are_asked_for() {
    let mut driver = Driver::new(formats()[0] | REPORTED | features::HASH_TUNNEL);
    let inner = packet(&[10, 0, 0, 1], &[10, 0, 0, 2], TCP, (0, &[]), [80, 1234]);
    let whole = outside(false, 4, &inner[14..]);
    let data = [&TYPES.0.to_le_bytes()[..], &[0; 8], &[40], &KEY].concat();
    assert!(driver.obeys(Class::MQ, Mq::HASH_CONFIG.0, &data));
    let set = HashTunnelCommand::SET.0;
    for (types, expected) in [
        (None, &whole),
        (Some(TunnelTypes::IPIP), &inner),
        (Some(TunnelTypes::VXLAN), &whole),
        (Some(TunnelTypes::IPIP), &inner),
        (Some(TunnelTypes::NONE), &whole),
    ] {
        if let Some(types) = types {
            assert!(driver.obeys(Class::HASH_TUNNEL, set, &types.0.to_le_bytes()));
        }
        let (_, header) = driver.received(&whole);
        assert_eq!(header[12..16], hash(expected).to_le_bytes(), "{types:?}");
    }
    // dev:net:inner-header-hash:02
    assert!(!driver.obeys(Class::HASH_TUNNEL, set, &(1u32 << 9).to_le_bytes()));
}

#[test]
fn contexts_are_there_until_they_are_deleted_or_the_device_is_reset() {
    let features = formats()[0] | SCALED | features::RSS_CONTEXT;
    let mut driver = Driver::new(features);
    let answer = driver
        .controlq
        .request(&[&[Class::RSS_CTX.0, RssCtx::CAP_GET.0]], &[1, 2]);
    assert_eq!((answer.data, answer.written), (vec![0, 16, 0], 3));
    let context = |id: u16| {
        let configuration = configuration(TYPES, &[1, 0], 0, 1, &KEY);
        [&id.to_le_bytes()[..], &[0xff; 6], &configuration].concat()
    };
    let mut command = |command: RssCtx, data: &[u8]| driver.obeys(Class::RSS_CTX, command.0, data);
    assert!(!command(RssCtx::MOD, &context(1)) && !command(RssCtx::DEL, &[1, 0]));
    assert!(command(RssCtx::ADD, &context(1)) && command(RssCtx::ADD, &context(16)));
    assert!(!command(RssCtx::ADD, &context(1)) && command(RssCtx::MOD, &context(1)));
    assert!(!command(RssCtx::ADD, &context(0)) && !command(RssCtx::ADD, &context(17)));
    assert!(command(RssCtx::DEL, &[16, 0]) && !command(RssCtx::DEL, &[16, 0]));

    // dev:net:rss-context:02
    driver.bench.host.reset();
    driver.bench.host.set_features(features).unwrap();
    let mut driver = Driver::on(driver.bench, driver.drops, driver.far);
    assert!(!driver.obeys(Class::RSS_CTX, RssCtx::MOD.0, &context(1)));
}

#[test]
fn all_of_it_moves_with_the_device() {
    let features = formats()[0] | SCALED | REPORTED | features::HASH_TUNNEL | features::RSS_CONTEXT;
    let mut driver = Driver::new(features);
    let data = configuration(TYPES, &[2, 1], 1, 2, &KEY);
    let tunnels = TunnelTypes::IPIP.0.to_le_bytes();
    assert!(driver.obeys(Class::MQ, Mq::RSS_CONFIG.0, &data));
    assert!(driver.obeys(Class::HASH_TUNNEL, HashTunnelCommand::SET.0, &tunnels));
    let context = [&[3, 0][..], &[0; 6], &data].concat();
    assert!(driver.obeys(Class::RSS_CTX, RssCtx::ADD.0, &context));
    let inner = packet(&[10, 0, 0, 1], &[10, 0, 0, 2], TCP, (0, &[]), [80, 1234]);
    let whole = outside(false, 4, &inner[14..]);
    let before = driver.received(&whole);
    driver.bench.host.suspend().unwrap();
    let saved = driver.bench.host.save().unwrap();
    drop(driver);

    let (network, far) = interface(true);
    let drops = network.drops();
    let mut bench = Bench::new(network, features);
    for length in 0..saved.len() {
        assert!(bench.host.restore(&saved[..length]).is_err());
    }
    bench.host.restore(&saved).unwrap();
    let mut driver = Driver::on(bench, drops, far);
    assert_eq!(driver.received(&whole), before);
    assert!(driver.obeys(Class::RSS_CTX, RssCtx::MOD.0, &context));
}
