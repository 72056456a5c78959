//! A page for people: what each subject makes of each clause, chapter by chapter, with the evidence.
//!
//! The page is one file that asks for nothing else and runs nothing. All text comes from somewhere else, a subject's own words
//! among it, and is escaped.

use std::collections::BTreeSet;
use std::fmt::{self, Write};

use super::escape::Escaped;
use super::{CHAPTERS, Chapter, CheckReport, ClauseReport, Report, ReportedSide, Word};
use crate::{Clause, Strength, clauses};

const STYLE: &str = include_str!("page.css");

/// Nothing is loaded, nothing is run.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// What can be shown alone: the class of rows, and what people read.
const FILTERS: [(&str, &str); 6] = [
    ("fail", "broken"),
    ("advice", "advice"),
    ("inconclusive", "inconclusive"),
    ("not-seen", "not seen"),
    ("pass", "holding"),
    ("differ", "subjects differ"),
];

/// The page of one or more reports, side by side.
pub fn html(reports: &[Report]) -> String {
    let mut page = String::new();
    // Nothing fails that writes to a string.
    let _ = Page { reports }.write(&mut page);
    page
}

struct Page<'r> {
    reports: &'r [Report],
}

/// A clause, and what each subject makes of it; `None` if it is not about the subject's side.
struct Row<'r> {
    clause: &'static Clause,
    cells: Vec<Option<ClauseReport<'r>>>,
}

