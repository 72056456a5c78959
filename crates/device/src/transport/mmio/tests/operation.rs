//! Requests through the registers.

use ringwright_spec::Status;

use super::*;
use crate::testing::formats;
use crate::transport::testing::sevens;

#[test]
fn a_device_is_initialized_and_answers() {
    for features in formats() {
        let mut guest = Driver::new(sevens(), features);
        let mut queue = guest.start(16);
        for length in [1, 100, 5000] {
            let completed = guest.request(&mut queue, &[], &[length]);
            assert_eq!(completed.data, vec![7; length]);
        }
        guest.set_status(Status::NONE);
        assert_eq!(guest.status(), Status::NONE);
        assert!(!guest.board.is_asserted());
    }
}
