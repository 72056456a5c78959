//! A server that is told to end completes what it has begun.

use std::fs;
use std::path::Path;

use ringwright_driver::block::Request;
use rustix::process::Signal;

use crate::support::{Disk, Server};

/// One request at a time, and then each has to wait for a fifth of a second.
const SLOW: &str = "serve block disk.img --socket s --limit-iops 5 --limit-iops-burst 1";

fn submit(disk: &mut Disk, count: u64) {
    for sector in 0..count {
        let buffer = disk.buffer(512);
        disk.submit(Request::read(sector, buffer));
    }
}

fn server(folder: &Path, arguments: &str) -> (Server, Disk) {
    fs::write(folder.join("disk.img"), [7; 8192]).unwrap();
    let server = Server::start(folder, arguments, 1);
    let disk = Disk::connect(&folder.join("s"));
    (server, disk)
}

#[test]
fn what_is_in_flight_is_completed_before_a_server_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (mut server, mut disk) = server(folder.path(), SLOW);
    submit(&mut disk, 4);
    // By then the queue has all of them.
    disk.completion().result.unwrap();
    server.signal(Signal::TERM);
    assert!(server.child.wait().unwrap().success());
    for _ in 0..3 {
        let completion = disk.driver.poll(0).unwrap().expect("completed before the end");
        completion.result.unwrap();
    }
}

#[test]
fn a_server_ends_even_if_what_is_in_flight_does_not() {
    let folder = tempfile::tempdir().unwrap();
    // Sixteen seconds for each after the first.
    let slow = SLOW.replace("iops 5 --limit-iops-burst 1", "bps 512 --limit-bps-burst 8K");
    let (mut server, mut disk) = server(folder.path(), &slow);
    for _ in 0..2 {
        let buffer = disk.buffer(8192);
        disk.submit(Request::read(0, buffer));
    }
    disk.completion().result.unwrap();
    server.signal(Signal::TERM);
    server.says("still outstanding");
    assert!(server.child.wait().unwrap().success());
    assert!(disk.driver.poll(0).unwrap().is_none());
}
