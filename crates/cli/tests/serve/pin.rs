//! Queues that are served on certain processors.

use std::fs;

use ringwright_spec::block;
use ringwright_vhost_user::frontend::{Frontend, FrontendOptions};
use rustix::thread::{CpuSet, sched_getaffinity};

use crate::support::{Server, ringwright, wait};

/// Each on its own, from the first again when there are no more, over both protocols' way to start them.
#[test]
fn each_queue_is_served_where_it_was_told_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let allowed = sched_getaffinity(None).unwrap();
    let mut processors = (0..CpuSet::MAX_CPU).filter(|number| allowed.is_set(*number));
    let first = processors.next().unwrap();
    let last = processors.next_back().unwrap_or(first);
    let arguments = format!("serve block --null 1M --queues 3 --socket s --pin {last},{first}");
    let server = Server::start(folder.path(), &arguments, 1);
    let frontend =
        Frontend::connect(folder.path().join("s"), FrontendOptions::new(block::DEVICE.id)).unwrap();
    let area = frontend.area().clone();
    let options = ringwright_driver::Options::default();
    let _disk = ringwright_driver::block::Block::new(frontend, &area, 3, options).unwrap();
    for (thread, processor) in [("block-0", last), ("block-1", first), ("block-2", last)] {
        let allowed = wait(|| allowed_of(&server, thread).filter(|allowed| !allowed.contains(['-', ','])));
        assert_eq!(allowed, processor.to_string(), "{thread}");
    }
}

/// Where a thread of this name may run.
fn allowed_of(server: &Server, name: &str) -> Option<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.child.id())).unwrap();
    let status = tasks
        .map_while(Result::ok)
        .filter_map(|task| fs::read_to_string(task.path().join("status")).ok())
        .find(|status| status.starts_with(&format!("Name:\t{name}\n")))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    Some(line.trim().to_owned())
}

#[test]
fn processors_that_are_not_there_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (list, why) in [("1023", "processor 1023 is not there"), ("3-1", "like 0-3,5")] {
        let output = ringwright(folder.path(), &format!("serve entropy --socket s --pin {list}"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(why), "{said}");
    }
    assert!(!folder.path().join("s").exists());
}
