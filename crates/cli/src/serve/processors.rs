//! The processors that queues are served on.

use anyhow::{Context, bail};
use rustix::thread::{CpuSet, sched_getaffinity};
use serde::Deserialize;

/// Numbers of processors, in the order in which queues get them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Processors(pub Vec<usize>);

impl std::str::FromStr for Processors {
    type Err = String;

    /// Numbers and ranges, separated by commas: 0-3,5.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text} is no list of processors: expected numbers and ranges like 0-3,5");
        let number = |text: &str| {
            text.parse::<usize>()
                .ok()
                .filter(|number| *number < CpuSet::MAX_CPU)
        };
        let mut numbers = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            match (number(first), number(last)) {
                (Some(first), Some(last)) if first <= last => numbers.extend(first..=last),
                _ => return Err(wrong()),
            }
        }
        Ok(Self(numbers))
    }
}

impl TryFrom<String> for Processors {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl Processors {
    /// Fails if this process cannot run on all of them.
    pub fn check(&self) -> anyhow::Result<()> {
        let allowed = sched_getaffinity(None).context("cannot find out which processors there are")?;
        match self.0.iter().find(|number| !allowed.is_set(**number)) {
            None => Ok(()),
            Some(number) => bail!("processor {number} is not there, or not for this program to use"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_as_people_write_them() {
        let list = |text: &str| text.parse::<Processors>().map(|list| list.0);
        assert_eq!(list("3"), Ok(vec![3]));
        assert_eq!(list("0-2,5,1"), Ok(vec![0, 1, 2, 5, 1]));
        for wrong in ["", ",", "a", "3-1", "-1", "0-", "99999", "0-99999999999"] {
            assert!(list(wrong).is_err(), "{wrong}");
        }
        assert!(Processors(vec![CpuSet::MAX_CPU - 1]).check().is_err());
    }
}
