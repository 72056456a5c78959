//! Each command, as the text describes it, and as it does not.

mod access;
mod features;
mod hostile;
mod information;
mod irqs;

use std::os::fd::{AsFd, OwnedFd};

use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::testing::*;
use crate::message::*;
use crate::socket::SocketError;

const EINVAL: u32 = 22;

fn access(region: u32, offset: u64, count: u32) -> RegionAccess {
    RegionAccess {
        offset,
        region,
        count,
    }
}

fn irq_set(flags: u32, index: u32, start: u32, count: u32) -> IrqSet {
    IrqSet {
        argsz: 20,
        flags,
        index,
        start,
        count,
    }
}

fn memfd(size: u64) -> OwnedFd {
    let file = rustix::fs::memfd_create("memory", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&file, size).unwrap();
    file
}
