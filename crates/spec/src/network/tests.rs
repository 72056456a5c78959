//! Tests of what is computed: feature rules, virtqueue indices, the size of the header.

use super::hash::{HashReport, HashTypes};
use super::statistics::{ReplyType, StatsTypes};
use super::*;
use crate::feature::{VERSION_1, unmet};

/// Name of the first feature of `set` that lacks a requirement, and what it lacks.
fn lacking(set: Features) -> Option<(&'static str, Features)> {
    unmet(set, features::ALL).map(|(feature, missing)| (feature.name, missing))
}

#[test]
fn features_with_rules_are_those_of_the_document() {
    let with_rules = features::ALL
        .iter()
        .filter(|feature| !feature.requires.is_empty());
    assert_eq!(with_rules.count(), 26);
    assert_eq!(features::ALL.iter().filter(|feature| feature.legacy).count(), 3);
    assert_eq!(features::ALL.len(), 45);
}

#[test]
fn one_of_several_or_all_of_several_features_are_required() {
    use features::*;
    assert_eq!(lacking(GUEST_CSUM | GUEST_TSO6 | GUEST_ECN), None);
    assert_eq!(
        lacking(GUEST_CSUM | GUEST_ECN),
        Some(("GUEST_ECN", GUEST_TSO4 | GUEST_TSO6))
    );
    assert_eq!(lacking(CTRL_VQ | HASH_REPORT | HASH_TUNNEL), None);
    assert_eq!(
        lacking(CTRL_VQ | HASH_TUNNEL),
        Some(("HASH_TUNNEL", RSS | HASH_REPORT))
    );
    assert_eq!(lacking(HASH_REPORT | HASH_TUNNEL), Some(("HASH_TUNNEL", CTRL_VQ)));
    let tunnel = CSUM | HOST_TSO4 | HOST_TSO6 | HOST_USO | HOST_UDP_TUNNEL_GSO;
    assert_eq!(lacking(tunnel), None);
    assert_eq!(
        lacking(tunnel - HOST_TSO6),
        Some(("HOST_UDP_TUNNEL_GSO", HOST_TSO6))
    );
}

#[test]
fn virtqueues_are_numbered_in_pairs() {
    assert_eq!(pairs(features::MAC, 9), 1);
    assert_eq!(pairs(features::MQ, 9), 9);
    assert_eq!(pairs(features::RSS, 9), 9);
    assert_eq!(
        [receiveq(0), transmitq(0), controlq(1)],
        [Some(0), Some(1), Some(2)]
    );
    assert_eq!(
        [receiveq(8), transmitq(8), controlq(9)],
        [Some(16), Some(17), Some(18)]
    );
    assert_eq!((transmitq(0x7fff), controlq(0x8000)), (Some(0xffff), None));
}

#[test]
fn the_header_grows_with_the_features() {
    use features::*;
    assert_eq!(Hdr::size(Features::NONE), 10);
    assert_eq!(Hdr::size(MRG_RXBUF), 12);
    assert_eq!(Hdr::size(VERSION_1), 12);
    assert_eq!(Hdr::size(VERSION_1 | HASH_REPORT), 20);
    assert_eq!(Hdr::size(VERSION_1 | HOST_UDP_TUNNEL_GSO), 24);
    assert_eq!(Hdr::size(VERSION_1 | GUEST_UDP_TUNNEL_GSO | HASH_REPORT), 24);
    assert_eq!(Hdr::size(VERSION_1 | OUT_NET_HEADER), size_of::<Hdr>());
    assert_eq!(Hdr::size(VERSION_1 | IPSEC), size_of::<Hdr>());
}

#[test]
fn reports_name_the_bits_of_their_types() {
    for (report, types) in HashReport::ALL[1..].iter().zip(HashTypes::ALL) {
        assert_eq!(types.0.0, 1 << (report.0.0 - 1), "{}", report.1);
    }
    for (reply, types) in ReplyType::ALL.iter().zip(StatsTypes::ALL) {
        assert_eq!((types.0.0, types.1), (1 << reply.0.0, reply.1));
    }
}
