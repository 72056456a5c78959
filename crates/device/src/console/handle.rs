//! Changes to a console that is in use.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::port::{self, Port, PortError};
use super::{MOST_PORTS, Size};
use crate::{Lender, Loan, Outlet, Source, Waker};

/// By number. They belong to the device, and during a session to its worker.
pub(super) type Ports = Vec<Option<Port>>;

/// A way to a console that is in use, from any thread. Clones lead to the same one.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

/// What both sides of the device know.
pub(super) struct Shared {
    ports: Lender<Ports>,
    state: Mutex<State>,
}

struct State {
    /// What is known of each port, whoever has it.
    entries: Vec<Option<Entry>>,
    /// What the worker has not seen yet.
    changes: VecDeque<Change>,
    /// The way to the worker, and to the driver.
    session: Option<(Waker, Outlet)>,
    /// The number from which on none was ever given out.
    fresh: u32,
}

struct Entry {
    name: Option<String>,
    console: bool,
    size: Option<Size>,
}

/// What is to be done to the ports.
pub(super) enum Change {
    Add(u32, Port),
    Remove(u32),
    Resize(u32, Size),
}

impl Handle {
    /// Adds a port, and returns its number. The driver is told if it knows of several ports.
    pub fn add(&self, port: Port) -> Result<u32, PortError> {
        let mut state = self.0.state();
        let number = state.enter(&port)?;
        self.0.change(state, Change::Add(number, port));
        Ok(number)
    }

    /// Removes a port, whatever is going through it. Not port 0, which drivers expect that know of only one.
    pub fn remove(&self, number: u32) -> Result<(), PortError> {
        let mut state = self.0.state();
        if number == 0 {
            return Err(PortError::Lasting);
        }
        let entry = state.entry(number)?;
        *entry = None;
        self.0.change(state, Change::Remove(number));
        Ok(())
    }

    /// Gives a console another size, of which the driver is told.
    pub fn resize(&self, number: u32, size: Size) -> Result<(), PortError> {
        let mut state = self.0.state();
        let entry = state.entry(number)?;
        match entry {
            Some(entry) if entry.console => entry.size = Some(size),
            _ => return Err(PortError::NotConsole(number)),
        }
        let outlet = state.session.as_ref().map(|(_, outlet)| outlet.clone());
        self.0.change(state, Change::Resize(number, size));
        // The size of port 0 is in the configuration space.
        if let Some(outlet) = outlet.filter(|_| number == 0) {
            outlet.config_changed();
        }
        Ok(())
    }

    /// The ports that there are, and their names.
    pub fn ports(&self) -> Vec<(u32, Option<String>)> {
        let state = self.0.state();
        let entries = (0..).zip(&state.entries);
        entries
            .filter_map(|(number, entry)| Some((number, entry.as_ref()?.name.clone())))
            .collect()
    }
}

impl Shared {
    /// Room for `most` ports, of which these are there.
    pub fn new(ports: Vec<Port>, most: u32) -> Result<Arc<Self>, PortError> {
        if !(1..=MOST_PORTS).contains(&most) {
            return Err(PortError::Room(most));
        }
        let mut state = State {
            entries: (0..most).map(|_| None).collect(),
            changes: VecDeque::new(),
            session: None,
            fresh: 0,
        };
        let mut slots: Ports = (0..most).map(|_| None).collect();
        for port in ports {
            let number = state.enter(&port)?;
            apply(&mut slots, Change::Add(number, port));
        }
        Ok(Arc::new(Self {
            ports: Lender::new(slots),
            state: Mutex::new(state),
        }))
    }

    pub fn handle(self: &Arc<Self>) -> Handle {
        Handle(self.clone())
    }

    /// Most ports there can be.
    pub fn most(&self) -> u32 {
        self.state().entries.len() as u32
    }

    /// The size of port 0.
    pub fn size(&self) -> Option<Size> {
        self.state().entries.first()?.as_ref()?.size
    }

    /// The ports, unless a worker has them.
    pub fn lend(&self) -> Option<Loan<Ports>> {
        let mut state = self.state();
        let mut ports = self.ports.lend()?;
        for change in state.changes.drain(..) {
            apply(&mut ports, change);
        }
        Some(ports)
    }

    /// Whom to tell of changes from now on.
    pub fn set_session(&self, session: Option<(Waker, Outlet)>) {
        self.state().session = session;
    }

    /// The oldest change that the worker has not seen.
    pub fn next_change(&self) -> Option<Change> {
        self.state().changes.pop_front()
    }

    /// Has a change made by the worker, or at once if there is none. The state is locked all the time, so that a worker that
    /// is being made finds either the ports or the change.
    fn change(&self, mut state: MutexGuard<'_, State>, change: Change) {
        state.changes.push_back(change);
        if let Some(mut ports) = self.ports.lend() {
            for change in state.changes.drain(..) {
                apply(&mut ports, change);
            }
        } else if let Some((waker, _)) = &state.session {
            waker.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A number for a port. One that was never given out, if there still is one: Linux takes back the buffers of a port that is
    /// removed, which its virtqueue has not forgotten.
    fn enter(&mut self, port: &Port) -> Result<u32, PortError> {
        if let Some(name) = &port.name {
            port::check_name(name)?;
            let mut names = self.entries.iter().flatten().flat_map(|entry| &entry.name);
            if names.any(|other| other == name) {
                return Err(PortError::NameTaken(name.clone()));
            }
        }
        let most = self.entries.len() as u32;
        let unused = self.entries.iter().position(Option::is_none);
        let number = match unused {
            None => return Err(PortError::TooMany { most }),
            Some(_) if self.fresh < most => self.fresh,
            Some(number) => number as u32,
        };
        self.fresh = self.fresh.max(number + 1);
        self.entries[number as usize] = Some(Entry {
            name: port.name.clone(),
            console: port.console,
            size: port.size,
        });
        Ok(number)
    }

    /// What is known of a port that is there.
    fn entry(&mut self, number: u32) -> Result<&mut Option<Entry>, PortError> {
        let entry = self.entries.get_mut(number as usize);
        entry
            .filter(|entry| entry.is_some())
            .ok_or(PortError::Missing(number))
    }
}

/// Makes a change to the ports themselves.
pub(super) fn apply(ports: &mut Ports, change: Change) {
    match change {
        Change::Add(number, mut port) => {
            port.backend.report_as(Source(number));
            if let Some(place) = ports.get_mut(number as usize) {
                *place = Some(port);
            }
        }
        Change::Remove(number) => {
            if let Some(place) = ports.get_mut(number as usize) {
                *place = None;
            }
        }
        Change::Resize(number, size) => {
            if let Some(Some(port)) = ports.get_mut(number as usize) {
                port.size = Some(size);
            }
        }
    }
}
