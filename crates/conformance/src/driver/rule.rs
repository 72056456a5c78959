//! What a rule is.

use super::{Event, Mutant, Past};
use crate::check::{Check, Verdict};
use crate::clause;
use crate::registry::Strength;

/// One clause, as a strict device watches over it.
pub struct Rule {
    /// Its name, its clause, when the clause matters, and what would be a violation.
    pub check: Check,
    /// Looks at an event, given what was before.
    pub watch: fn(&mut Watch, &Past, &Event),
    /// Drivers that break just this clause, which it has to catch.
    pub mutants: &'static [Mutant],
}

/// What a rule has seen of a driver.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// What the rule wants to remember of earlier events.
    pub note: u64,
    seen: bool,
    broken: Option<String>,
}

impl Rule {
    /// A rule for `clause`: it is satisfied or broken when `occasion`.
    pub const fn new(
        name: &'static str,
        clause: &'static [&'static str; 1],
        occasion: &'static str,
        violation: &'static str,
        watch: fn(&mut Watch, &Past, &Event),
        mutants: &'static [Mutant],
    ) -> Self {
        Self {
            check: Check::of_drivers(name, clause, occasion, violation),
            watch,
            mutants,
        }
    }

    /// The id of its clause.
    pub fn clause(&self) -> &'static str {
        self.check.clauses[0]
    }

    /// What is to be said of a driver that was seen like this.
    pub fn verdict(&self, watch: &Watch) -> Verdict {
        let id = self.clause();
        match &watch.broken {
            Some(evidence) => match clause(id).map(|clause| clause.strength) {
                Some(Strength::Should | Strength::May) => Verdict::Advice {
                    clause: id,
                    evidence: evidence.clone(),
                },
                _ => Verdict::Fail {
                    clause: id,
                    evidence: evidence.clone(),
                },
            },
            None if watch.seen => Verdict::Pass,
            None => Verdict::NotSeen(format!("it has never come to this: {}", self.check.does)),
        }
    }
}

impl Watch {
    /// The clause mattered, and was obeyed unless something else is said.
    pub fn seen(&mut self) {
        self.seen = true;
    }

    /// The clause mattered; it is broken unless `holds`. Only the first violation is kept.
    pub fn expect(&mut self, holds: bool, evidence: impl FnOnce() -> String) {
        self.seen = true;
        if !holds {
            self.broken.get_or_insert_with(evidence);
        }
    }

    /// The clause is broken.
    pub fn broken(&mut self, evidence: impl Into<String>) {
        self.expect(false, || evidence.into());
    }

    /// Whether the clause was broken.
    pub fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Takes in what was seen of the same driver at another time.
    pub(super) fn join(&mut self, other: Watch) {
        self.seen |= other.seen;
        self.broken = self.broken.take().or(other.broken);
    }
}
