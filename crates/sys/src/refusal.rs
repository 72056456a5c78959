//! What becomes of a system call that a seccomp filter refuses by a signal (SIGSYS): the process says which, and ends.
//!
//! `unsafe` is needed here to handle the signal, and to read what it says.

use std::ffi::{c_int, c_void};
use std::io;
use std::sync::OnceLock;

/// What is said before and after the number of the system call.
static WORDS: OnceLock<(&'static str, &'static str)> = OnceLock::new();

/// Where the number of the system call is in a `siginfo_t` of this signal on 64-bit machines (`si_syscall`, after three
/// integers, padding, and the address of the call).
const SYSCALL: usize = 24;

/// From now on, a system call that is refused by SIGSYS writes one line to standard error, `before`, its number and `after`, and
/// ends the process by that signal. Errors: those of the operating system; `AlreadyExists` the second time.
pub fn report(before: &'static str, after: &'static str) -> io::Result<()> {
    WORDS
        .set((before, after))
        .map_err(|_| io::Error::from(io::ErrorKind::AlreadyExists))?;
    let handler: extern "C" fn(c_int, *const libc::siginfo_t, *const c_void) = refused;
    // SAFETY: an all-zero sigaction is valid: no handler, an empty mask, no flags.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as libc::sighandler_t;
    // The second signal, which is sent by the handler of the first, ends the process.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESETHAND | libc::SA_NODEFER;
    // SAFETY: the action is valid for reads, nothing is to be written, and the handler has the signature that SA_SIGINFO asks
    // for and calls nothing but what a signal handler may.
    match unsafe { libc::sigaction(libc::SIGSYS, &action, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

extern "C" fn refused(_signal: c_int, information: *const libc::siginfo_t, _context: *const c_void) {
    // SAFETY: the kernel gives a handler with SA_SIGINFO a siginfo_t, which is larger than this offset and aligned for it; for
    // SIGSYS there is an integer there.
    let number = unsafe { information.cast::<u8>().add(SYSCALL).cast::<c_int>().read() };
    if let Some((before, after)) = WORDS.get() {
        let mut digits = [0; 10];
        for part in [before.as_bytes(), decimal(number, &mut digits), after.as_bytes()] {
            // SAFETY: the part is valid for reads of its length. If it cannot be written there is nobody to be told.
            unsafe { libc::write(libc::STDERR_FILENO, part.as_ptr().cast(), part.len()) };
        }
    }
    // SAFETY: both take no pointers. The first does not return, unless the signal is blocked or its action was changed.
    unsafe {
        libc::raise(libc::SIGSYS);
        libc::_exit(128 + libc::SIGSYS);
    }
}

/// A number in digits, without allocating.
fn decimal(number: c_int, digits: &mut [u8; 10]) -> &[u8] {
    let mut rest = number.unsigned_abs();
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 || start == 0 {
            return &digits[start..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_people_read_them() {
        for number in [0, 7, 10, 257, c_int::MAX] {
            assert_eq!(decimal(number, &mut [0; 10]), number.to_string().as_bytes());
        }
    }
}
