//! The normative sentences of the document.

use std::collections::HashMap;
use std::sync::LazyLock;

/// Id, strongest keyword, how it can be observed, and what it says, of every normative sentence of VIRTIO 1.4, in the
/// order of the document.
const REGISTRY: &str = include_str!("registry.tsv");

/// One normative sentence of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clause {
    /// `dev:split:indirect-descriptors:01`: side, scope, section, number.
    pub id: &'static str,
    /// Who has to obey it.
    pub side: Side,
    /// Its strongest keyword.
    pub strength: Strength,
    /// How it can be observed.
    pub observed: Observed,
    /// What it says, in a line of our own.
    pub says: &'static str,
}

/// Who has to obey a clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The device.
    Device,
    /// The driver.
    Driver,
}

/// How binding a clause is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strength {
    /// MUST, MUST NOT, SHALL and their like: who does otherwise does not conform.
    Must,
    /// SHOULD, SHOULD NOT, RECOMMENDED: who does otherwise has a reason.
    Should,
    /// MAY.
    May,
}

/// How it can be observed whether a clause is obeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Observed {
    /// By the other end: in registers, rings and buffers.
    Wire,
    /// By a device that watches its driver.
    StrictDevice,
    /// Only by reading the implementation.
    Inside,
    /// Not at all: it allows something, or says what a reader may conclude.
    Never,
}

impl Clause {
    /// The part of the document: `split`, `pci`, `blk`.
    pub fn scope(&self) -> &'static str {
        self.id.split(':').nth(1).unwrap_or_default()
    }

    /// The section: `indirect-descriptors`.
    pub fn section(&self) -> &'static str {
        self.id.split(':').nth(2).unwrap_or_default()
    }

    /// Whether it is binding and can be observed from outside, so that a check is owed.
    pub fn wants_check(&self) -> bool {
        self.strength == Strength::Must && matches!(self.observed, Observed::Wire | Observed::StrictDevice)
    }
}

/// All clauses, in the order of the document.
pub fn clauses() -> &'static [Clause] {
    &CLAUSES
}

/// The clause of that id.
pub fn clause(id: &str) -> Option<&'static Clause> {
    BY_ID.get(id).copied()
}

static CLAUSES: LazyLock<Vec<Clause>> =
    LazyLock::new(|| REGISTRY.lines().skip(1).filter_map(parse).collect());

static BY_ID: LazyLock<HashMap<&str, &Clause>> =
    LazyLock::new(|| CLAUSES.iter().map(|clause| (clause.id, clause)).collect());

/// A row; `None` if it is none, which a test looks for.
fn parse(row: &'static str) -> Option<Clause> {
    let mut columns = row.split('\t');
    let (id, strength, observed, says) = (columns.next()?, columns.next()?, columns.next()?, columns.next()?);
    let side = match id.split(':').next()? {
        "dev" => Side::Device,
        "drv" => Side::Driver,
        _ => return None,
    };
    let strength = match strength.split(' ').next()? {
        "MUST" | "SHALL" | "REQUIRED" => Strength::Must,
        "SHOULD" | "RECOMMENDED" => Strength::Should,
        "MAY" | "OPTIONAL" => Strength::May,
        _ => return None,
    };
    let observed = match observed {
        "W" => Observed::Wire,
        "D" => Observed::StrictDevice,
        "I" => Observed::Inside,
        "N" => Observed::Never,
        _ => return None,
    };
    Some(Clause {
        id,
        side,
        strength,
        observed,
        says,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_a_clause() {
        let rows = REGISTRY.lines().count() - 1;
        assert_eq!(clauses().len(), rows);
        assert_eq!(BY_ID.len(), rows, "no id is there twice");
        assert_eq!(
            clauses()
                .iter()
                .filter(|clause| clause.strength == Strength::Must)
                .count(),
            1074
        );
    }

    #[test]
    fn every_clause_says_something_of_its_own() {
        let mut seen = HashMap::new();
        for clause in clauses() {
            assert!(!clause.says.is_empty(), "{} says nothing", clause.id);
            assert!(clause.says.len() <= 160, "{} says too much", clause.id);
            if let Some(other) = seen.insert(clause.says, clause.id) {
                assert_ne!(
                    other.split(':').nth(2),
                    clause.id.split(':').nth(2),
                    "{other} and {} say the same",
                    clause.id
                );
            }
        }
    }

    #[test]
    fn a_clause_knows_its_place() {
        let clause = clause("dev:split:indirect-descriptors:01").unwrap();
        assert_eq!(
            (clause.side, clause.scope(), clause.section()),
            (Side::Device, "split", "indirect-descriptors")
        );
        assert!(clause.wants_check());
        assert_eq!(super::clause("no such clause"), None);
    }
}
