//! One thread at a time.

use super::*;

#[test]
fn no_step_is_lost() {
    let lock = Lock::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let mut value = lock.lock();
                    let before = *value;
                    // Lets the others in, if the lock does.
                    std::thread::yield_now();
                    *value = before + 1;
                }
            });
        }
    });
    assert_eq!(*lock.lock(), 400);
}
