//! Front-ends that lie, send garbage and vanish: the connection ends, and the next one works.

mod common;

use std::io::Write;
use std::os::fd::AsFd;

use common::raw::*;
use common::*;
use ringwright_vhost_user::message::{Header, Request, SingleRegion};
use zerocopy::IntoBytes;

#[test]
fn malformed_messages_end_the_connection() {
    let server = Server::start(counting_entropy());
    let file = memfd(4096);
    let files = vec![file.as_fd(); 40];
    type Attack<'a> = (&'a str, Box<dyn Fn(&Raw) + 'a>);
    let word = |number: u64| number.to_ne_bytes().to_vec();
    let with = |request, flags, payload: Vec<u8>, count: usize| {
        let files = &files;
        Box::new(move |raw: &Raw| raw.send(request, flags, &payload, &files[..count]))
    };
    let attacks: Vec<Attack<'_>> = vec![
        (
            "nothing at all",
            Box::new(|raw| raw.0.shutdown(std::net::Shutdown::Write).unwrap()),
        ),
        ("garbage", Box::new(|raw| raw.send_bytes(&[0xa5; 100], &[]))),
        ("zeroes", Box::new(|raw| raw.send_bytes(&[0; 100], &[]))),
        ("a request that is none", with(Request(0), 0, vec![], 0)),
        ("a request beyond the last", with(Request(1000), 0, vec![], 0)),
        ("a reply", with(Request::SET_OWNER, Header::REPLY, vec![], 0)),
        (
            "a payload too short",
            with(Request::SET_FEATURES, 0, vec![0; 7], 0),
        ),
        (
            "a payload too long",
            with(Request::SET_FEATURES, 0, vec![0; 9], 0),
        ),
        (
            "a payload where none is",
            with(Request::GET_FEATURES, 0, vec![0; 8], 0),
        ),
        (
            "a descriptor where none is",
            with(Request::SET_OWNER, 0, vec![], 1),
        ),
        (
            "forty descriptors",
            with(Request::SET_MEM_TABLE, 0, table(&[region(0, 4096)]), 40),
        ),
        (
            "fewer descriptors than regions",
            with(Request::SET_MEM_TABLE, 0, table(&[region(0, 4096); 2]), 1),
        ),
        (
            "more descriptors than regions",
            with(Request::SET_MEM_TABLE, 0, table(&[region(0, 4096)]), 2),
        ),
        (
            "a table that says more than it has",
            with(Request::SET_MEM_TABLE, 0, vec![8, 0, 0, 0, 0, 0, 0, 0], 8),
        ),
        (
            "a table of four billion",
            with(Request::SET_MEM_TABLE, 0, vec![0xff; 8], 8),
        ),
        (
            "an empty region",
            with(Request::SET_MEM_TABLE, 0, table(&[region(0, 0)]), 1),
        ),
        (
            "a file too short",
            with(Request::SET_MEM_TABLE, 0, table(&[region(0, 4097)]), 1),
        ),
        (
            "a region without end",
            with(Request::SET_MEM_TABLE, 0, table(&[region(0, u64::MAX)]), 1),
        ),
        (
            "regions that overlap",
            with(Request::SET_MEM_TABLE, 0, table(&[region(0, 4096); 2]), 2),
        ),
        (
            "features not offered",
            with(Request::SET_FEATURES, 0, word(u64::MAX), 0),
        ),
        (
            "protocol features not offered",
            with(Request::SET_PROTOCOL_FEATURES, 0, word(1 << 22), 0),
        ),
        (
            "in-band notifications alone",
            with(Request::SET_PROTOCOL_FEATURES, 0, word(1 << 14), 0),
        ),
        (
            "a request of an extension not in use",
            with(Request::GET_STATUS, 0, vec![], 0),
        ),
        (
            "in-flight tracking",
            with(Request::GET_INFLIGHT_FD, 0, vec![0; 24], 0),
        ),
        (
            "a queue too far",
            with(Request::SET_VRING_NUM, 0, state(1, 16), 0),
        ),
        (
            "a queue of nothing",
            with(Request::SET_VRING_NUM, 0, state(0, 0), 0),
        ),
        (
            "a queue too large",
            with(Request::SET_VRING_NUM, 0, state(0, 65536), 0),
        ),
        (
            "a base of queue -1",
            with(Request::SET_VRING_BASE, 0, state(u32::MAX, 0), 0),
        ),
        (
            "a kick for queue 255",
            with(Request::SET_VRING_KICK, 0, word(255), 1),
        ),
        (
            "no kick, and no flag for it",
            with(Request::SET_VRING_KICK, 0, word(0), 0),
        ),
        (
            "a call and the flag for none",
            with(Request::SET_VRING_CALL, 0, word(1 << 8), 1),
        ),
        ("enable 2", with(Request::SET_VRING_ENABLE, 0, state(0, 2), 0)),
    ];
    for (what, attack) in attacks {
        let raw = Raw(server.stream());
        attack(&raw);
        raw.expect_close(what);
        check_alive(&server, what);
    }
}

