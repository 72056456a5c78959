//! What was found in one cell.

use serde_json::{Value, json};

use super::cells::Cell;
use super::checks::{SECTIONS, Section};

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is as it should be.
    Ok,
    /// It is not.
    Failed,
    /// It cannot be here.
    NotApplicable,
}

/// One check and what came of it.
#[derive(Clone, Debug)]
pub struct Finding {
    pub section: String,
    pub check: String,
    pub verdict: Verdict,
    /// What was seen.
    pub detail: String,
}

/// All of a cell.
#[derive(Default)]
pub struct Findings(Vec<Finding>);

impl Verdict {
    /// For the table.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "FAIL",
            Self::NotApplicable => "n/a",
        }
    }
}

impl Findings {
    /// One more. Of several for the same check the first one that failed counts, else the last.
    pub fn add(&mut self, section: &str, check: &str, verdict: Verdict, detail: impl Into<String>) {
        let detail = detail.into();
        let known = self
            .0
            .iter_mut()
            .find(|known| known.section == section && known.check == check);
        match known {
            Some(known) if known.verdict == Verdict::Failed => {}
            Some(known) => (known.verdict, known.detail) = (verdict, detail),
            None => self.0.push(Finding {
                section: section.into(),
                check: check.into(),
                verdict,
                detail,
            }),
        }
    }

    /// One that holds or does not.
    pub fn hold(&mut self, section: &str, check: &str, holds: bool, detail: impl Into<String>) {
        let verdict = if holds { Verdict::Ok } else { Verdict::Failed };
        self.add(section, check, verdict, detail);
    }

    /// The finding of a check.
    pub fn get(&self, section: &str, check: &str) -> Option<&Finding> {
        self.0
            .iter()
            .find(|finding| finding.section == section && finding.check == check)
    }

    /// Every check of `sections` that has no finding has failed, or is not for this cell.
    pub fn complete(&mut self, cell: &Cell, sections: &[&Section]) {
        for section in sections {
            for check in section.checks {
                match (self.get(section.name, check), cell.leaves_out(section.name)) {
                    (None, Some(why)) => self.add(section.name, check, Verdict::NotApplicable, why),
                    (None, None) => self.add(section.name, check, Verdict::Failed, "it did not come to that"),
                    (Some(_), _) => {}
                }
            }
        }
    }

    /// Those that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Finding> {
        self.0.iter().filter(|finding| finding.verdict == Verdict::Failed)
    }

    /// How many there are of each verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.0.iter().filter(|finding| finding.verdict == verdict).count()
    }

    /// All, in the order of the table.
    pub fn to_json(&self) -> Value {
        let place = |finding: &Finding| {
            SECTIONS
                .iter()
                .position(|section| section.name == finding.section)
        };
        let mut findings: Vec<_> = self.0.iter().collect();
        findings.sort_by_key(|finding| place(finding));
        let findings = findings.into_iter().map(|finding| {
            json!({
                "section": finding.section,
                "check": finding.check,
                "verdict": finding.verdict.word(),
                "detail": finding.detail,
            })
        });
        findings.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::cells::Engine;
    use super::*;

    #[test]
    fn a_failure_stays_and_what_is_missing_has_failed() {
        let cell = Cell {
            engine: Engine::Uml("6.12"),
            packed: false,
            queues: 1,
        };
        let mut findings = Findings::default();
        findings.hold("resize", "virtqueues", true, "");
        findings.hold("resize", "size in sectors", false, "first");
        findings.hold("resize", "size in sectors", true, "second");
        let of = |name: &str| SECTIONS.iter().find(|section| section.name == name).expect(name);
        findings.complete(&cell, &[of("resize"), of("zoned")]);
        let verdict = |section: &str, check: &str| findings.get(section, check).expect(check).verdict.clone();
        assert_eq!(verdict("resize", "virtqueues"), Verdict::Ok);
        assert_eq!(verdict("resize", "size in sectors"), Verdict::Failed);
        assert_eq!(verdict("resize", "the new end holds data"), Verdict::Failed);
        assert_eq!(verdict("zoned", "model"), Verdict::NotApplicable);
        assert_eq!(findings.failures().count(), 3);
    }
}
