//! What was done to a device, written down for who wants to know why a check failed.

use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringwright_driver::TransportError;
use ringwright_driver::transport::Registers;
use ringwright_memory::Width;

/// Lines that are kept; older ones are forgotten.
const KEPT: usize = 1000;

/// Most lines that are one question, asked again and again: a register, what it means, and what came of it.
const QUESTION: usize = 3;

/// A record of what happened. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Trace(Arc<Mutex<VecDeque<String>>>);

impl Trace {
    /// Writes a line down. Up to three lines that say the same as those before them are not repeated, however often they come.
    pub fn note(&self, line: impl Display) {
        let mut lines = self.lines();
        if lines.len() == KEPT {
            lines.pop_front();
        }
        lines.push_back(line.to_string());
        let count = lines.len();
        let says_the_same = |length: usize| {
            count >= 2 * length
                && lines
                    .range(count - length..)
                    .eq(lines.range(count - 2 * length..count - length))
        };
        if let Some(length) = (1..=QUESTION).find(|length| says_the_same(*length)) {
            lines.truncate(count - length);
        }
    }

    /// Takes the lines.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines()).into()
    }

    fn lines(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Registers whose accesses are written down.
#[derive(Clone)]
pub struct Traced<R> {
    registers: R,
    name: &'static str,
    trace: Trace,
}

impl<R> Traced<R> {
    /// Writes accesses to `registers` down in `trace`, under `name`.
    pub fn new(registers: R, name: &'static str, trace: &Trace) -> Self {
        Self {
            registers,
            name,
            trace: trace.clone(),
        }
    }
}

impl<R: Registers> Registers for Traced<R> {
    fn read(&mut self, offset: u64, width: Width) -> Result<u32, TransportError> {
        let value = self.registers.read(offset, width);
        match &value {
            Ok(value) => self.note(offset, width, "->", value),
            Err(error) => self
                .trace
                .note(format_args!("{} {offset:#05x}: {error}", self.name)),
        }
        value
    }

    fn write(&mut self, offset: u64, width: Width, value: u32) -> Result<(), TransportError> {
        self.note(offset, width, "<-", &value);
        self.registers.write(offset, width, value)
    }
}

impl<R> Traced<R> {
    fn note(&self, offset: u64, width: Width, arrow: &str, value: &u32) {
        let digits = 2 + 2 * width.bytes();
        self.trace.note(format_args!(
            "{} {offset:#05x} {arrow} {value:#0digits$x}",
            self.name
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_again_and_again_is_there_once() {
        let trace = Trace::default();
        trace.note("first");
        for _ in 0..2 * KEPT {
            trace.note("register -> 1");
            trace.note("status -> 1");
        }
        for _ in 0..2 * KEPT {
            trace.note("last");
        }
        assert_eq!(trace.take(), ["first", "register -> 1", "status -> 1", "last"]);
    }

    #[test]
    fn the_oldest_lines_are_forgotten() {
        let trace = Trace::default();
        (0..KEPT + 5).for_each(|number| trace.note(number));
        let lines = trace.take();
        assert_eq!((lines.len(), &*lines[0]), (KEPT, "5"));
    }
}
