//! Memory regions that come and go while rings run.

mod common;

use std::sync::Arc;

use common::*;
use ringwright_driver::block::{Block, Request};
use ringwright_driver::{Options, Transport};
use ringwright_memory::{Area, Mapping, Region};
use ringwright_vhost_user::backend::OFFERED;
use ringwright_vhost_user::frontend::{Frontend, FrontendOptions};
use ringwright_vhost_user::message::ProtocolFeatures;

const ELSEWHERE: u64 = 0x10_0000_0000;

fn region(number: u64) -> Region {
    // Not a multiple of a page, as libblkio's regions are.
    let length = (1 << 20) + 512;
    Region::new(
        ELSEWHERE + number * (4 << 20),
        Arc::new(Mapping::memfd("region", length).unwrap()),
    )
}

/// Adds and removes regions while requests run whose buffers lie in the first region and in those that come and go.
fn regions_change_under_load(protocol_features: ProtocolFeatures) {
    let server = Server::start(memory_disk(4, 1));
    let options = FrontendOptions {
        protocol_features,
        queues: 1,
        ..FrontendOptions::new(BLOCK)
    };
    let frontend = Frontend::connect(&server.path, options).unwrap();
    let area = frontend.area().clone();
    let mut disk = Block::new(frontend, &area, 1, Options::default()).unwrap();
    for round in 0..50 {
        let added = region(round % 5);
        let address = added.guest_address();
        disk.session().transport().add_region(added.clone()).unwrap();
        // Requests that are in flight while regions change use memory that stays.
        for tag in 0..8 {
            disk.submit(0, Request::read(0, area.allocate(65536, 512).unwrap()), tag)
                .unwrap();
        }
        disk.publish(0).unwrap();
        let other = region(7);
        disk.session().transport().add_region(other.clone()).unwrap();
        disk.session()
            .transport()
            .remove_region(other.guest_address())
            .unwrap();
        let mut done = 0;
        while done < 8 {
            while let Some(completion) = disk.poll(0).unwrap() {
                completion.result.unwrap();
                done += 1;
            }
            if done < 8 && !disk.enable_notifications(0) {
                assert!(disk.session().transport().wait(None, DEADLINE).unwrap());
                disk.session().transport().take_interrupt().unwrap();
            }
        }
        // What was added works, to the last byte.
        let there = Area::from_region(added).unwrap();
        let length = there.len() / 512 * 512;
        let buffer = there.allocate(length, 1).unwrap();
        let pattern: Vec<u8> = (0..length).map(|at| (at as u64 * 31 + round) as u8).collect();
        buffer.write(0, &pattern).unwrap();
        perform(&mut disk, 0, [Request::write(0, buffer)]);
        let buffer = there.allocate(length, 1).unwrap();
        assert!(
            perform(&mut disk, 0, [Request::read(0, buffer)]) == [pattern],
            "round {round}"
        );
        disk.session().transport().remove_region(address).unwrap();
        check_disk(&mut disk, 0, 4096, 8);
    }
}

#[test]
fn slots_change_under_load() {
    regions_change_under_load(OFFERED);
}

#[test]
fn whole_tables_change_under_load() {
    regions_change_under_load(OFFERED.without(ProtocolFeatures::CONFIGURE_MEM_SLOTS));
}

#[test]
fn a_buffer_in_memory_that_was_taken_away_breaks_the_queue_only() {
    let server = Server::start(memory_disk(4, 1));
    let frontend = server.frontend(BLOCK);
    let area = frontend.area().clone();
    let mut disk = Block::new(frontend, &area, 1, Options::default()).unwrap();
    let gone = region(0);
    let buffer = Area::from_region(gone.clone())
        .unwrap()
        .allocate(512, 512)
        .unwrap();
    disk.session().transport().add_region(gone.clone()).unwrap();
    disk.session()
        .transport()
        .remove_region(gone.guest_address())
        .unwrap();
    disk.submit(0, Request::read(0, buffer), 0).unwrap();
    disk.publish(0).unwrap();
    // A virtqueue that is tracked notifies once when it starts, in case that the process before it could not.
    let transport = disk.session().transport();
    while transport.wait(None, DEADLINE).unwrap() && !transport.take_interrupt().unwrap().config {}
    assert!(disk.session().check().is_err());
    drop(disk);
    let frontend = server.frontend(BLOCK);
    let area = frontend.area().clone();
    check_disk(
        &mut Block::new(frontend, &area, 1, Options::default()).unwrap(),
        0,
        0,
        4,
    );
}

/// 512 slots, not one more, and each of them usable again.
#[test]
fn all_slots_can_be_taken() {
    let server = Server::start(memory_disk(1, 1));
    let mut frontend = server.frontend(BLOCK);
    let area = frontend.area().clone();
    let small = |number: u64| {
        Region::new(
            ELSEWHERE + number * 4096,
            Arc::new(Mapping::memfd("small", 4096).unwrap()),
        )
    };
    // The first region is the front-end's own.
    let mut disk = {
        for number in 1..512 {
            frontend.add_region(small(number)).unwrap();
        }
        Block::new(frontend, &area, 1, Options::default()).unwrap()
    };
    assert!(disk.session().transport().add_region(small(512)).is_err());
    disk.session()
        .transport()
        .remove_region(ELSEWHERE + 4096)
        .unwrap();
    disk.session().transport().add_region(small(512)).unwrap();
    check_disk(&mut disk, 0, 0, 4);
}
