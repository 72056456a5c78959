//! What a check is, and what it can come to.

use ringwright_driver::TransportError;
use ringwright_spec::Features;

use crate::mutant::Mutant;
use crate::subject::Bus;
use crate::{Clause, Probe, Side, Strength, clause};

/// One thing that is done to a subject, and what would be a violation then.
pub struct Check {
    /// Its name, as `--only` takes it: `split.used-length`.
    pub name: &'static str,
    /// The clauses that it can find broken.
    pub clauses: &'static [&'static str],
    /// What it does, in a sentence.
    pub does: &'static str,
    /// What would be a violation, in a sentence.
    pub violation: &'static str,
    /// What a subject needs to have for it.
    pub needs: Needs,
    /// Does it.
    pub run: fn(&mut Probe) -> Outcome,
    /// Devices that break just these clauses, which it has to catch.
    pub mutants: &'static [Mutant],
}

/// What a subject needs to have for a check.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// On one of these buses; on any if there are none.
    pub buses: &'static [Bus],
    /// A device that offers these.
    pub features: Features,
    /// A device of this type.
    pub device: Option<u32>,
}

impl Needs {
    /// Any device at all.
    pub const NOTHING: Self = Self {
        buses: &[],
        features: Features::NONE,
        device: None,
    };

    /// A device that offers `features`.
    pub const fn features(features: Features) -> Self {
        Self {
            features,
            ..Self::NOTHING
        }
    }

    /// A device on one of `buses`.
    pub const fn buses(buses: &'static [Bus]) -> Self {
        Self {
            buses,
            ..Self::NOTHING
        }
    }

    /// A device of type `id` that offers `features`.
    pub const fn device(id: u32, features: Features) -> Self {
        Self {
            buses: &[],
            features,
            device: Some(id),
        }
    }
}

/// How a check ends.
pub type Outcome<T = ()> = Result<T, Ended>;

/// Why a check ended before it had seen everything right.
#[derive(Debug)]
pub enum Ended {
    /// A clause is broken.
    Broken {
        /// Its id.
        clause: &'static str,
        /// What was seen.
        evidence: String,
    },
    /// The subject has not what the check needs.
    NotApplicable(String),
    /// Nothing can be said.
    Inconclusive(String),
    /// Something illegal has put the device out of action for good.
    Dead(String),
    /// The subject did not answer, or refused, what it must not refuse.
    Transport(TransportError),
}

impl From<TransportError> for Ended {
    fn from(error: TransportError) -> Self {
        Self::Transport(error)
    }
}

/// What is to be said of a subject after a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything was right.
    Pass,
    /// A clause that is binding is broken.
    Fail {
        /// Its id.
        clause: &'static str,
        /// What was seen.
        evidence: String,
    },
    /// A recommendation is not followed.
    Advice {
        /// Its clause.
        clause: &'static str,
        /// What was seen.
        evidence: String,
    },
    /// The subject has not what the check needs, or it cannot be seen where it is.
    NotApplicable(String),
    /// The occasion that the clause is about never came: nothing was looked at.
    NotSeen(String),
    /// Nothing can be said.
    Inconclusive(String),
}

impl Verdict {
    /// A word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail { .. } => "fail",
            Self::Advice { .. } => "advice",
            Self::NotApplicable(_) => "not applicable",
            Self::NotSeen(_) => "not seen",
            Self::Inconclusive(_) => "inconclusive",
        }
    }

    /// The broken clause and what was seen of it; or why there is nothing to be seen.
    pub fn reason(&self) -> Option<(Option<&'static str>, &str)> {
        match self {
            Self::Pass => None,
            Self::Fail { clause, evidence } | Self::Advice { clause, evidence } => {
                Some((Some(clause), evidence))
            }
            Self::NotApplicable(why) | Self::NotSeen(why) | Self::Inconclusive(why) => Some((None, why)),
        }
    }
}

impl Verdict {
    /// Adds what has become of the subject, after which nothing can be said to be right.
    pub(crate) fn add(&mut self, more: &str) {
        match self {
            Self::Pass => *self = Self::Inconclusive(more.into()),
            Self::Fail { evidence: reason, .. }
            | Self::Advice { evidence: reason, .. }
            | Self::NotApplicable(reason)
            | Self::NotSeen(reason)
            | Self::Inconclusive(reason) => *reason = format!("{reason}; {more}"),
        }
    }
}

impl From<Outcome> for Verdict {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Ok(()) => Self::Pass,
            Err(Ended::Broken { clause: id, evidence }) => match clause(id).map(|clause| clause.strength) {
                Some(Strength::Should | Strength::May) => Self::Advice { clause: id, evidence },
                _ => Self::Fail { clause: id, evidence },
            },
            Err(Ended::NotApplicable(what)) => Self::NotApplicable(what),
            Err(Ended::Inconclusive(why) | Ended::Dead(why)) => Self::Inconclusive(why),
            Err(Ended::Transport(error)) => Self::Inconclusive(format!("the subject: {error}")),
        }
    }
}

impl Check {
    /// A check of drivers, which a strict device makes: it looks at the driver when `occasion`.
    pub const fn of_drivers(
        name: &'static str,
        clauses: &'static [&'static str],
        occasion: &'static str,
        violation: &'static str,
    ) -> Self {
        Self {
            name,
            clauses,
            does: occasion,
            violation,
            needs: Needs::NOTHING,
            run: |_| Err(Ended::NotApplicable("it is a check of drivers".into())),
            mutants: &[],
        }
    }

    /// The clauses themselves.
    pub fn named(&self) -> impl Iterator<Item = &'static Clause> {
        self.clauses.iter().filter_map(|id| clause(id))
    }

    /// Whose conduct it looks at.
    pub fn side(&self) -> Side {
        self.named().next().map_or(Side::Device, |clause| clause.side)
    }
}
