//! What the guest saw: the lines its first program writes to the boot console, and the table made of them.

use std::fmt;

use serde::Serialize;

/// One line `RINGWRIGHT|device|check|result|detail` of the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The device's name, or `guest`.
    pub device: String,
    /// What was looked at.
    pub check: String,
    /// How it went.
    pub result: Outcome,
    /// What was seen.
    pub detail: String,
}

/// How a check went, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it should.
    Ok,
    /// The guest's kernel has no driver for the device, or one that cannot do that, so nothing was looked at.
    Absent,
    /// Not as it should.
    Fail,
}

/// All that one guest saw.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The engine that ran the guest.
    pub engine: String,
    /// What QEMU emulated, and how it got the devices.
    pub emulation: Option<String>,
    /// Bus, drivers and interrupts, where they were ours to choose.
    pub wiring: Option<String>,
    /// The ring format that was offered.
    pub ring: String,
    /// Whether all is as it should be.
    pub passed: bool,
    /// Wall time from the start of the engine to its end.
    pub seconds: f64,
    /// Instructions that the guest executed, where that is known.
    pub instructions: Option<u64>,
    /// The findings in the order in which they came.
    pub findings: Vec<Finding>,
}

impl Finding {
    /// The finding in one line of the boot console, if it is one.
    pub fn parse(line: &str) -> Option<Self> {
        let line = &line[line.find("RINGWRIGHT|")?..];
        let mut fields = line.trim_end().splitn(5, '|').skip(1).map(str::to_owned);
        let (device, check, result, detail) =
            (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let result = match result.as_str() {
            "ok" => Outcome::Ok,
            "absent" => Outcome::Absent,
            _ => Outcome::Fail,
        };
        Some(Self {
            device,
            check,
            result,
            detail,
        })
    }

    /// A finding of this program rather than of the guest.
    pub fn here(device: &str, check: &str, passed: bool, detail: impl Into<String>) -> Self {
        let result = if passed { Outcome::Ok } else { Outcome::Fail };
        Self {
            device: device.into(),
            check: check.into(),
            result,
            detail: detail.into(),
        }
    }
}

impl Report {
    /// How all the checks of one device went; `None` if none was made.
    pub fn device(&self, name: &str) -> Option<Outcome> {
        let outcomes = self.findings.iter().filter(|finding| finding.device == name);
        outcomes.map(|finding| finding.result).max()
    }

    /// What kind of guest it was.
    fn subject(&self) -> String {
        let place = match self.place() {
            place if place.is_empty() => place,
            place => place + ", ",
        };
        format!("{} guest, {place}{} rings", self.engine, self.ring)
    }

    /// Where the devices were.
    fn place(&self) -> String {
        let parts = self.emulation.iter().chain(&self.wiring).map(String::as_str);
        parts.collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: fn(&Finding) -> &str| {
            self.findings
                .iter()
                .map(|finding| column(finding).chars().count())
                .max()
                .unwrap_or(0)
        };
        let (device, check) = (width(|finding| &finding.device), width(|finding| &finding.check));
        for finding in &self.findings {
            writeln!(
                f,
                "  {:device$}  {:check$}  {:4}  {}",
                finding.device, finding.check, finding.result, finding.detail
            )?;
        }
        let verdict = if self.passed { "passed" } else { "FAILED" };
        write!(f, "{verdict}: {}, {:.1} s", self.subject(), self.seconds)?;
        match self.instructions {
            Some(instructions) => write!(f, ", {} million instructions", instructions / 1_000_000),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Fail => "FAIL",
            Self::Absent => "-",
        })
    }
}

/// One line for each guest, one column for each device.
pub struct Table<'a>(pub &'a [Report]);

/// The devices that guests have.
const DEVICES: [&str; 4] = ["block", "network", "console", "entropy"];

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(reports) = self;
        let widest = reports
            .iter()
            .map(|report| report.place().len())
            .max()
            .unwrap_or(0);
        write!(f, "{:8}  {:7}  {:widest$}  {:6}", "", "engine", "bus", "rings")?;
        DEVICES.iter().try_for_each(|device| write!(f, "  {device:7}"))?;
        writeln!(f, "  seconds  million instructions/s")?;
        for report in *reports {
            let verdict = if report.passed { "passed" } else { "FAILED" };
            write!(
                f,
                "{verdict:8}  {:7}  {:widest$}  {:6}",
                report.engine,
                report.place(),
                report.ring
            )?;
            for device in DEVICES {
                let outcome = report
                    .device(device)
                    .map_or("none".to_owned(), |outcome| outcome.to_string());
                write!(f, "  {outcome:7}")?;
            }
            write!(f, "  {:7.1}", report.seconds)?;
            if let Some(instructions) = report.instructions {
                write!(f, "  {:.0}", instructions as f64 / report.seconds / 1e6)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_found_behind_whatever_the_console_puts_before_them() {
        let finding = Finding::parse("[    1.2] RINGWRIGHT|block|ring|ok|packed|odd\r\n").unwrap();
        assert_eq!(
            finding,
            Finding {
                device: "block".into(),
                check: "ring".into(),
                result: Outcome::Ok,
                detail: "packed|odd".into()
            }
        );
        assert_eq!(Finding::parse("RINGWRIGHT|block|ring"), None);
        assert_eq!(Finding::parse("Linux version 6.12"), None);
        assert_eq!(
            Finding::parse("RINGWRIGHT|a|b|what|").unwrap().result,
            Outcome::Fail
        );
    }
}
