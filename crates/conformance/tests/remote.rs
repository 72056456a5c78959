//! Drivers that come by a socket: a right one holds, what a wrong one does is seen, and one that does not come is missed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ringwright_conformance::driver::{Driver, Remote, RemoteError, Way, rules, scenario, watch};
use ringwright_conformance::{Record, Verdict};
use ringwright_driver::block::{Block, Request};
use ringwright_driver::{Options, Transport};
use ringwright_memory::Area;
use ringwright_ring::Layout;
use ringwright_spec::status::Status;
use ringwright_spec::{block, feature};
use ringwright_vfio_user::client::{Client, ClientOptions, Delivery};
use ringwright_vhost_user::frontend::{Frontend, FrontendOptions};
use tempfile::TempDir;

/// Longer than a driver takes here.
const DEADLINE: Duration = Duration::from_secs(60);

/// Somebody who waits for a driver in a folder.
fn listen(folder: &TempDir, way: Way, deadline: Duration) -> Remote {
    let socket = folder.path().join("device.sock");
    Remote::listen(way, &block::DEVICE, socket, deadline).unwrap()
}

/// Lets `drive` meet a strict device in each of these scenarios.
fn meets(way: Way, names: &[&str], drive: impl Fn(&Path) + Send + 'static) -> Vec<Record> {
    let folder = TempDir::new().unwrap();
    let remote = Arc::new(listen(&folder, way, DEADLINE));
    let socket: PathBuf = folder.path().join("device.sock");
    let times = names.len();
    let driving = thread::spawn(move || (0..times).for_each(|_| drive(&socket)));
    let driver: Arc<dyn Driver> = remote.clone();
    let rules: Vec<_> = rules().collect();
    let scenarios: Vec<_> = names.iter().map(|name| scenario(name).unwrap()).collect();
    let records = watch(&driver, &rules, &scenarios, 2 * DEADLINE, |scenario, ended| {
        assert!(ended.is_ok(), "{}: {ended:?}", scenario.name);
    });
    driving.join().unwrap();
    assert_eq!(remote.absence(), None);
    records
}

fn verdict<'r>(records: &'r [Record], name: &str) -> &'r Verdict {
    let record = records.iter().find(|record| record.check.name == name);
    &record.unwrap_or_else(|| panic!("no rule {name}")).verdict
}

/// Nothing is broken, and these hold.
fn holds(records: &[Record], names: &[&str]) {
    for Record {
        check,
        verdict,
        trace,
        ..
    } in records
    {
        let broken = matches!(verdict, Verdict::Fail { .. } | Verdict::Advice { .. });
        assert!(!broken, "{}: {verdict:?}\n{}", check.name, trace.join("\n"));
    }
    for name in names {
        assert_eq!(*verdict(records, name), Verdict::Pass, "{name}");
    }
}

fn is_broken(records: &[Record], name: &str) {
    let verdict = verdict(records, name);
    assert!(matches!(verdict, Verdict::Fail { .. }), "{name}: {verdict:?}");
}

/// Uses a disk as our driver does: eight requests, and a reset.
fn use_disk(transport: impl Transport, area: &Arc<Area>) {
    let options = Options {
        indirect: 4,
        ..Options::default()
    };
    let mut disk = Block::new(transport, area, 1, options).unwrap();
    let end = Instant::now() + DEADLINE;
    for round in 0..8 {
        let buffer = area.allocate(4096, 16).unwrap();
        assert!(disk.submit(0, Request::read(8 * round, buffer), 0).is_ok());
        disk.publish(0).unwrap();
        while disk.poll(0).unwrap().map(|done| done.result.unwrap()).is_none() {
            assert!(Instant::now() < end, "request {round} is not answered");
            thread::yield_now();
        }
    }
}

fn vfio_user(socket: &Path) -> Client {
    Client::connect(socket, ClientOptions::default()).unwrap()
}

fn vhost_user(socket: &Path) -> Frontend {
    Frontend::connect(socket, FrontendOptions::new(block::DEVICE.id)).unwrap()
}

#[test]
fn all_that_a_right_driver_does_with_a_function_is_seen() {
    let names = ["plain", "late", "packed-events", "slow", "pci-one-vector"];
    let records = meets(Way::VfioUser, &names, |socket| {
        let client = vfio_user(socket);
        let (transport, _irqs) = client.virtio(Delivery::Messages).unwrap();
        use_disk(transport, client.area());
    });
    holds(
        &records,
        &[
            "init.order",
            "status.steps",
            "config.generation",
            "feat.version-1",
            "split.notify",
            "packed.aligned",
            "blk.capacity",
            "pci.found",
            "pci.reset-awaited",
            "pci.vector-verified",
            "pci.any-table-size",
            "pci.notification-16",
        ],
    );
    assert!(matches!(
        verdict(&records, "mmio.width"),
        Verdict::NotApplicable(_)
    ));
    assert!(matches!(verdict(&records, "net.mtu"), Verdict::NotApplicable(_)));
    assert!(matches!(
        verdict(&records, "suspend.buffers"),
        Verdict::NotSeen(_)
    ));
}

