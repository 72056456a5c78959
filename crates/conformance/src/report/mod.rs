//! What came out of a run, for people and for other programs.
//!
//! A [`Report`] is one subject's. It can be written as JSON and read again, as JUnit XML for whoever shows test results
//! ([`junit`]), and, several subjects side by side, as a page ([`html`]).

mod chapters;
mod escape;
mod html;
mod junit;

#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Clause, Record, Side, Verdict, clauses};

pub use chapters::{CHAPTERS, Chapter};
pub use html::html;
pub use junit::junit;

/// The version of the record that [`Report::to_json`] writes.
const FORMAT: u32 = 1;

/// What came out of a run on one subject.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// Version of this record.
    format: u32,
    /// What made it, with its version.
    pub program: String,
    /// The document that the clauses are from.
    pub document: String,
    /// The subject's name.
    pub subject: String,
    /// The bus that it is on.
    pub bus: String,
    /// Whose conduct was looked at.
    pub side: ReportedSide,
    /// The command line that repeats the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// How long it took.
    pub seconds: f64,
    /// Whether every check that was wanted is there.
    pub complete: bool,
    /// What each check came to.
    pub checks: Vec<CheckReport>,
}

/// Whose conduct was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReportedSide {
    /// The device's.
    Device,
    /// The driver's.
    Driver,
}

/// What one check came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CheckReport {
    /// The check's name.
    pub name: String,
    /// What it does.
    pub does: String,
    /// What would be a violation.
    pub violation: String,
    /// The clauses that it can find broken.
    pub clauses: Vec<String>,
    /// What it says of the subject.
    pub verdict: Word,
    /// The broken clause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clause: Option<String>,
    /// What was seen, or why there is nothing to be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// How long it took.
    pub seconds: f64,
    /// What was done and seen, line by line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trace: Vec<String>,
}

/// A verdict in a word, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// Everything was right.
    Pass,
    /// The subject has not what the check needs, or it cannot be seen where it is.
    NotApplicable,
    /// The occasion never came: nothing was looked at.
    NotSeen,
    /// Nothing can be said.
    Inconclusive,
    /// A recommendation is not followed.
    Advice,
    /// A clause that is binding is broken.
    Fail,
}

/// What is to be said of a subject and a clause.
#[derive(Clone, Debug)]
pub struct ClauseReport<'r> {
    /// In a word; `None` if no check was made.
    pub word: Option<Word>,
    /// What was seen, or why there is nothing to be seen.
    pub evidence: Option<String>,
    /// The checks that name it.
    pub checks: Vec<&'r CheckReport>,
}

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is no record of a run.
    #[error("no report of a run: {0}")]
    Json(#[from] serde_json::Error),
    /// It is one that this version does not know.
    #[error("a report of format {0}, and {FORMAT} is known")]
    Format(u32),
}

impl Word {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Pass,
        Self::Fail,
        Self::Advice,
        Self::NotApplicable,
        Self::NotSeen,
        Self::Inconclusive,
    ];

    /// As people read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::NotApplicable => "not applicable",
            Self::NotSeen => "not seen",
            Self::Inconclusive => "inconclusive",
            Self::Advice => "advice",
            Self::Fail => "fail",
        }
    }

    /// Whether there is nothing to look into.
    pub fn is_idle(self) -> bool {
        matches!(self, Self::Pass | Self::NotApplicable | Self::NotSeen)
    }
}

impl From<&Verdict> for Word {
    fn from(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::Pass,
            Verdict::Fail { .. } => Self::Fail,
            Verdict::Advice { .. } => Self::Advice,
            Verdict::NotApplicable(_) => Self::NotApplicable,
            Verdict::NotSeen(_) => Self::NotSeen,
            Verdict::Inconclusive(_) => Self::Inconclusive,
        }
    }
}

impl From<Side> for ReportedSide {
    fn from(side: Side) -> Self {
        match side {
            Side::Device => Self::Device,
            Side::Driver => Self::Driver,
        }
    }
}

