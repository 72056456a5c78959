//! Rings that are not where the front-end says, or not what they should be.

mod common;

use std::os::fd::AsFd;

use common::raw::*;
use common::*;
use ringwright_vhost_user::message::{Header, Request, VringAddress, VringState};
use ringwright_vhost_user::socket::Socket;
use rustix::net::SendFlags;
use zerocopy::IntoBytes;

/// Rings that the front-end says are where no memory is, or where they do not fit.
#[test]
fn rings_outside_memory_are_refused() {
    let server = Server::start(counting_entropy());
    let file = memfd(0x4000);
    // User addresses: the region has 0x1000_0000 to 0x1000_3fff.
    let good = VringAddress {
        descriptor: 0x1000_0000,
        available: 0x1000_1000,
        used: 0x1000_2000,
        ..Default::default()
    };
    let bad = [
        (
            "no descriptor area",
            VringAddress {
                descriptor: 0,
                ..good
            },
        ),
        (
            "no driver area",
            VringAddress {
                available: u64::MAX,
                ..good
            },
        ),
        (
            "no device area",
            VringAddress {
                used: 0x1000_4000,
                ..good
            },
        ),
        (
            "guest addresses",
            VringAddress {
                descriptor: 0,
                available: 0x1000,
                used: 0x2000,
                ..good
            },
        ),
        (
            "a descriptor area that ends too late",
            VringAddress {
                descriptor: 0x1000_3ff0,
                ..good
            },
        ),
        (
            "a driver area that ends too late",
            VringAddress {
                available: 0x1000_3ffe,
                ..good
            },
        ),
        (
            "a device area that ends too late",
            VringAddress {
                used: 0x1000_3ffc,
                ..good
            },
        ),
        (
            "a misaligned descriptor area",
            VringAddress {
                descriptor: 0x1000_0008,
                ..good
            },
        ),
        (
            "a dirty log that is not there",
            VringAddress {
                flags: VringAddress::LOG,
                ..good
            },
        ),
    ];
    let set_up = |addresses: VringAddress| {
        let raw = Raw(server.stream());
        raw.send(Request::SET_FEATURES, 0, &(1u64 << 32).to_ne_bytes(), &[]);
        raw.send(
            Request::SET_MEM_TABLE,
            0,
            &table(&[region(0, 0x4000)]),
            &[file.as_fd()],
        );
        raw.send(Request::SET_VRING_NUM, 0, &state(0, 16), &[]);
        raw.send(Request::SET_VRING_ADDR, 0, addresses.as_bytes(), &[]);
        raw
    };
    let kick = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
    for (what, addresses) in bad {
        let raw = set_up(addresses);
        let _ = rustix::net::send(
            &raw.0,
            Header {
                request: 12,
                flags: 1,
                size: 8,
            }
            .as_bytes(),
            SendFlags::NOSIGNAL,
        );
        let _ = rustix::net::send(&raw.0, &(1u64 << 8).to_ne_bytes(), SendFlags::NOSIGNAL);
        raw.expect_close(what);
        check_alive(&server, what);
    }
    // The same with good addresses runs, in which Linux in user mode has all ones for the log.
    let raw = set_up(VringAddress {
        log: u64::MAX,
        ..good
    });
    raw.send(Request::SET_VRING_KICK, 0, &0u64.to_ne_bytes(), &[kick.as_fd()]);
    raw.send(Request::GET_VRING_BASE, 0, &state(0, 0), &[]);
    let socket = Socket::new(raw.0.try_clone().unwrap()).with_timeout(DEADLINE);
    assert_eq!(
        socket.receive().unwrap().read::<VringState>().unwrap(),
        VringState { index: 0, num: 0 }
    );
}

/// Ring memory full of nonsense: the queue stops, the device says that it needs a reset, and the connection goes on.
#[test]
fn a_broken_ring_needs_a_reset_only() {
    let server = Server::start(counting_entropy());
    let raw = Raw(server.stream()).negotiate();
    let file = memfd(0x4000);
    rustix::io::pwrite(&file, &[0xff; 0x2000], 0).unwrap();
    let error = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
    let addresses = VringAddress {
        descriptor: 0x1000_0000,
        available: 0x1000_1000,
        used: 0x1000_2000,
        ..Default::default()
    };
    raw.send(
        Request::SET_FEATURES,
        0,
        &(1u64 << 32 | 1 << 30).to_ne_bytes(),
        &[],
    );
    raw.send(
        Request::SET_MEM_TABLE,
        0,
        &table(&[region(0, 0x4000)]),
        &[file.as_fd()],
    );
    raw.send(Request::SET_VRING_NUM, 0, &state(0, 16), &[]);
    raw.send(Request::SET_VRING_ADDR, 0, addresses.as_bytes(), &[]);
    raw.send(Request::SET_VRING_ERR, 0, &0u64.to_ne_bytes(), &[error.as_fd()]);
    // Polled, as there is no kick descriptor.
    raw.send(Request::SET_VRING_KICK, 0, &(1u64 << 8).to_ne_bytes(), &[]);
    raw.send(Request::SET_VRING_ENABLE, 0, &state(0, 1), &[]);
    let ready = &mut [rustix::event::PollFd::new(&error, rustix::event::PollFlags::IN)];
    let timeout = rustix::event::Timespec {
        tv_sec: DEADLINE.as_secs() as _,
        tv_nsec: 0,
    };
    assert_eq!(rustix::event::poll(ready, Some(&timeout)).unwrap(), 1);
    raw.send(Request::GET_STATUS, 0, &[], &[]);
    assert_eq!(raw.number(), 64);
    raw.send(Request::SET_STATUS, Header::NEED_REPLY, &0u64.to_ne_bytes(), &[]);
    assert_eq!(raw.number(), 0);
    raw.send(Request::GET_STATUS, 0, &[], &[]);
    assert_eq!(raw.number(), 0);
    drop(raw);
    check_alive(&server, "after a broken ring");
}
