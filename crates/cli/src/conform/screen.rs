//! What a run shows on a terminal, or in a file that a terminal's output goes to.

use std::io::{self, IsTerminal, Write};

use ringwright_conformance::report::{CHAPTERS, Report, Word};
use ringwright_conformance::{Check, Record, clause};

use super::options::Options;

/// Text on standard output, or on standard error if the other is a report's.
pub struct Screen {
    out: Box<dyn Write>,
    colour: bool,
    /// A line at the bottom that says how far the run is.
    progress: bool,
    verbose: bool,
    trace: bool,
    done: usize,
    all: usize,
}

impl Screen {
    /// As the options say.
    pub fn new(options: &Options) -> Self {
        let (out, terminal): (Box<dyn Write>, _) = match options.fills_stdout() {
            true => (Box::new(io::stderr()), io::stderr().is_terminal()),
            false => (Box::new(io::stdout()), io::stdout().is_terminal()),
        };
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        Self {
            out,
            colour: terminal && !set("NO_COLOR"),
            progress: terminal,
            verbose: options.verbose,
            trace: options.trace,
            done: 0,
            all: 0,
        }
    }

    /// Says what a check is, and which mutants it catches, for a list.
    pub fn describe<'m>(&mut self, check: &Check, mutants: impl Iterator<Item = &'m str>) -> io::Result<()> {
        let name = self.bold(check.name);
        writeln!(self.out, "{name}  {}", check.clauses.join(", "))?;
        writeln!(self.out, "    {}\n    Violation: {}", check.does, check.violation)?;
        for mutant in mutants {
            writeln!(self.out, "    Mutant: {mutant}")?;
        }
        Ok(())
    }

    /// Says what is going to be looked at.
    pub fn begin(&mut self, name: &str, checks: &[&Check]) -> io::Result<()> {
        self.all = checks.len();
        let name = self.bold(&plain(name));
        writeln!(self.out, "{name}: {}", plural(self.all, "check"))?;
        self.show_progress("")
    }

    /// Says how the run goes on.
    pub fn say(&mut self, line: &str) -> io::Result<()> {
        self.clear_progress()?;
        writeln!(self.out, "{}", plain(line))?;
        self.show_progress("")
    }

    /// Tells of a check that is done.
    pub fn tell(&mut self, record: &Record) -> io::Result<()> {
        self.done += 1;
        let word = Word::from(&record.verdict);
        if !word.is_idle() || self.verbose || self.trace {
            self.clear_progress()?;
            self.tell_verdict(word, record)?;
        }
        if self.trace {
            for line in &record.trace {
                writeln!(self.out, "      {}", plain(line))?;
            }
        }
        self.show_progress(record.check.name)
    }

    fn tell_verdict(&mut self, word: Word, record: &Record) -> io::Result<()> {
        let label = self.paint(word, &format!("{:<14}", label(word)));
        let name = self.bold(record.check.name);
        match record.verdict.reason() {
            Some((Some(id), evidence)) => {
                writeln!(self.out, "{label} {name}  {id}")?;
                if let Some(clause) = clause(id) {
                    writeln!(self.out, "{:15}Clause: {}", "", clause.says)?;
                }
                writeln!(self.out, "{:15}Seen:   {}", "", plain(evidence))
            }
            Some((None, why)) => writeln!(self.out, "{label} {name}  {}", plain(why)),
            None => writeln!(self.out, "{label} {name}"),
        }
    }

    /// The sums, chapter by chapter, and what they come to.
    pub fn finish(&mut self, report: &Report) -> io::Result<()> {
        self.clear_progress()?;
        writeln!(
            self.out,
            "\n{:<52} {:>5} {:>5} {:>7} {:>5} {:>9} {:>8} {:>10}",
            "CLAUSES", "pass", "fail", "advice", "n/a", "not seen", "inconcl.", "unchecked"
        )?;
        let mut left_out = Vec::new();
        for chapter in CHAPTERS {
            let (tally, unchecked) = report.tally(chapter);
            let [pass, fail, advice, not_applicable, not_seen, inconclusive] = tally;
            if pass + fail + advice + not_seen + inconclusive == 0 {
                left_out.extend((not_applicable > 0).then_some(chapter.title));
                continue;
            }
            let title = format!("{:<5} {}", chapter.number, chapter.title);
            let counts = [
                (Word::Pass, pass, 5),
                (Word::Fail, fail, 5),
                (Word::Advice, advice, 7),
            ];
            write!(self.out, "{title:<52}")?;
            for (word, count, width) in counts {
                let count = self.paint_if(count > 0, word, &format!("{count:>width$}"));
                write!(self.out, " {count}")?;
            }
            writeln!(
                self.out,
                " {not_applicable:>5} {not_seen:>9} {inconclusive:>8} {unchecked:>10}"
            )?;
        }
        if !left_out.is_empty() {
            writeln!(self.out, "Not applicable: {}", left_out.join("; "))?;
        }
        let counts: Vec<String> = Word::ALL
            .into_iter()
            .filter(|word| report.count(*word) > 0)
            .map(|word| format!("{} {}", report.count(word), word.name()))
            .collect();
        writeln!(
            self.out,
            "\n{} in {:.1} s: {}",
            plural(report.checks.len(), "check"),
            report.seconds,
            counts.join(", ")
        )?;
        if !report.complete {
            writeln!(
                self.out,
                "stopped early; {} were left out",
                self.all - report.checks.len()
            )?;
        }
        if report.count(Word::Fail) > 0 && !self.trace {
            writeln!(
                self.out,
                "One check with all that it did: the same command with --only NAME --trace"
            )?;
        }
        self.out.flush()
    }

    fn show_progress(&mut self, last: &str) -> io::Result<()> {
        if self.progress && self.done < self.all {
            write!(self.out, "\r\x1b[K[{}/{}] {last}", self.done, self.all)?;
            self.out.flush()?;
        }
        Ok(())
    }

    fn clear_progress(&mut self) -> io::Result<()> {
        match self.progress {
            true => write!(self.out, "\r\x1b[K"),
            false => Ok(()),
        }
    }

    fn bold(&self, text: &str) -> String {
        match self.colour {
            true => format!("\x1b[1m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    fn paint(&self, word: Word, text: &str) -> String {
        self.paint_if(true, word, text)
    }

    fn paint_if(&self, wanted: bool, word: Word, text: &str) -> String {
        let colour = match word {
            Word::Pass => 32,
            Word::Fail => 31,
            Word::Advice => 33,
            Word::Inconclusive => 35,
            Word::NotApplicable => 90,
            Word::NotSeen => 36,
        };
        match self.colour && wanted {
            true => format!("\x1b[{colour}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

fn label(word: Word) -> &'static str {
    match word {
        Word::Fail => "FAIL",
        other => other.name(),
    }
}

/// Text of a subject, which may not speak to the terminal.
fn plain(text: &str) -> String {
    text.chars()
        .map(|character| {
            if character.is_control() {
                '\u{fffd}'
            } else {
                character
            }
        })
        .collect()
}

fn plural(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}
