//! An address translation that changes memory while it is asked: so the other end acts between any two reads of one call.

use std::collections::VecDeque;
use std::sync::Mutex;

use ringwright_memory::{Access, Fault, Memory, Translate};

const PAGE: u64 = 4096;

/// Something that happens while the queue works.
pub enum Trick {
    /// Eight bytes change.
    Write(u64, u64),
    /// A page is no longer translated.
    Forget(u64),
    /// A page is translated to another one.
    Remap(u64, u64),
    /// The generation changes.
    Renew,
}

/// Translates page by page, each to itself but one.
pub struct Meddler {
    memory: Memory,
    state: Mutex<State>,
}

struct State {
    tricks: VecDeque<Trick>,
    forgotten: Option<u64>,
    remapped: Option<(u64, u64)>,
    generation: u64,
}

impl Meddler {
    /// A translation before `memory`, which so far does nothing.
    pub fn new(memory: Memory) -> Self {
        let state = State {
            tricks: VecDeque::new(),
            forgotten: None,
            remapped: None,
            generation: 1,
        };
        Self {
            memory,
            state: Mutex::new(state),
        }
    }

    /// Puts a trick in line. Each use of the translation plays one.
    pub fn plan(&self, trick: Trick) {
        self.state
            .lock()
            .expect("no panic with the lock")
            .tricks
            .push_back(trick);
    }

    /// Plays the next trick.
    fn meddle(&self) -> std::sync::MutexGuard<'_, State> {
        let mut state = self.state.lock().expect("no panic with the lock");
        match state.tricks.pop_front() {
            None => {}
            Some(Trick::Write(address, value)) => {
                let _no_memory = self.memory.write(address, &value.to_le_bytes());
            }
            Some(Trick::Forget(address)) => state.forgotten = Some(address / PAGE),
            Some(Trick::Remap(from, to)) => state.remapped = Some((from / PAGE, to / PAGE)),
            Some(Trick::Renew) => {
                state.forgotten = None;
                state.generation += 1;
            }
        }
        state
    }
}

impl Translate for Meddler {
    fn translate(&self, address: u64, length: u64, access: Access) -> Result<(u64, u64), Fault> {
        let state = self.meddle();
        let (page, offset) = (address / PAGE, address % PAGE);
        if state.forgotten == Some(page) {
            return Err(Fault::Miss { address, access });
        }
        let remapped = state.remapped.filter(|(from, _)| *from == page);
        let (target, end) = match remapped {
            Some((_, to)) => (to, page + 1),
            // Pages that nothing was done to are translated together.
            None => {
                let others = [state.forgotten, state.remapped.map(|(from, _)| from)];
                let next = others.into_iter().flatten().filter(|other| *other > page).min();
                (page, next.unwrap_or(u64::MAX / PAGE + 1))
            }
        };
        let here = (end - page).saturating_mul(PAGE).saturating_sub(offset);
        Ok((target * PAGE + offset, length.min(here)))
    }

    fn generation(&self) -> u64 {
        self.meddle().generation
    }
}
