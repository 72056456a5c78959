//! Binding clauses that can be observed from outside and have no check with a mutant, each with what stands in the way.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::registry::{Clause, clause};

/// The parts of the document that are built here, in whole or in part: of them it is known clause by clause what is left.
pub const BUILT: &[&str] = &[
    "core", "split", "packed", "shm", "init", "feat", "pci", "mmio", "ccw", "blk", "net", "console",
    "entropy",
];

/// Of devices, and of drivers: clause, obstacle, and why, in the order of the document.
const TABLES: [&str; 2] = [include_str!("device.tsv"), include_str!("driver.tsv")];

/// Why a clause has no check with a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// What stands in the way.
    pub obstacle: Obstacle,
    /// Which one it is, in a few words.
    pub why: &'static str,
}

/// What can stand in the way of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Obstacle {
    /// What it is about is not built here, so there is nothing that a mutant could be made of.
    Unbuilt,
    /// Whoever looks from outside cannot tell whether it is obeyed.
    Unseen,
    /// Nothing: it has still to be written.
    Owed,
}

impl Left {
    /// The obstacle in words, which `why` follows.
    pub fn obstacle(&self) -> &'static str {
        match self.obstacle {
            Obstacle::Unbuilt => "not built here",
            Obstacle::Unseen => "not to be seen",
            Obstacle::Owed => "still to be written",
        }
    }
}

/// Why there is no check of `clause`. `None` if there is one, or none is wanted.
pub fn left(clause: &Clause) -> Option<Left> {
    let unbuilt = Left {
        obstacle: Obstacle::Unbuilt,
        why: "this part of the document",
    };
    let elsewhere = || (clause.wants_check() && !BUILT.contains(&clause.scope())).then_some(unbuilt);
    BY_ID.get(clause.id).copied().or_else(elsewhere)
}

static BY_ID: LazyLock<HashMap<&str, Left>> = LazyLock::new(|| rows().collect());

fn rows() -> impl Iterator<Item = (&'static str, Left)> {
    TABLES
        .iter()
        .flat_map(|table| table.lines().skip(1))
        .filter_map(parse)
}

/// A row; `None` if it is none, which a test looks for.
fn parse(row: &'static str) -> Option<(&'static str, Left)> {
    let mut columns = row.split('\t');
    let (id, obstacle, why) = (columns.next()?, columns.next()?, columns.next()?);
    let obstacle = match obstacle {
        "unbuilt" => Obstacle::Unbuilt,
        "unseen" => Obstacle::Unseen,
        "owed" => Obstacle::Owed,
        _ => return None,
    };
    Some((clause(id)?.id, Left { obstacle, why }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Side, caught, clauses};

    #[test]
    fn each_row_is_a_clause_and_says_why() {
        let written: usize = TABLES.iter().map(|table| table.lines().count() - 1).sum();
        assert_eq!(rows().count(), written, "a row is none");
        assert!(rows().all(|(_, left)| !left.why.is_empty()));
    }

    #[test]
    fn what_is_left_is_what_no_check_has_been_seen_to_catch() {
        let caught = caught();
        for (table, side) in TABLES.iter().zip([Side::Device, Side::Driver]) {
            let open: Vec<_> = clauses()
                .iter()
                .filter(|clause| clause.side == side && BUILT.contains(&clause.scope()))
                .filter(|clause| clause.wants_check() && !caught.contains(clause.id))
                .map(|clause| clause.id)
                .collect();
            let listed: Vec<_> = table
                .lines()
                .skip(1)
                .filter_map(parse)
                .map(|(id, _)| id)
                .collect();
            let missing: Vec<_> = open.iter().filter(|id| !listed.contains(id)).collect();
            assert!(missing.is_empty(), "without a check or a reason: {missing:?}");
            let done: Vec<_> = listed.iter().filter(|id| !open.contains(id)).collect();
            assert!(done.is_empty(), "listed, but checked, or not wanted: {done:?}");
            assert_eq!(listed, open, "in the order of the document");
        }
    }
}