impl Page<'_> {
    fn write(&self, page: &mut String) -> fmt::Result {
        let names: Vec<&str> = self
            .reports
            .iter()
            .map(|report| report.subject.as_str())
            .collect();
        writeln!(
            page,
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
             <title>VIRTIO conformance: {}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>",
            Escaped(names.join(", "))
        )?;
        writeln!(page, "<header>\n<h1>VIRTIO 1.4 conformance</h1>")?;
        writeln!(
            page,
            "<p class=\"quiet\">Clause by clause, what holds, what is broken, and what could not be observed.</p>"
        )?;
        self.subjects(page)?;
        writeln!(page, "</header>\n<main>")?;
        let chapters: Vec<(&Chapter, Vec<Row<'_>>)> = CHAPTERS
            .iter()
            .map(|chapter| (chapter, self.rows(chapter)))
            .filter(|(_, rows)| rows.iter().any(Row::is_checked))
            .collect();
        self.summary(page, chapters.iter().map(|(chapter, _)| *chapter))?;
        filters(page, self.reports.len() > 1)?;
        for (chapter, rows) in &chapters {
            self.section(page, chapter, rows)?;
        }
        writeln!(page, "</main>\n</body>\n</html>")
    }

    fn subjects(&self, page: &mut String) -> fmt::Result {
        writeln!(
            page,
            "<div class=\"scroll\"><table class=\"subjects\">\n<thead><tr><th>subject<th>end<th>bus"
        )?;
        for word in Word::ALL {
            write!(page, "<th class=\"count\">{}", word.name())?;
        }
        writeln!(page, "<th class=\"count\">seconds</tr></thead>\n<tbody>")?;
        for report in self.reports {
            write!(page, "<tr><td><strong>{}</strong>", Escaped(&report.subject))?;
            if !report.complete {
                write!(page, " <span class=\"chip inconclusive\">stopped early</span>")?;
            }
            if let Some(command) = &report.command {
                write!(page, "<br><code class=\"quiet\">{}</code>", Escaped(command))?;
            }
            let side = match report.side {
                ReportedSide::Device => "device",
                ReportedSide::Driver => "driver",
            };
            write!(page, "<td>{side}<td>{}", Escaped(&report.bus))?;
            for word in Word::ALL {
                write!(page, "<td class=\"count\">{}", report.count(word))?;
            }
            writeln!(page, "<td class=\"count\">{:.1}</tr>", report.seconds)?;
        }
        writeln!(page, "</tbody></table></div>")?;
        let made: BTreeSet<&str> = self
            .reports
            .iter()
            .map(|report| report.program.as_str())
            .collect();
        let made: Vec<&str> = made.into_iter().collect();
        writeln!(
            page,
            "<p class=\"quiet small\">Counts are of checks. Made by {}.</p>",
            Escaped(made.join(", "))
        )
    }

    fn summary<'c>(&self, page: &mut String, chapters: impl Iterator<Item = &'c Chapter>) -> fmt::Result {
        writeln!(
            page,
            "<h2>Clauses by chapter</h2>\n<div class=\"scroll\"><table>\n<thead><tr><th>chapter"
        )?;
        for report in self.reports {
            write!(page, "<th>{}", Escaped(&report.subject))?;
        }
        writeln!(page, "</tr></thead>\n<tbody>")?;
        for chapter in chapters {
            write!(
                page,
                "<tr><th scope=\"row\"><a href=\"#{}\">{} {}</a>",
                chapter.scope, chapter.number, chapter.title
            )?;
            for report in self.reports {
                let (tally, unchecked) = report.tally(chapter);
                bar(page, &tally, unchecked)?;
            }
            writeln!(page, "</tr>")?;
        }
        writeln!(page, "</tbody></table></div>")
    }

    fn rows(&self, chapter: &Chapter) -> Vec<Row<'_>> {
        let sides: Vec<ReportedSide> = self.reports.iter().map(|report| report.side).collect();
        let of_chapter = clauses().iter().filter(|clause| clause.scope() == chapter.scope);
        of_chapter
            .filter(|clause| sides.contains(&clause.side.into()))
            .map(|clause| Row {
                clause,
                cells: self
                    .reports
                    .iter()
                    .map(|report| (report.side == clause.side.into()).then(|| report.clause(clause)))
                    .collect(),
            })
            .collect()
    }

    fn section(&self, page: &mut String, chapter: &Chapter, rows: &[Row<'_>]) -> fmt::Result {
        let classes: BTreeSet<&str> = rows.iter().flat_map(Row::classes).collect();
        writeln!(
            page,
            "<section id=\"{}\" class=\"{}\">\n<h2><span class=\"number\">{}</span>{}</h2>",
            chapter.scope,
            classes.into_iter().collect::<Vec<_>>().join(" "),
            chapter.number,
            chapter.title
        )?;
        writeln!(
            page,
            "<table class=\"clauses\">\n<thead><tr><th class=\"clause\">clause"
        )?;
        for report in self.reports {
            write!(page, "<th>{}", Escaped(&report.subject))?;
        }
        writeln!(page, "</tr></thead>\n<tbody>")?;
        let (checked, unchecked): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.is_checked());
        for row in checked {
            row.write(page)?;
        }
        writeln!(page, "</tbody></table>")?;
        if !unchecked.is_empty() {
            writeln!(
                page,
                "<details><summary>{} without a check here</summary><ul class=\"unchecked-list\">",
                plural(unchecked.len(), "clause")
            )?;
            for row in unchecked {
                let Clause { id, says, .. } = row.clause;
                writeln!(
                    page,
                    "<li><code class=\"quiet\">{id}</code> {}</li>",
                    Escaped(says)
                )?;
            }
            writeln!(page, "</ul></details>")?;
        }
        writeln!(page, "</section>")
    }
}

impl Row<'_> {
    fn is_checked(&self) -> bool {
        self.cells.iter().flatten().any(|cell| cell.word.is_some())
    }

    /// What it can be filtered by.
    fn classes(&self) -> BTreeSet<&'static str> {
        let words: BTreeSet<Word> = self.cells.iter().flatten().filter_map(|cell| cell.word).collect();
        let mut classes: BTreeSet<&str> = words.iter().copied().map(class).collect();
        if words.len() > 1 {
            classes.insert("differ");
        }
        classes
    }

    fn write(&self, page: &mut String) -> fmt::Result {
        let Clause {
            id, says, strength, ..
        } = self.clause;
        let strength = match strength {
            Strength::Must => "MUST",
            Strength::Should => "SHOULD",
            Strength::May => "MAY",
        };
        let classes: Vec<&str> = self.classes().into_iter().collect();
        write!(
            page,
            "<tr id=\"{id}\" class=\"{}\"><th scope=\"row\"><span class=\"says\">{}</span>\
             <code>{id}</code><span class=\"strength\">{strength}</span>",
            classes.join(" "),
            Escaped(says)
        )?;
        for cell in &self.cells {
            match cell {
                Some(cell) => write_cell(page, cell)?,
                None => write!(page, "<td>")?,
            }
        }
        writeln!(page, "</tr>")
    }
}

