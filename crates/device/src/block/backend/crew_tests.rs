//! A lane whose crew takes its time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use super::*;

/// Keeps what it is given, and gives nothing up.
#[derive(Default)]
struct Slow(Mutex<Vec<Job>>);

impl Crew for Slow {
    fn hand_over(&self, jobs: &mut Vec<Job>) -> io::Result<()> {
        lock(&self.0).append(jobs);
        Ok(())
    }

    fn take_back(&self, _done: &Arc<Done>) -> usize {
        0
    }
}

#[test]
fn a_lane_ends_only_when_nobody_works_for_it_any_more() {
    let crew = Arc::new(Slow::default());
    let memory = Arc::new(Memory::new(Vec::new()).unwrap());
    let mut lane = CrewLane::new(crew.clone()).unwrap();
    for tag in 0..2 {
        lane.later(tag, &Request::Flush, &memory).unwrap();
    }
    lane.submit().unwrap();
    let finished = AtomicBool::new(false);
    let (ended, end) = channel();
    thread::scope(|scope| {
        let finished = &finished;
        scope.spawn(move || {
            drop(lane);
            ended.send(finished.load(Ordering::SeqCst)).unwrap();
        });
        for job in std::mem::take(&mut *lock(&crew.0)) {
            let early = end.recv_timeout(Duration::from_millis(20));
            assert_eq!(early, Err(RecvTimeoutError::Timeout), "work is left");
            finished.store(job.tag == 1, Ordering::SeqCst);
            job.finish(Ok(()));
        }
        assert_eq!(end.recv_timeout(Duration::from_secs(20)), Ok(true));
    });
}
