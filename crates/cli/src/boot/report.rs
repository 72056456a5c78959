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

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it should.
    Ok,
    /// Not as it should.
    Fail,
    /// The guest's kernel has no driver for the device, so nothing was looked at.
    Absent,
}

/// All that one guest saw.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The engine that ran the guest.
    pub engine: String,
    /// The ring format that was offered.
    pub ring: String,
    /// Whether all is as it should be.
    pub passed: bool,
    /// Wall time from the start of the engine to its end.
    pub seconds: f64,
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
            let result = match finding.result {
                Outcome::Ok => "ok",
                Outcome::Fail => "FAIL",
                Outcome::Absent => "-",
            };
            writeln!(
                f,
                "  {:device$}  {:check$}  {result:4}  {}",
                finding.device, finding.check, finding.detail
            )?;
        }
        let verdict = if self.passed { "passed" } else { "FAILED" };
        write!(
            f,
            "{verdict}: {} guest, {} rings, {:.1} s",
            self.engine, self.ring, self.seconds
        )
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
