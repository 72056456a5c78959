//! Which checks and clauses are meant by a few words.

use crate::{Check, Clause};

/// Patterns, of which one has to fit if there are any, and patterns of which none may fit.
///
/// A pattern fits a check by its name, and both by the id of a clause or by its scope. `*` stands for any characters.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// What is wanted; everything if there are none.
    pub only: Vec<String>,
    /// What is not.
    pub skip: Vec<String>,
}

impl Selection {
    /// Whether it includes a check.
    pub fn includes(&self, check: &Check) -> bool {
        self.admits(|pattern| {
            fits(pattern, check.name) || check.named().any(|clause| fits_clause(pattern, clause))
        })
    }

    /// Whether it includes a clause.
    pub fn includes_clause(&self, clause: &Clause) -> bool {
        self.admits(|pattern| fits_clause(pattern, clause))
    }

    fn admits(&self, mut fits: impl FnMut(&str) -> bool) -> bool {
        let wanted = self.only.is_empty() || self.only.iter().any(|pattern| fits(pattern));
        wanted && !self.skip.iter().any(|pattern| fits(pattern))
    }
}

fn fits_clause(pattern: &str, clause: &Clause) -> bool {
    fits(pattern, clause.id) || fits(pattern, clause.scope())
}

/// Whether `text` is what `pattern` says, in which `*` stands for any characters.
pub fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            text.char_indices()
                .map(|(at, _)| at)
                .chain([text.len()])
                .any(|at| fits(rest, &text[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clause, device};

    #[test]
    fn a_star_stands_for_anything() {
        assert!(fits("*", ""));
        assert!(fits("split.*", "split.used-length"));
        assert!(fits("*used*", "split.used-length"));
        assert!(fits("a:*:0*", "a:b:c:01"));
        assert!(fits("é*", "éa"));
        assert!(!fits("split", "split.used-length"));
        assert!(!fits("*.used", "split.used-length"));
    }

    #[test]
    fn checks_are_selected_by_name_clause_and_scope() {
        let select = |only: &[&str], skip: &[&str]| -> Vec<&str> {
            let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
            let selection = Selection {
                only: own(only),
                skip: own(skip),
            };
            let chosen = device::checks().filter(|check| selection.includes(check));
            chosen.map(|check| check.name).collect()
        };
        let all = device::checks().count();
        assert_eq!(select(&[], &[]).len(), all);
        assert_eq!(select(&["reset.quiet"], &[]), ["reset.quiet"]);
        assert_eq!(
            select(&["dev:core:device-reset:*"], &["reset.quiet"]),
            ["reset.status"]
        );
        let feat = select(&["feat"], &[]);
        assert!(feat.contains(&"features.version-1") && feat.len() < all);
        assert_eq!(select(&[], &["*"]), [""; 0]);
    }

    #[test]
    fn clauses_are_selected_by_id_and_scope() {
        let selection = Selection {
            only: vec!["drv:*".into(), "blk".into()],
            skip: vec!["pci".into()],
        };
        let includes = |id: &str| selection.includes_clause(clause(id).unwrap());
        assert!(includes("drv:core:device-status-field:01"));
        assert!(!includes("dev:core:device-reset:01"));
        assert!(
            crate::clauses()
                .iter()
                .filter(|clause| clause.scope() == "blk")
                .all(|clause| includes(clause.id))
        );
        assert!(
            !crate::clauses()
                .iter()
                .filter(|clause| clause.scope() == "pci")
                .any(|clause| includes(clause.id))
        );
    }
}