#[test]
fn a_pin_is_raised_and_read_behind_vfio_user() {
    let records = meets(Way::VfioUser, &["pci-pin"], |socket| {
        let client = vfio_user(socket);
        let (mut transport, irqs) = client.virtio(Delivery::Pin).unwrap();
        let irqs = irqs.unwrap();
        let area = client.area().clone();
        // Interrupts come without a cause in this scenario, but to a driver only.
        use_disk(&mut transport, &area);
        drop(irqs);
    });
    holds(&records, &["pci.found", "split.index"]);
}

#[test]
fn a_notification_of_a_wrong_width_is_seen_behind_vfio_user() {
    let records = meets(Way::VfioUser, &["plain"], |socket| {
        let client = vfio_user(socket);
        let (transport, _irqs) = client.virtio(Delivery::Messages).unwrap();
        use_disk(transport, client.area());
        // The first notification of BAR 4.
        client.write_region(4, 0x4000, &[0; 4]).unwrap();
    });
    is_broken(&records, "pci.notification-16");
    assert_eq!(*verdict(&records, "pci.notification-index"), Verdict::Pass);
}

#[test]
fn the_virtqueues_of_a_right_driver_are_seen_behind_a_front_end() {
    let names = [
        "plain",
        "late",
        "indirect",
        "events",
        "packed-late",
        "odd-features",
    ];
    let records = meets(Way::VhostUser, &names, |socket| {
        let front_end = vhost_user(socket);
        let area = front_end.area().clone();
        use_disk(front_end, &area);
    });
    holds(
        &records,
        &[
            "split.aligned",
            "split.notify",
            "split.notify-event",
            "split.indirect-nested",
            "packed.aligned",
            "packed.last-first",
            "features.known",
            "feat.physical",
            "blk.capacity",
        ],
    );
    for hidden in ["status.steps", "init.order", "config.generation", "pci.found"] {
        assert!(
            matches!(verdict(&records, hidden), Verdict::NotApplicable(_)),
            "{hidden}"
        );
    }
}

#[test]
fn a_virtqueue_that_is_not_aligned_is_seen_behind_a_front_end() {
    let records = meets(Way::VhostUser, &["plain"], |socket| {
        let mut front_end = vhost_user(socket);
        let memory = front_end.area().allocate(4096, 4096).unwrap();
        let start = memory.segment().address();
        front_end.set_driver_features(feature::VERSION_1).unwrap();
        let layout = Layout {
            size: 8,
            descriptor_area: start,
            driver_area: start + 0x100,
            device_area: start + 0x202,
        };
        front_end.enable_queue(0, &layout).unwrap();
        let live = Status::ACKNOWLEDGE | Status::DRIVER | Status::FEATURES_OK | Status::DRIVER_OK;
        front_end.set_status(live).unwrap();
        // The answer comes when everything before it has been looked at.
        front_end.device_features().unwrap();
    });
    is_broken(&records, "split.aligned");
}

#[test]
fn a_driver_that_does_not_come_is_missed() {
    let rules: Vec<_> = rules().collect();
    let scenarios = [scenario("plain").unwrap(), scenario("late").unwrap()];
    let missed = |remote: Remote| {
        let remote = Arc::new(remote);
        let driver: Arc<dyn Driver> = remote.clone();
        watch(&driver, &rules, &scenarios, DEADLINE, |_, _| {});
        remote.absence().cloned()
    };
    let folder = TempDir::new().unwrap();
    let second = Duration::from_secs(1);
    assert!(matches!(
        missed(listen(&folder, Way::VfioUser, second)),
        Some(RemoteError::Nobody { seconds: 1, .. })
    ));
    let ended = missed(listen(&folder, Way::VhostUser, DEADLINE).started_by("exit 3"));
    assert!(
        matches!(&ended, Some(RemoteError::Ended { end, .. }) if end.contains("exit code 3")),
        "{ended:?}"
    );
    // It is there as long as it sleeps, and is ended when its time is up.
    let start = Instant::now();
    let slow = missed(listen(&folder, Way::VhostUser, second).started_by("sleep 50"));
    assert!(matches!(slow, Some(RemoteError::Nobody { .. })), "{slow:?}");
    assert!(start.elapsed() < Duration::from_secs(20));
    let remote = listen(&folder, Way::VhostUser, DEADLINE);
    drop(std::os::unix::net::UnixStream::connect(folder.path().join("device.sock")).unwrap());
    assert!(matches!(missed(remote), Some(RemoteError::Untouched { .. })));
    assert!(!folder.path().join("device.sock").exists());
}

#[test]
fn a_socket_that_somebody_listens_at_and_a_file_are_left_alone() {
    let folder = TempDir::new().unwrap();
    let first = listen(&folder, Way::VhostUser, DEADLINE);
    let again = Remote::listen(
        Way::VhostUser,
        &block::DEVICE,
        folder.path().join("device.sock"),
        DEADLINE,
    );
    assert!(again.is_err());
    drop(first);
    let file = folder.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    assert!(Remote::listen(Way::VfioUser, &block::DEVICE, file.clone(), DEADLINE).is_err());
    assert_eq!(std::fs::read_to_string(file).unwrap(), "mine");
}
