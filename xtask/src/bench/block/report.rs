//! The results as text.

use serde_json::Value;

use super::super::verdict;
use super::case::{Content, KERNEL, QEMU, RINGWRIGHT, TRACKED, VFIO_USER};
use super::{IDLE_BYTES, median_of};

/// One case that all subjects were measured at.
pub struct Cell<'r> {
    ours: &'r Value,
    records: &'r [Value],
}

/// The cells of disks with this content, in the order in which they were measured.
pub fn cells(records: &[Value], content: Content) -> impl Iterator<Item = Cell<'_>> {
    let ours = records.iter().filter(move |record| {
        record["bench"] == "block" && record["content"] == content.name() && record["subject"] == RINGWRIGHT
    });
    ours.map(|ours| Cell { ours, records })
}

impl Cell<'_> {
    /// The record of `subject`.
    fn of(&self, subject: &str) -> Option<&Value> {
        let same = ["content", "operation", "places", "bytes", "depth", "queues"];
        self.records.iter().find(|record| {
            record["bench"] == "block"
                && record["subject"] == subject
                && same.iter().all(|key| record[key] == self.ours[key])
        })
    }

    /// What was asked for, without the number of queues.
    pub fn request(&self) -> String {
        let ours = self.ours;
        format!(
            "{} {}, depth {}",
            text(ours, "places"),
            text(ours, "operation"),
            ours["depth"]
        )
    }

    /// Number of queues.
    pub fn queues(&self) -> u64 {
        self.ours["queues"].as_u64().unwrap_or_default()
    }

    /// Requests per second.
    pub fn rate(&self, subject: &str) -> Option<f64> {
        self.of(subject)?["requests_per_second"].as_f64()
    }

    /// Requests per second of `subject` to those of the other program: the median over the rounds.
    pub fn ratio(&self, subject: &str) -> Option<f64> {
        self.in_rounds(subject, 0)
    }

    /// Processor time per request of `subject` to that of the other program, likewise.
    fn cpu_ratio(&self, subject: &str) -> Option<f64> {
        self.in_rounds(subject, 1)
    }

    fn in_rounds(&self, subject: &str, column: usize) -> Option<f64> {
        let (ours, theirs) = (self.of(subject)?, self.of(QEMU)?);
        let rounds = ours["rounds"]
            .as_array()?
            .iter()
            .zip(theirs["rounds"].as_array()?);
        // In a short round there may be too little to count.
        let ratio = |(ours, theirs): (&Value, &Value)| {
            let ratio = ours[column].as_f64()? / theirs[column].as_f64()?;
            ratio.is_finite().then_some(ratio)
        };
        median_of(rounds.filter_map(ratio).collect())
    }
}

fn text<'r>(record: &'r Value, key: &str) -> &'r str {
    record[key].as_str().unwrap_or_default()
}

fn number(record: &Value, key: &str) -> f64 {
    record[key].as_f64().unwrap_or(f64::NAN)
}

/// A line for each record, and then the targets.
pub fn table(records: &[Value]) {
    println!(
        "{:<7} {:<16} {:>6} {:>5} {:<21} {:>12} {:>13} {:>8} {:>8} {:>9} {:>12}",
        "CONTENT",
        "OPERATION",
        "QUEUES",
        "DEPTH",
        "SUBJECT",
        "REQUESTS/S",
        "CPU s/MILLION",
        "P50 us",
        "P99 us",
        "P99.9 us",
        "RESIDENT KiB"
    );
    for record in records.iter().filter(|record| record["bench"] == "block") {
        let number = |key: &str| number(record, key);
        println!(
            "{:<7} {:<16} {:>6.0} {:>5.0} {:<21} {:>12.0} {:>13.2} {:>8.1} {:>8.1} {:>9.1} {:>12.0}",
            text(record, "content"),
            format!("{} {}", text(record, "places"), text(record, "operation")),
            number("queues"),
            number("depth"),
            text(record, "subject"),
            number("requests_per_second"),
            number("cpu_seconds_per_million_requests"),
            number("p50_us"),
            number("p99_us"),
            number("p999_us"),
            number("resident_bytes") / 1024.0,
        );
    }
    println!("\nTargets, beside {QEMU} in the same round:");
    for line in targets(records) {
        println!("  {line}");
    }
}

