//! What Rust programs do about broken pipes, for programs that libFuzzer starts.
//!
//! `unsafe` is needed here to ignore SIGPIPE, as the start of every Rust program does; libFuzzer's does not.

use std::sync::Once;

/// From now on, writing to a socket that nobody reads any more is an error, and not the end of the process.
pub fn ignore_broken() {
    static IGNORE: Once = Once::new();
    // SAFETY: no other thread runs yet that could change it, and to ignore a signal runs no code.
    IGNORE.call_once(|| _ = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) });
}
