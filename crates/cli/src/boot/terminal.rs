//! The user's terminal as the guest's console: raw while the guest runs, restored however this ends.

use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::Context;
use ringwright_device::console::Size;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::signals::Wish;

/// Ctrl-A, then X, leaves the guest; then S, saves it.
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
    /// Whether the guest has written anything.
    spoken: Arc<Mutex<bool>>,
}

/// What the user may wish for with keys.
pub struct Wishes {
    /// To end the guest.
    pub leave: Wish,
    /// To save the guest and end it.
    pub save: Wish,
}

impl Terminal {
    /// Joins standard input and output to `console`; tells what the user wishes for with keys. Standard input that is not
    /// a terminal is passed on as it is.
    pub fn join(console: UnixStream, wishes: Wishes) -> anyhow::Result<Self> {
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
        let spoken = Arc::new(Mutex::new(false));
        let terminal = Self {
            saved,
            spoken: spoken.clone(),
        };
        let (to_guest, from_guest) = (console.try_clone()?, console);
        let escapes = terminal.saved.is_some();
        thread::Builder::new()
            .name("keyboard".into())
            .spawn(move || keyboard(to_guest, &wishes, escapes))?;
        thread::Builder::new()
            .name("screen".into())
            .spawn(move || screen(from_guest, &spoken))?;
        Ok(terminal)
    }

    /// Whether the guest has written anything.
    pub fn has_spoken(&self) -> bool {
        *lock(&self.spoken)
    }

    /// Shows how far a guest is that has not written anything yet.
    pub fn show_progress(&self, text: &str) {
        let spoken = lock(&self.spoken);
        if !*spoken && self.saved.is_some() && io::stderr().is_terminal() {
            // Nobody misses the progress if it cannot be shown.
            let _ = write!(io::stderr(), "\r{text}{CLEAR}");
        }
    }
}

/// Clears the line from here on.
const CLEAR: &str = "\x1b[K";

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(saved) = &self.saved {
            // The terminal may have gone; then nobody misses its settings.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, saved);
        }
    }
}

fn keyboard(mut guest: UnixStream, wishes: &Wishes, escapes: bool) {
    let (mut filter, mut keys) = (Escapes::default(), [0; 256]);
    while let Ok(length @ 1..) = io::stdin().read(&mut keys) {
        let typed = &keys[..length];
        let (pass, command) = if escapes {
            filter.pass(typed)
        } else {
            (typed.to_vec(), None)
        };
        let gone = guest.write_all(&pass).is_err();
        match command {
            Some(Command::Save) => wishes.save.express(),
            Some(Command::Leave) => return wishes.leave.express(),
            None if gone => return wishes.leave.express(),
            None => {}
        }
    }
}

fn screen(mut guest: UnixStream, spoken: &Mutex<bool>) {
    let mut bytes = [0; 4096];
    while let Ok(length @ 1..) = guest.read(&mut bytes) {
        if !std::mem::replace(&mut *lock(spoken), true) && io::stderr().is_terminal() {
            // What the progress has left.
            let _ = write!(io::stderr(), "\r{CLEAR}");
        }
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

fn lock(spoken: &Mutex<bool>) -> MutexGuard<'_, bool> {
    spoken.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the user can say behind Ctrl-A.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Leave,
    Save,
}

/// Finds Ctrl-A X and Ctrl-A S in what is typed; Ctrl-A Ctrl-A is one Ctrl-A for the guest.
#[derive(Default)]
struct Escapes {
    pending: bool,
}

impl Escapes {
    /// What of `typed` is for the guest, and what is for us; what comes after that is dropped.
    fn pass(&mut self, typed: &[u8]) -> (Vec<u8>, Option<Command>) {
        let mut pass = Vec::with_capacity(typed.len());
        for &key in typed {
            match (std::mem::take(&mut self.pending), key) {
                (true, b'x' | b'X') => return (pass, Some(Command::Leave)),
                (true, b's' | b'S') => return (pass, Some(Command::Save)),
                (true, ESCAPE) => pass.push(ESCAPE),
                (true, key) => pass.extend([ESCAPE, key]),
                (false, ESCAPE) => self.pending = true,
                (false, key) => pass.push(key),
            }
        }
        (pass, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ctrl_a_x_leaves_even_when_it_comes_in_two_reads() {
        let mut escapes = Escapes::default();
        assert_eq!(escapes.pass(b"ab\x01"), (b"ab".to_vec(), None));
        assert_eq!(escapes.pass(b"xc"), (b"".to_vec(), Some(Command::Leave)));
    }

    #[test]
    fn ctrl_a_s_saves() {
        assert_eq!(
            Escapes::default().pass(b"l\x01s"),
            (b"l".to_vec(), Some(Command::Save))
        );
    }

    #[test]
    fn other_keys_pass() {
        let mut escapes = Escapes::default();
        assert_eq!(escapes.pass(b"x\x01\x01x\x01b"), (b"x\x01x\x01b".to_vec(), None));
    }
}