impl From<&Record> for CheckReport {
    fn from(record: &Record) -> Self {
        let (clause, evidence) = record.verdict.reason().unzip();
        Self {
            name: record.check.name.into(),
            does: record.check.does.into(),
            violation: record.check.violation.into(),
            clauses: record.check.clauses.iter().map(|id| (*id).into()).collect(),
            verdict: (&record.verdict).into(),
            clause: clause.flatten().map(Into::into),
            evidence: evidence.map(Into::into),
            seconds: seconds(record.took),
            trace: record.trace.clone(),
        }
    }
}

impl Report {
    /// A report of `records` on a subject.
    pub fn new(subject: String, bus: String, side: Side, records: &[Record]) -> Self {
        Self {
            format: FORMAT,
            program: concat!("ringwright ", env!("CARGO_PKG_VERSION")).into(),
            document: "VIRTIO 1.4".into(),
            subject,
            bus,
            side: side.into(),
            command: None,
            seconds: 0.0,
            complete: true,
            checks: records.iter().map(Into::into).collect(),
        }
    }

    /// Forgets what was done in the checks that say nothing to look into.
    pub fn without_idle_traces(mut self) -> Self {
        for check in &mut self.checks {
            if check.verdict.is_idle() {
                check.trace.clear();
            }
        }
        self
    }

    /// As a record that [`from_json`](Self::from_json) reads.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }

    /// From a record.
    pub fn from_json(text: &str) -> Result<Self, ReadError> {
        let report: Self = serde_json::from_str(text)?;
        match report.format {
            FORMAT => Ok(report),
            other => Err(ReadError::Format(other)),
        }
    }

    /// How many checks came to `word`.
    pub fn count(&self, word: Word) -> usize {
        self.checks.iter().filter(|check| check.verdict == word).count()
    }

    /// What is to be said of `clause`: that it is broken if any check saw it, else that it holds if any check saw that.
    pub fn clause(&self, clause: &Clause) -> ClauseReport<'_> {
        let named = |check: &&CheckReport| check.clauses.iter().any(|id| id == clause.id);
        let checks: Vec<_> = self.checks.iter().filter(named).collect();
        let blames = |check: &CheckReport| check.clause.as_deref() == Some(clause.id);
        // A check that has found another clause broken has not seen this one through.
        let word = |check: &CheckReport| match check.verdict {
            Word::Fail | Word::Advice if !blames(check) => Word::Inconclusive,
            word => word,
        };
        let rank = |check: &CheckReport| match word(check) {
            Word::Fail => 6,
            Word::Advice => 5,
            Word::Pass => 4,
            Word::Inconclusive => 3,
            Word::NotSeen => 2,
            Word::NotApplicable => 1,
        };
        let telling = checks.iter().max_by_key(|check| rank(check));
        ClauseReport {
            word: telling.map(|check| word(check)),
            evidence: telling.and_then(|check| match (&check.clause, &check.evidence) {
                (Some(other), _) if !blames(check) => {
                    Some(format!("the check ended when it found {other} broken"))
                }
                (_, evidence) => evidence.clone(),
            }),
            checks,
        }
    }

    /// Clauses of `chapter` for this side.
    fn clauses(&self, chapter: &Chapter) -> impl Iterator<Item = &'static Clause> {
        let (side, scope) = (self.side, chapter.scope);
        clauses()
            .iter()
            .filter(move |clause| clause.scope() == scope && ReportedSide::from(clause.side) == side)
    }

    /// How many clauses of `chapter` are in each word, and how many have no check.
    pub fn tally(&self, chapter: &Chapter) -> ([usize; Word::ALL.len()], usize) {
        let (mut tally, mut unchecked) = ([0; Word::ALL.len()], 0);
        for clause in self.clauses(chapter) {
            let word = self.clause(clause).word;
            match word.and_then(|word| Word::ALL.iter().position(|known| *known == word)) {
                Some(place) => tally[place] += 1,
                None => unchecked += 1,
            }
        }
        (tally, unchecked)
    }
}

fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e4).round() / 1e4
}
