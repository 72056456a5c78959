//! Locks on single bytes of a file, as programs that share it agree to take them (open file description locks).
//!
//! `unsafe` is needed here for the `fcntl` that takes a lock, which no safe crate does for single bytes.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

/// Locks `byte` against exclusive locks of others, until the open file description is closed everywhere. Errors:
/// `WouldBlock` if another has an exclusive lock, and those of the operating system.
pub fn lock_shared(file: impl AsFd, byte: i64) -> io::Result<()> {
    let mut request = one_byte(libc::F_RDLCK, byte);
    match call(file, libc::F_OFD_SETLK, &mut request) {
        Err(error) if error.raw_os_error() == Some(Errno::ACCESS.raw_os_error()) => {
            Err(io::ErrorKind::WouldBlock.into())
        }
        outcome => outcome,
    }
}

/// Takes back a lock.
pub fn unlock(file: impl AsFd, byte: i64) -> io::Result<()> {
    call(file, libc::F_OFD_SETLK, &mut one_byte(libc::F_UNLCK, byte))
}

/// Whether anyone with another open file description has a lock on `byte`.
pub fn is_locked(file: impl AsFd, byte: i64) -> io::Result<bool> {
    let mut request = one_byte(libc::F_WRLCK, byte);
    call(file, libc::F_OFD_GETLK, &mut request)?;
    Ok(i32::from(request.l_type) != libc::F_UNLCK)
}

fn one_byte(kind: i32, byte: i64) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    }
}

fn call(file: impl AsFd, command: i32, request: &mut libc::flock) -> io::Result<()> {
    loop {
        // SAFETY: the descriptor is open while it is borrowed; these commands take a struct flock, which is valid for reads
        // and writes during the call.
        let result = unsafe { libc::fcntl(file.as_fd().as_raw_fd(), command, &mut *request) };
        if result != -1 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn a_lock_is_seen_by_others_and_ends_with_its_description() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || File::options().read(true).write(true).open(file.path()).unwrap();
        let (first, second) = (open(), open());
        lock_shared(&first, 101).unwrap();
        // One's own is none.
        assert!(!is_locked(&first, 101).unwrap());
        assert!(is_locked(&second, 101).unwrap());
        assert!(!is_locked(&second, 100).unwrap() && !is_locked(&second, 102).unwrap());
        // Shared ones go together.
        lock_shared(&second, 101).unwrap();
        assert!(is_locked(&first, 101).unwrap());
        unlock(&second, 101).unwrap();
        assert!(!is_locked(&first, 101).unwrap());
        let duplicate = first.try_clone().unwrap();
        drop(first);
        assert!(is_locked(&second, 101).unwrap());
        drop(duplicate);
        assert!(!is_locked(&second, 101).unwrap());
    }
}
