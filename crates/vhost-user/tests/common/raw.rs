//! A front-end that sends whatever a test wants.

use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use ringwright_driver::Options;
use ringwright_driver::entropy::Entropy;
use ringwright_vhost_user::message::{Header, MemoryRegion, MemoryTable, Request, VringState};
use ringwright_vhost_user::socket::Socket;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use zerocopy::IntoBytes;

use super::{DEADLINE, ENTROPY, Server, check_counting, nap};

/// What a front-end sends, byte for byte.
pub struct Raw(pub UnixStream);

impl Raw {
    pub fn send(&self, request: Request, flags: u32, payload: &[u8], files: &[BorrowedFd<'_>]) {
        let header = Header {
            request: request.0,
            flags: flags | 1,
            size: payload.len() as u32,
        };
        self.send_bytes(&[header.as_bytes(), payload].concat(), files);
    }

    pub fn send_bytes(&self, bytes: &[u8], files: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(files)));
        }
        sendmsg(&self.0, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).unwrap();
    }

    /// Waits for the back-end to close the connection, without having answered.
    pub fn expect_close(mut self, what: &str) {
        let mut rest = Vec::new();
        // Data that the back-end did not read makes its close a reset.
        let ended = self.0.read_to_end(&mut rest);
        assert!(
            ended.is_ok() || ended.unwrap_err().kind() == std::io::ErrorKind::ConnectionReset,
            "{what}"
        );
        assert!(rest.is_empty(), "{what}: {rest:?}");
    }

    /// The next answer, as a number.
    pub fn number(&self) -> u64 {
        let socket = Socket::new(self.0.try_clone().unwrap()).with_timeout(DEADLINE);
        socket.receive().unwrap().read().unwrap()
    }

    pub fn negotiate(self) -> Self {
        let protocol = ringwright_vhost_user::backend::OFFERED.0;
        self.send(Request::SET_PROTOCOL_FEATURES, 0, protocol.as_bytes(), &[]);
        self
    }
}

pub fn memfd(size: u64) -> OwnedFd {
    let file = memfd_create("hostile", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&file, size).unwrap();
    file
}

pub fn region(guest_address: u64, size: u64) -> MemoryRegion {
    MemoryRegion {
        guest_address,
        size,
        user_address: guest_address + 0x1000_0000,
        mmap_offset: 0,
    }
}

pub fn table(regions: &[MemoryRegion]) -> Vec<u8> {
    let head = MemoryTable {
        count: regions.len() as u32,
        padding: 0,
    };
    [head.as_bytes(), regions.as_bytes()].concat()
}

/// The device works for a decent front-end.
pub fn check_alive(server: &Server, what: &str) {
    let frontend = server.frontend(ENTROPY);
    let area = frontend.area().clone();
    let mut driver = Entropy::new(frontend, &area, Options::default()).expect(what);
    check_counting(&mut driver, &area, 5, 10, None, nap);
}

pub fn state(index: u32, num: u32) -> Vec<u8> {
    VringState { index, num }.as_bytes().to_vec()
}