#[test]
fn refusals_are_answered_where_an_answer_is_wanted() {
    let server = Server::start(counting_entropy());
    let raw = Raw(server.stream()).negotiate();
    let file = memfd(4096);
    let single = |region| SingleRegion { padding: 0, region }.as_bytes().to_vec();
    let need = Header::NEED_REPLY;
    let refused = [
        (Request(99), vec![], 0),
        (Request::GET_INFLIGHT_FD, vec![0; 24], 0),
        (Request::SET_LOG_BASE, vec![0; 16], 1),
        (Request::IOTLB_MSG, vec![0; 32], 0),
        (Request::SET_VRING_NUM, state(7, 1), 0),
        (Request::ADD_MEM_REG, single(region(0, 8192)), 1),
        (Request::REM_MEM_REG, single(region(0, 4096)), 0),
        (Request::SET_STATUS, 256u64.to_ne_bytes().to_vec(), 0),
    ];
    for (request, payload, files) in refused {
        raw.send(request, need, &payload, &[file.as_fd()][..files]);
        assert_ne!(raw.number(), 0, "{request}");
    }
    // The connection has not suffered.
    raw.send(
        Request::ADD_MEM_REG,
        need,
        &single(region(0, 4096)),
        &[file.as_fd()],
    );
    assert_eq!(raw.number(), 0);
    raw.send(
        Request::REM_MEM_REG,
        need,
        &single(region(0, 4096)),
        &[file.as_fd()],
    );
    assert_eq!(raw.number(), 0);
    raw.send(Request::GET_MAX_MEM_SLOTS, 0, &[], &[]);
    assert_eq!(raw.number(), 512);
    drop(raw);
    check_alive(&server, "after refusals");
}

/// Cuts a whole dialogue short at every byte.
#[test]
fn a_front_end_that_vanishes_at_any_byte() {
    let server = Server::start(counting_entropy());
    let mut bytes = Vec::new();
    let mut push = |request: Request, payload: &[u8]| {
        let header = Header {
            request: request.0,
            flags: 1,
            size: payload.len() as u32,
        };
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(payload);
    };
    push(Request::SET_OWNER, &[]);
    push(Request::SET_FEATURES, &0u64.to_ne_bytes());
    push(Request::SET_VRING_NUM, &state(0, 16));
    push(Request::SET_VRING_CALL, &(1u64 << 8).to_ne_bytes());
    for length in 0..bytes.len() {
        server.stream().write_all(&bytes[..length]).unwrap();
    }
    check_alive(&server, "after many that vanished");
}

/// Not hostile but odd: User Mode Linux asks for a reply to the message that negotiates replies, and waits for it.
#[test]
fn the_message_that_negotiates_replies_is_replied_to() {
    let server = Server::start(counting_entropy());
    let frontend = Raw(server.stream());
    let protocol = ringwright_vhost_user::backend::OFFERED.0;
    frontend.send(
        Request::SET_PROTOCOL_FEATURES,
        Header::NEED_REPLY,
        protocol.as_bytes(),
        &[],
    );
    assert_eq!(frontend.number(), 0);
}
