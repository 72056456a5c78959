//! The user's terminal as the guest's console: raw while the guest runs, restored however this ends.

use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;

use anyhow::Context;
use ringwright_device::console::Size;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::signals::Wish;

/// Ctrl-A, then X, leaves the guest.
const ESCAPE: u8 = 0x01;

/// The size of the user's terminal, if there is one.
pub fn size() -> Option<Size> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    Some(Size {
        columns: size.ws_col,
        rows: size.ws_row,
    })
}

/// The terminal in raw mode.
pub struct Terminal {
    saved: Option<Termios>,
}

impl Terminal {
    /// Joins standard input and output to `console`; tells `leave` when the user wants to leave. Standard input that
    /// is not a terminal is passed on as it is.
    pub fn join(console: UnixStream, leave: Wish) -> anyhow::Result<Self> {
        let saved = match io::stdin().is_terminal() {
            true => {
                let saved = tcgetattr(io::stdin()).context("cannot read the terminal's settings")?;
                let mut raw = saved.clone();
                raw.make_raw();
                tcsetattr(io::stdin(), OptionalActions::Now, &raw).context("cannot set the terminal")?;
                Some(saved)
            }
            false => None,
        };
        let terminal = Self { saved };
        let (to_guest, from_guest) = (console.try_clone()?, console);
        let escapes = terminal.saved.is_some();
        thread::Builder::new()
            .name("keyboard".into())
            .spawn(move || keyboard(to_guest, &leave, escapes))?;
        thread::Builder::new()
            .name("screen".into())
            .spawn(move || screen(from_guest))?;
        Ok(terminal)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(saved) = &self.saved {
            // The terminal may have gone; then nobody misses its settings.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, saved);
        }
    }
}

fn keyboard(mut guest: UnixStream, leave: &Wish, escapes: bool) {
    let (mut filter, mut keys) = (Escapes::default(), [0; 256]);
    while let Ok(length @ 1..) = io::stdin().read(&mut keys) {
        let typed = &keys[..length];
        let (pass, left) = if escapes {
            filter.pass(typed)
        } else {
            (typed.to_vec(), false)
        };
        if left || guest.write_all(&pass).is_err() {
            leave.express();
            return;
        }
    }
}

fn screen(mut guest: UnixStream) {
    let mut bytes = [0; 4096];
    while let Ok(length @ 1..) = guest.read(&mut bytes) {
        let mut out = io::stdout().lock();
        if out
            .write_all(&bytes[..length])
            .and_then(|()| out.flush())
            .is_err()
        {
            return;
        }
    }
}

/// Finds Ctrl-A X in what is typed; Ctrl-A Ctrl-A is one Ctrl-A for the guest.
#[derive(Default)]
struct Escapes {
    pending: bool,
}

impl Escapes {
    /// What of `typed` is for the guest, and whether the user wants to leave.
    fn pass(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut pass = Vec::with_capacity(typed.len());
        for &key in typed {
            match (self.pending, key) {
                (true, b'x' | b'X') => return (pass, true),
                (true, ESCAPE) => {
                    pass.push(ESCAPE);
                    self.pending = false;
                }
                (true, key) => {
                    pass.extend([ESCAPE, key]);
                    self.pending = false;
                }
                (false, ESCAPE) => self.pending = true,
                (false, key) => pass.push(key),
            }
        }
        (pass, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ctrl_a_x_leaves_even_when_it_comes_in_two_reads() {
        let mut escapes = Escapes::default();
        assert_eq!(escapes.pass(b"ab\x01"), (b"ab".to_vec(), false));
        assert_eq!(escapes.pass(b"xc"), (b"".to_vec(), true));
    }

    #[test]
    fn other_keys_pass() {
        let mut escapes = Escapes::default();
        assert_eq!(escapes.pass(b"x\x01\x01x\x01b"), (b"x\x01x\x01b".to_vec(), false));
    }
}
