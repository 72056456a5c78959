//! One thread at a time.

use super::*;

#[test]
fn no_step_is_lost() {
    let lock = Lock::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..100).for_each(|_| *lock.lock() += 1));
        }
    });
    assert_eq!(*lock.lock(), 400);
}
