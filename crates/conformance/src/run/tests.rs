use std::sync::atomic::Ordering;

use super::*;
use crate::subject::{Bus, ours};
use crate::{Needs, device};

fn entropy() -> Arc<dyn Subject> {
    Arc::new(ours("entropy", Bus::Direct).unwrap())
}

#[test]
fn a_run_that_is_stopped_leaves_out_the_rest() {
    let checks: Vec<_> = device::checks().collect();
    let options = RunOptions {
        jobs: 1,
        ..RunOptions::default()
    };
    let records = run(entropy(), &checks, &options, |_| {
        options.stop.store(true, Ordering::Relaxed);
    });
    let done = records.unwrap().len();
    // The next one may have begun before the word came.
    assert!((1..=2).contains(&done), "{done} of {}", checks.len());
}

#[test]
fn a_check_that_does_not_end_is_left_behind() {
    static FOR_EVER: Check = Check {
        name: "never.ends",
        clauses: &["dev:core:device-reset:01"],
        does: "",
        violation: "",
        needs: Needs::NOTHING,
        run: |probe| probe.wait(|_| Ok(false)).map(drop),
        mutants: &[],
    };
    let options = RunOptions {
        deadline: Duration::from_millis(120),
        patience: Duration::from_secs(10),
        ..RunOptions::default()
    };
    let start = Instant::now();
    let records = run(entropy(), &[&FOR_EVER], &options, |_| {}).unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(
        matches!(&records[0].verdict, Verdict::Inconclusive(why) if why.contains("did not end")),
        "{:?}",
        records[0].verdict
    );
}

#[test]
fn a_seed_is_an_order_and_records_keep_theirs() {
    let mut first: Vec<u32> = (0..40).collect();
    let mut second = first.clone();
    shuffle(&mut first, 1);
    shuffle(&mut second, 2);
    assert_ne!(first, second);
    first.sort_unstable();
    assert_eq!(first, (0..40).collect::<Vec<_>>());

    let checks: Vec<_> = device::checks().take(6).collect();
    let options = RunOptions {
        jobs: 1,
        seed: Some(1),
        ..RunOptions::default()
    };
    let mut begun = Vec::new();
    let records = run(entropy(), &checks, &options, |record| {
        begun.push(record.check.name)
    })
    .unwrap();
    let names = |checks: &mut dyn Iterator<Item = &'static Check>| -> Vec<&str> {
        checks.map(|check| check.name).collect()
    };
    assert_eq!(
        names(&mut records.iter().map(|record| record.check)),
        names(&mut checks.iter().copied())
    );
    assert_ne!(begun, names(&mut checks.iter().copied()));
}

#[test]
fn a_subject_that_ends_in_a_check_is_told_of() {
    struct Mortal(Arc<dyn Subject>);
    impl Subject for Mortal {
        fn name(&self) -> String {
            self.0.name()
        }
        fn bus(&self) -> Bus {
            self.0.bus()
        }
        fn open(&self, trace: &Trace) -> Result<crate::subject::Specimen, SubjectError> {
            self.0.open(trace)
        }
        fn is_parallel(&self) -> bool {
            false
        }
        fn end(&self, _: Duration) -> Option<String> {
            Some("the subject has ended: killed by signal 11".into())
        }
    }
    let check = device::checks()
        .find(|check| check.name == "features.version-1")
        .unwrap();
    let records = run(
        Arc::new(Mortal(entropy())),
        &[check],
        &RunOptions::default(),
        |_| {},
    )
    .unwrap();
    assert!(
        matches!(&records[0].verdict, Verdict::Inconclusive(why) if why.contains("signal 11")),
        "{:?}",
        records[0].verdict
    );
}
