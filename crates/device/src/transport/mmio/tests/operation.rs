//! Requests through the registers.

use ringwright_spec::Status;

use super::*;
use crate::entropy::Entropy;
use crate::testing::formats;

/// A source whose bytes tell that they came from it.
struct Sevens;

impl crate::entropy::backend::Backend for Sevens {
    fn fill(&self, into: &mut [u8]) -> std::io::Result<()> {
        into.fill(7);
        Ok(())
    }
}

pub fn entropy() -> Entropy {
    Entropy::new(Arc::new(Sevens))
}

#[test]
fn a_device_is_initialized_and_answers() {
    for features in formats() {
        let mut board = Board::new(entropy(), features);
        let mut queue = board.start(16);
        for length in [1, 100, 5000] {
            let completed = board.request(&mut queue, &[], &[length]);
            assert_eq!(completed.data, vec![7; length]);
        }
        board.set_status(Status::NONE);
        assert_eq!(board.status(), Status::NONE);
        assert!(!board.line.is_asserted());
    }
}
