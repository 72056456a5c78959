//! Locks by which programs that use one image know of each other.
//!
//! They are those of QEMU, so that its programs and ours refuse what would spoil an image. A user of the image has
//! permissions, and leaves some to others. For each permission it has a shared lock on the byte `100 + n`, and for each that
//! it does not leave to others one on `200 + n`; it first takes these locks, and then looks whether others have any that
//! contradict them.

use std::io;
use std::os::fd::AsFd;

use ringwright_sys::lock::{is_locked, lock_shared, unlock};

/// Where the locks for permissions are.
const HAS: i64 = 100;
/// Where the locks for permissions that others must not have are.
const KEEPS: i64 = 200;

/// The permission to read what nobody is just changing.
const CONSISTENT_READ: i64 = 0;
/// The permission to write.
const WRITE: i64 = 1;
/// The permission to change the size.
const RESIZE: i64 = 3;

/// Why an image is not to be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Someone writes it, or may.
    #[error("another program is writing to it; stop that program, or serve a copy")]
    Written,
    /// Someone relies on its not being written.
    #[error(
        "another program has it open and relies on its not being changed; stop that program, or serve the image read-only"
    )]
    InUse,
    /// The file system, or the operating system, refuses.
    #[error(
        "cannot be locked ({0}); to serve it without, turn locking off, and see to it that nothing else writes to it"
    )]
    Io(#[from] io::Error),
}

/// Locks an image for reading it, or for both, as long as the open file description of `file` is there.
pub(super) fn lock_image(file: impl AsFd, read_only: bool) -> Result<(), LockError> {
    let file = file.as_fd();
    let has: &[i64] = if read_only {
        &[CONSISTENT_READ]
    } else {
        &[CONSISTENT_READ, WRITE]
    };
    let keeps = [WRITE, RESIZE];
    let bytes = || {
        let has = has.iter().map(|permission| HAS + permission);
        has.chain(keeps.map(|permission| KEEPS + permission))
    };
    let outcome = bytes()
        .try_for_each(|byte| match lock_shared(file, byte) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(LockError::InUse),
            outcome => Ok(outcome?),
        })
        .and_then(|()| {
            for permission in keeps {
                if is_locked(file, HAS + permission)? {
                    return Err(LockError::Written);
                }
            }
            for permission in has {
                if is_locked(file, KEEPS + permission)? {
                    return Err(LockError::InUse);
                }
            }
            Ok(())
        });
    if outcome.is_err() {
        // The file may stay open a little longer than our interest in it.
        for byte in bytes() {
            let _ = unlock(file, byte);
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn each_permission_has_its_byte() {
        let image = tempfile::NamedTempFile::new().unwrap();
        let open = || File::options().read(true).write(true).open(image.path()).unwrap();
        let other = open();
        let locked = || -> Vec<i64> {
            (90..310)
                .filter(|byte| is_locked(&other, *byte).unwrap())
                .collect()
        };
        for (read_only, expected) in [(true, &[100, 201, 203][..]), (false, &[100, 101, 201, 203])] {
            let ours = open();
            lock_image(&ours, read_only).unwrap();
            assert_eq!(locked(), expected);
        }
        // What others have or keep from others, and who is refused for it.
        for (byte, reading, writing) in [
            (100, None, None),
            (101, Some("is writing"), Some("is writing")),
            (103, Some("is writing"), Some("is writing")),
            (200, Some("relies"), Some("relies")),
            (201, None, Some("relies")),
            (203, None, None),
        ] {
            lock_shared(&other, byte).unwrap();
            for (read_only, expected) in [(true, reading), (false, writing)] {
                let ours = open();
                match (lock_image(&ours, read_only), expected) {
                    (Ok(()), None) => {}
                    (Err(error), Some(part)) => {
                        assert!(error.to_string().contains(part), "{byte}: {error}");
                        // Nothing is left of the try.
                        assert_eq!(locked(), []);
                    }
                    (outcome, expected) => panic!("{byte}: {outcome:?}, expected {expected:?}"),
                }
            }
            unlock(&other, byte).unwrap();
        }
    }
}
