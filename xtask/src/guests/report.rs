//! What a guest prints of each device: `passed BUS INTERFACE SIGNAL RING DEVICE: …`, or `failed` so.

use super::machines::Way;

/// The devices, in the guest's words.
pub const DEVICES: [&str; 4] = ["block", "entropy", "console", "network"];

/// The lines of one run.
pub struct Report {
    lines: Vec<(bool, [String; 5])>,
}

impl Report {
    /// Finds the lines in what a guest has printed.
    pub fn parse(log: &str) -> Self {
        Self {
            lines: log.lines().filter_map(parse_line).collect(),
        }
    }

    /// How many lines there are.
    pub fn count(&self) -> usize {
        self.lines.len()
    }

    /// What became of `device`, driven in this way: `None` if the guest has said nothing, or several things.
    pub fn verdict(&self, way: Way, device: &str) -> Option<bool> {
        let asked = [way.bus, way.interface, way.signal, way.ring, device];
        let mut found = self.lines.iter().filter(|(_, of)| *of == asked);
        let verdict = found.next().map(|(passed, _)| *passed);
        verdict.filter(|_| found.next().is_none())
    }
}

fn parse_line(line: &str) -> Option<(bool, [String; 5])> {
    let (subject, _) = line.split_once(':')?;
    let words: Vec<&str> = subject.split(' ').collect();
    let [verdict, subject @ ..] = words.as_slice() else {
        return None;
    };
    let passed = match *verdict {
        "passed" => true,
        "failed" => false,
        _ => return None,
    };
    let subject = subject.iter().map(|word| word.to_string()).collect::<Vec<_>>();
    Some((passed, subject.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_given_once_for_each() {
        let way = |ring| Way {
            bus: "mmio",
            interface: "modern",
            signal: "status",
            ring,
        };
        let report = Report::parse(
            "some firmware: talks\npassed mmio modern status split block: 64 sectors\n\
             failed mmio modern status split entropy: nothing came\npassed mmio modern status packed block: a\n\
             failed mmio modern status packed block: b\npassed mmio modern: c\n",
        );
        assert_eq!(report.count(), 4);
        assert_eq!(report.verdict(way("split"), "block"), Some(true));
        assert_eq!(report.verdict(way("split"), "entropy"), Some(false));
        assert_eq!(report.verdict(way("split"), "network"), None);
        assert_eq!(report.verdict(way("packed"), "block"), None, "said twice");
    }
}
