use std::sync::Barrier;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use super::*;

#[test]
fn one_has_the_turn_and_the_others_get_theirs() {
    const THREADS: usize = 4;
    const TURNS: u32 = 20_000;
    let (turn, inside, together) = (Turn::default(), AtomicU32::new(0), AtomicU32::new(0));
    let begin = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                begin.wait();
                for _ in 0..TURNS {
                    let mine = turn.wait();
                    // Whoever lost patience is in no turn, and may be together with one who is.
                    if mine.is_some() && inside.fetch_add(1, Ordering::SeqCst) != 0 {
                        together.fetch_add(1, Ordering::SeqCst);
                    }
                    if mine.is_some() {
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    assert_eq!(together.into_inner(), 0);
    assert_eq!(turn.waiting.into_inner(), 0);
    assert!(!turn.taken.into_inner());
}

#[test]
fn who_has_the_turn_for_long_is_not_waited_for() {
    let turn = Turn::default();
    let mine = turn.wait();
    assert!(mine.is_some());
    std::thread::scope(|scope| {
        let other = scope.spawn(|| turn.wait().is_none());
        assert!(other.join().unwrap(), "the turn was given twice");
    });
    drop(mine);
    assert!(turn.wait().is_some());
}

#[test]
fn nobody_goes_on_for_ever_while_others_wait() {
    let turn = Turn::default();
    let deadline = Instant::now() + Duration::from_secs(20);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                drop(turn.wait());
            }
        });
        let comes = || {
            let mut turns = std::iter::from_fn(|| (Instant::now() < deadline).then(|| turn.wait()));
            turns.any(|mine| mine.is_some())
        };
        let all = (0..100).all(|_| comes());
        // The other one has to end, also if this fails.
        done.store(true, Ordering::Relaxed);
        assert!(all, "the turn never comes");
    });
}
