//! Servers are in a sandbox unless told otherwise, whatever they serve.

use std::fs;
use std::path::Path;

use ringwright_driver::block::{Range, Ranges, Request};
use rustix::process::Signal;

use crate::support::{Disk, Server, wait_until};

/// A line of the status of each thread of a process.
fn status(server: &Server, key: &str) -> Vec<String> {
    let tasks = format!("/proc/{}/task", server.child.id());
    let status = |task: fs::DirEntry| fs::read_to_string(task.path().join("status")).unwrap_or_default();
    let value = |status: String| {
        let line = status
            .lines()
            .find(|line| line.starts_with(key))
            .map(str::to_owned)?;
        Some(line[key.len()..].trim_start_matches(':').trim().to_owned())
    };
    let tasks = fs::read_dir(tasks).unwrap().map_while(Result::ok);
    tasks.filter_map(|task| value(status(task))).collect()
}

fn serve(folder: &Path, arguments: &str) -> Server {
    Server::start(folder, &format!("serve {arguments} --socket s"), 1)
}

#[test]
fn every_thread_of_a_server_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("disk.img"), [1; 8192]).unwrap();
    let server = serve(folder.path(), "block disk.img --queues 2");
    let mut disk = Disk::connect(&folder.path().join("s"));
    assert_eq!(disk.read(1), Some([1; 512]));
    // The main one, the device's, and at least that of the queue.
    let filtered = status(&server, "Seccomp");
    assert!(
        filtered.len() >= 3 && filtered.iter().all(|mode| mode == "2"),
        "{filtered:?}"
    );
    assert!(status(&server, "NoNewPrivs").iter().all(|value| value == "1"));
}

#[test]
fn a_server_without_it_has_to_be_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(folder.path(), "entropy --sandbox off");
    assert!(status(&server, "Seccomp").iter().all(|mode| mode == "0"));
}

/// Everything that a disk is asked for, by every way to its content.
#[test]
fn a_disk_in_it_does_what_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    for options in [
        "disk.img",
        "disk.img --aio threads",
        "disk.img --direct --block-size 4096",
        "disk.img --limit-iops 1000 --cache writethrough",
        "disk.img --zoned host-aware --zone-size 1M --secure-erase",
        "--memory 4M",
        "--null 4M",
    ] {
        fs::write(folder.path().join("disk.img"), vec![1; 4 << 20]).unwrap();
        let mut server = serve(folder.path(), &format!("block {options}"));
        let mut disk = Disk::connect(&folder.path().join("s"));
        let ranges = |disk: &Disk| {
            let range = Range {
                sector: 8,
                sectors: 8,
                unmap: false,
            };
            Ranges::new(disk.buffer(16), &[range]).unwrap()
        };
        let data = [disk.buffer(4096), disk.buffer(4096), disk.buffer(512)];
        let [write, again, read] = data;
        let mut requests = vec![
            Request::write(0, write),
            Request::flush(),
            Request::write(0, again),
            Request::read(0, read),
        ];
        if !options.contains("zoned") {
            requests.push(Request::discard(ranges(&disk)));
            requests.push(Request::write_zeroes(ranges(&disk)));
        }
        if options.contains("--direct") {
            requests.remove(3);
        }
        for request in requests {
            disk.submit(request);
            let completion = disk.completion();
            assert!(completion.result.is_ok(), "{options}: {completion:?}");
        }
        drop(disk);
        server.signal(Signal::TERM);
        assert!(server.child.wait().unwrap().success(), "{options}");
    }
}

#[test]
fn all_devices_can_be_served_in_it() {
    let folder = tempfile::tempdir().unwrap();
    for device in [
        "entropy",
        "console --log log",
        "console --listen port",
        "console --log log --port agent=listen:agent --console second=log:second --size 80x25",
        "network --stream net",
        "block --memory 1M",
        "block --null 1M --vfio-user",
        "entropy --sandbox log",
    ] {
        let mut server = serve(folder.path(), device);
        assert!(
            status(&server, "Seccomp").iter().all(|mode| mode == "2"),
            "{device}"
        );
        server.signal(Signal::HUP);
        server.signal(Signal::TERM);
        let mut ended = None;
        wait_until(|| {
            ended = server.child.try_wait().unwrap();
            ended.is_some()
        });
        assert!(ended.unwrap().success(), "{device}: {ended:?}");
    }
}