fn write_cell(page: &mut String, cell: &ClauseReport<'_>) -> fmt::Result {
    let Some(word) = cell.word else {
        return write!(page, "<td><span class=\"chip unchecked\">not checked</span>");
    };
    write!(
        page,
        "<td><span class=\"chip {}\">{}</span>",
        class(word),
        word.name()
    )?;
    if let Some(evidence) = &cell.evidence {
        let quiet = if matches!(word, Word::NotApplicable | Word::NotSeen) {
            " quiet small"
        } else {
            ""
        };
        write!(
            page,
            "<span class=\"evidence{quiet}\">{}</span>",
            Escaped(evidence)
        )?;
    }
    write!(
        page,
        "<details><summary>{}</summary>",
        plural(cell.checks.len(), "check")
    )?;
    for check in &cell.checks {
        write_check(page, check)?;
    }
    write!(page, "</details>")
}

fn write_check(page: &mut String, check: &CheckReport) -> fmt::Result {
    write!(
        page,
        "<div class=\"check\"><p><code>{}</code> <span class=\"chip {}\">{}</span> <span class=\"quiet small\">{:.3} s</span></p>\
         <p>{}</p><p class=\"quiet\">Violation: {}</p>",
        Escaped(&check.name),
        class(check.verdict),
        check.verdict.name(),
        check.seconds,
        Escaped(&check.does),
        Escaped(&check.violation)
    )?;
    if let Some(evidence) = &check.evidence {
        let clause = check
            .clause
            .as_deref()
            .map_or(String::new(), |id| format!("{id}: "));
        write!(page, "<p class=\"evidence\">{}</p>", Escaped(clause + evidence))?;
    }
    if !check.trace.is_empty() {
        write!(
            page,
            "<details><summary>trace, {}</summary><pre>{}</pre></details>",
            plural(check.trace.len(), "line"),
            Escaped(check.trace.join("\n"))
        )?;
    }
    write!(page, "</div>")
}

/// How many clauses came to what, in words and as a bar.
fn bar(page: &mut String, tally: &[usize; Word::ALL.len()], unchecked: usize) -> fmt::Result {
    let parts = || Word::ALL.into_iter().zip(tally).filter(|(_, count)| **count > 0);
    let mut words: Vec<String> = parts()
        .map(|(word, count)| format!("{count} {}", word.name()))
        .collect();
    if unchecked > 0 {
        words.push(format!("{unchecked} not checked"));
    }
    write!(
        page,
        "<td><span class=\"small\">{}</span><div class=\"bar\">",
        words.join(", ")
    )?;
    for (word, count) in parts() {
        write!(
            page,
            "<span class=\"{}\" style=\"flex:{count}\"></span>",
            class(word)
        )?;
    }
    write!(page, "<span style=\"flex:{unchecked}\"></span></div>")
}

fn filters(page: &mut String, several: bool) -> fmt::Result {
    writeln!(
        page,
        "<fieldset class=\"filter\"><legend>Show clauses</legend>\n\
         <label><input type=\"radio\" name=\"show\" id=\"show-all\" checked> all</label>"
    )?;
    for (class, text) in FILTERS {
        if several || class != "differ" {
            writeln!(
                page,
                "<label><input type=\"radio\" name=\"show\" id=\"show-{class}\"> {text}</label>"
            )?;
        }
    }
    writeln!(page, "</fieldset>")
}

fn class(word: Word) -> &'static str {
    match word {
        Word::Pass => "pass",
        Word::NotApplicable => "not-applicable",
        Word::NotSeen => "not-seen",
        Word::Inconclusive => "inconclusive",
        Word::Advice => "advice",
        Word::Fail => "fail",
    }
}

fn plural(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}
