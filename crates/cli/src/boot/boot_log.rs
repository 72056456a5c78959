//! What the guest writes before it has a console: kept, so that it can be shown when something goes wrong.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, PipeReader, Write};
use std::thread::{self, JoinHandle};

use anyhow::Context;

/// Lines that are kept.
const TAIL: usize = 40;

/// What a kernel writes before the reason why it gives up.
const PANIC: &str = "Kernel panic - not syncing: ";

/// Follows the boot console, so that the guest never waits for a reader.
pub struct BootLog(JoinHandle<Seen>);

/// What came over the boot console.
#[derive(Default)]
pub struct Seen {
    /// Why the kernel has given up, if it has.
    pub panic: Option<String>,
    /// The last lines.
    pub tail: VecDeque<String>,
}

impl BootLog {
    /// Follows `console` to its end; copies it to standard error if `verbose`.
    pub fn follow(console: PipeReader, verbose: bool) -> anyhow::Result<Self> {
        let follow = move || {
            let mut seen = Seen::default();
            for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                if verbose {
                    // The terminal is raw. Whoever does not read it does not miss it.
                    let _ = writeln!(io::stderr(), "{line}\r");
                }
                seen.add(line);
            }
            seen
        };
        let thread = thread::Builder::new().name("boot console".into()).spawn(follow);
        Ok(Self(thread.context("cannot start a thread")?))
    }

    /// What came, up to the end, which comes with the end of the guest.
    pub fn finish(self) -> Seen {
        self.0.join().unwrap_or_default()
    }
}

impl Seen {
    fn add(&mut self, line: String) {
        if self.panic.is_none() {
            self.panic = panic(&line).map(str::to_owned);
        }
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    /// The last lines as text, for an error.
    pub fn text(&self) -> String {
        let lines = self.tail.iter().map(|line| format!("\n  {line}"));
        lines.collect()
    }
}

/// Why a kernel gives up, if the line is the one that says so.
pub fn panic(line: &str) -> Option<&str> {
    line.split_once(PANIC).map(|(_, reason)| reason.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_panic_and_the_last_lines_are_kept() {
        let (reader, mut writer) = io::pipe().unwrap();
        let log = BootLog::follow(reader, false).unwrap();
        writeln!(writer, "[    1.0] Kernel panic - not syncing: VFS: no root\r").unwrap();
        for number in 0..100 {
            writeln!(writer, "line {number}").unwrap();
        }
        write!(writer, "[    2.0] Kernel panic - not syncing: again").unwrap();
        drop(writer);
        let seen = log.finish();
        assert_eq!(seen.panic.as_deref(), Some("VFS: no root"));
        assert_eq!(seen.tail.len(), TAIL);
        assert!(seen.text().ends_with("again") && seen.text().starts_with("\n  line 61\n"));
    }
}
