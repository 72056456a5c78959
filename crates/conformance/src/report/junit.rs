//! JUnit XML: what most services that show test results read.

use std::fmt::{self, Write};

use super::escape::Escaped;
use super::{CheckReport, Report, Word};

/// The report as JUnit XML: a suite of the subject, a case of each check. What breaks a binding clause is a failure; what is
/// not applicable, or inconclusive, is skipped, with the reason.
pub fn junit(report: &Report) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Nothing fails that writes to a string.
    let _ = suites(&mut xml, report);
    xml
}

fn suites(xml: &mut String, report: &Report) -> fmt::Result {
    let skipped: usize = [Word::NotApplicable, Word::NotSeen, Word::Inconclusive]
        .map(|word| report.count(word))
        .iter()
        .sum();
    let counts = format!(
        "tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{skipped}\" time=\"{:.3}\"",
        report.checks.len(),
        report.count(Word::Fail),
        report.seconds
    );
    writeln!(
        xml,
        "<testsuites name=\"{} conformance\" {counts}>",
        Escaped(&report.document)
    )?;
    writeln!(
        xml,
        "  <testsuite name=\"{}\" {counts}>",
        Escaped(&report.subject)
    )?;
    for check in &report.checks {
        case(xml, check, report)?;
    }
    writeln!(xml, "  </testsuite>\n</testsuites>")
}

fn case(xml: &mut String, check: &CheckReport, report: &Report) -> fmt::Result {
    write!(
        xml,
        "    <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\"",
        Escaped(&report.subject),
        Escaped(&check.name),
        check.seconds
    )?;
    let clause = check.clause.as_deref().unwrap_or_default();
    let evidence = check.evidence.as_deref().unwrap_or_default();
    match check.verdict {
        Word::Pass => return writeln!(xml, "/>"),
        Word::Fail => writeln!(
            xml,
            ">\n      <failure type=\"{}\" message=\"{}\">{}</failure>",
            Escaped(clause),
            Escaped(
                format_args!("{clause}: {evidence}")
                    .to_string()
                    .replace('\n', " ")
            ),
            Escaped(check.trace.join("\n"))
        )?,
        Word::Advice => writeln!(
            xml,
            ">\n      <system-out>{}</system-out>",
            Escaped(format_args!("advice: {clause}: {evidence}"))
        )?,
        Word::NotApplicable | Word::NotSeen | Word::Inconclusive => writeln!(
            xml,
            ">\n      <skipped message=\"{}: {}\"/>",
            check.verdict.name(),
            Escaped(evidence.replace('\n', " "))
        )?,
    }
    writeln!(xml, "    </testcase>")
}