/// A table for the disks of each content, and the targets.
pub fn markdown(records: &[Value]) {
    for content in Content::ALL {
        let mut cells = cells(records, content).peekable();
        if cells.peek().is_none() {
            continue;
        }
        println!("#### {}\n", content.title());
        let (mut head, mut rule) = (String::new(), String::new());
        for subject in others(content) {
            head += &format!(" {subject} |");
            rule += "---:|";
        }
        println!(
            "| requests | queues | {RINGWRIGHT} |{head} {QEMU} | ratio | CPU s per million | p50 us | p99 us | p99.9 us |"
        );
        println!("|---|---:|---:|{rule}---:|---:|---:|---:|---:|---:|");
        for cell in cells {
            println!("{}", markdown_row(&cell, content));
        }
        println!();
    }
    println!("Targets, beside `{QEMU}` in the same round:\n");
    for line in targets(records) {
        let words = line.trim_start();
        println!("{}* {words}", &line[..line.len() - words.len()]);
    }
}

fn markdown_row(cell: &Cell<'_>, content: Content) -> String {
    let rate = |subject| {
        cell.rate(subject)
            .map_or("".to_owned(), |rate| format!("{rate:.0}"))
    };
    let both = |key: &str, digits: usize| {
        let of = |subject| cell.of(subject).map_or(f64::NAN, |record| number(record, key));
        format!("{:.digits$} / {:.digits$}", of(RINGWRIGHT), of(QEMU))
    };
    let mut columns = vec![cell.request(), cell.queues().to_string(), rate(RINGWRIGHT)];
    columns.extend(others(content).iter().map(|subject| rate(subject)));
    columns.extend([
        rate(QEMU),
        format!("{:.2}", cell.ratio(RINGWRIGHT).unwrap_or(f64::NAN)),
        both("cpu_seconds_per_million_requests", 2),
        both("p50_us", 1),
        both("p99_us", 1),
        both("p999_us", 1),
    ]);
    format!("| {} |", columns.join(" | "))
}

/// Who has a column between the two that are compared.
fn others(content: Content) -> &'static [&'static str] {
    match content {
        Content::Null => &[TRACKED, VFIO_USER],
        Content::Cached => &[KERNEL],
        Content::Memory | Content::Direct => &[],
    }
}

/// Each target, whether it is met, and where it is not.
fn targets(records: &[Value]) -> Vec<String> {
    let mut lines = Vec::new();
    for content in Content::ALL {
        let cells: Vec<_> = cells(records, content).collect();
        let target = content.target();
        for subject in [RINGWRIGHT, TRACKED] {
            let ratio = |cell: &Cell<'_>| cell.ratio(subject);
            lines.extend(judged(
                content,
                subject,
                "requests per second",
                &cells,
                ratio,
                |ratio| ratio >= target,
                &format!("at least {target}"),
            ));
        }
        // Times come in ticks of 10 ms.
        let ratio = |cell: &Cell<'_>| cell.cpu_ratio(RINGWRIGHT);
        lines.extend(judged(
            content,
            RINGWRIGHT,
            "processor time per request",
            &cells,
            ratio,
            |ratio| ratio <= 1.02,
            "not more than 1",
        ));
    }
    for record in records.iter().filter(|record| record["bench"] == "block, idle") {
        let bytes = number(record, "resident_bytes");
        lines.push(format!(
            "{:.1} MiB resident with one queue idle, at most {}: {}",
            bytes / f64::from(1 << 20),
            IDLE_BYTES >> 20,
            verdict(bytes <= IDLE_BYTES as f64)
        ));
    }
    lines
}

/// One target of all cells with the same content, as one line, and a line for each cell that misses it.
fn judged(
    content: Content,
    subject: &str,
    what: &str,
    cells: &[Cell<'_>],
    ratio: impl Fn(&Cell<'_>) -> Option<f64>,
    is_met: impl Fn(f64) -> bool,
    target: &str,
) -> Vec<String> {
    let ratios: Vec<_> = cells
        .iter()
        .filter_map(|cell| Some((cell, ratio(cell)?)))
        .collect();
    if ratios.is_empty() {
        return Vec::new();
    }
    let (least, most) = ratios
        .iter()
        .fold((f64::INFINITY, 0.0_f64), |(least, most), (_, ratio)| {
            (least.min(*ratio), most.max(*ratio))
        });
    let missed: Vec<_> = ratios.iter().filter(|(_, ratio)| !is_met(*ratio)).collect();
    let mut lines = vec![format!(
        "{}, {subject}: {what} {least:.2} to {most:.2} times, {target}: {} in {} of {} cases",
        content.name(),
        verdict(missed.is_empty()),
        ratios.len() - missed.len(),
        ratios.len()
    )];
    lines.extend(missed.iter().map(|(cell, ratio)| {
        let alone = cell
            .ratio(KERNEL)
            .map(|alone| format!("; {KERNEL} {alone:.2} times as many"));
        format!(
            "  {}, {} queues: {ratio:.2}{}",
            cell.request(),
            cell.queues(),
            alone.unwrap_or_default()
        )
    }));
    lines
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
