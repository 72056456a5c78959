//! Which clauses have checks, and checks that have been seen to fail.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::Check;
use crate::registry::{Observed, Side, Strength, clauses};
use crate::{device, driver};

/// Counts of one scope and side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Binding clauses that show on the wire.
    pub must_wire: usize,
    /// Binding clauses that a strict device sees.
    pub must_strict: usize,
    /// Of both, those that a check names.
    pub checked: usize,
    /// Of these, those with a mutant.
    pub checked_with_mutant: usize,
}

/// The ids of all clauses that a mutant breaks, and is caught.
pub fn caught() -> BTreeSet<&'static str> {
    let devices = device::checks().flat_map(|check| check.mutants);
    // The mutants of a rule for drivers all break its clause.
    let drivers = driver::rules().filter(|rule| !rule.mutants.is_empty());
    devices
        .map(|mutant| mutant.breaks)
        .chain(drivers.map(|rule| rule.clause()))
        .collect()
}

/// The counts of every scope and side that has binding clauses, given all checks, of devices and of drivers.
pub fn coverage<'c>(checks: impl IntoIterator<Item = &'c Check>) -> BTreeMap<(&'static str, Side), Coverage> {
    let checked: BTreeSet<&str> = checks
        .into_iter()
        .flat_map(|check| check.clauses)
        .copied()
        .collect();
    let caught = caught();
    let mut table: BTreeMap<_, Coverage> = BTreeMap::new();
    for clause in clauses()
        .iter()
        .filter(|clause| clause.strength == Strength::Must)
    {
        let row = table.entry((clause.scope(), clause.side)).or_default();
        match clause.observed {
            Observed::Wire => row.must_wire += 1,
            Observed::StrictDevice => row.must_strict += 1,
            Observed::Inside | Observed::Never => continue,
        }
        row.checked += usize::from(checked.contains(clause.id));
        row.checked_with_mutant += usize::from(checked.contains(clause.id) && caught.contains(clause.id));
    }
    table
}
