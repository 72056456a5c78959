//! `cargo xtask clauses`: which normative sentences of the document the code and its tests cite.

mod citations;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use serde_json::json;

use crate::command::workspace;
use citations::Citations;

/// Every normative sentence of VIRTIO 1.4: its id, its strongest keyword, and how it can be observed: on the wire (W),
/// by a strict device (D), in the implementation only (I), or not at all (N).
const REGISTRY: &str = include_str!("../../../crates/conformance/src/registry.tsv");

/// The command line of `cargo xtask clauses`.
#[derive(clap::Args)]
pub struct Args {
    /// Only clauses of this scope, `pci` for example; may be given more than once.
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// List the clauses that no test cites.
    #[arg(long)]
    missing: bool,
    /// Print the table as JSON.
    #[arg(long)]
    json: bool,
}

/// One normative sentence.
struct Clause {
    id: &'static str,
    must: bool,
    observable: bool,
}

impl Clause {
    /// `dev` or `drv`, and the scope.
    fn place(&self) -> (&'static str, &'static str) {
        let mut parts = self.id.split(':');
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
    }
}

/// Counts of one scope and side.
#[derive(Default)]
struct Row {
    clauses: usize,
    cited: usize,
    tested: usize,
}

/// Reads every source file of the workspace, and prints the table of observable MUST clauses. A cited clause that does
/// not exist is an error.
pub fn run(args: &Args) -> Result<()> {
    let clauses = registry()?;
    let citations = Citations::read(&workspace())?;
    refuse_unknown(&clauses, &citations)?;
    let selected = |clause: &&Clause| {
        let (_, scope) = clause.place();
        let named = args.scope.is_empty() || args.scope.iter().any(|name| name == scope);
        clause.must && clause.observable && named
    };
    let mut rows: BTreeMap<_, Row> = BTreeMap::new();
    for clause in clauses.iter().filter(selected) {
        let (side, scope) = clause.place();
        let row = rows.entry((scope, side)).or_default();
        row.clauses += 1;
        row.cited += usize::from(citations.anywhere.contains_key(clause.id));
        row.tested += usize::from(citations.tests.contains(clause.id));
    }
    if args.json {
        let record = |((scope, side), row): (&(&str, &str), &Row)| {
            json!({
                "scope": scope,
                "side": side,
                "clauses": row.clauses,
                "cited": row.cited,
                "tested": row.tested,
            })
        };
        println!("{:#}", rows.iter().map(record).collect::<serde_json::Value>());
    } else {
        print(&rows);
    }
    if args.missing {
        for clause in clauses.iter().filter(selected) {
            if !citations.tests.contains(clause.id) {
                println!("{}", clause.id);
            }
        }
    }
    Ok(())
}

fn print(rows: &BTreeMap<(&str, &str), Row>) {
    println!("MUST and MUST NOT that can be observed:\n");
    println!(
        "{:<12} {:<4} {:>7} {:>14} {:>14}",
        "SCOPE", "SIDE", "CLAUSES", "CITED", "CITED BY TEST"
    );
    for ((scope, side), row) in rows {
        println!(
            "{scope:<12} {side:<4} {:>7} {:>14} {:>14}",
            row.clauses, row.cited, row.tested
        );
    }
}

fn registry() -> Result<Vec<Clause>> {
    let rows = REGISTRY.lines().skip(1).map(|row| {
        let columns: Vec<&str> = row.split('\t').collect();
        let [id, strength, observed, _says] = columns[..] else {
            bail!("the registry's row `{row}` has not 4 columns");
        };
        Ok(Clause {
            id,
            must: strength.starts_with("MUST") || strength.starts_with("SHALL"),
            observable: matches!(observed, "W" | "D"),
        })
    });
    rows.collect()
}

/// An id that is cited, but is not in the registry, names the files that cite it.
fn refuse_unknown(clauses: &[Clause], citations: &Citations) -> Result<()> {
    let known: BTreeSet<&str> = clauses.iter().map(|clause| clause.id).collect();
    let unknown: Vec<String> = citations
        .anywhere
        .iter()
        .filter(|(id, _)| !known.contains(id.as_str()))
        .map(|(id, file)| format!("{id} ({})", file.display()))
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    bail!("cited, but not in the document: {}", unknown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cited_clause_exists() {
        let citations = Citations::read(&workspace()).unwrap();
        assert!(citations.anywhere.len() > 100, "the code cites clauses");
        refuse_unknown(&registry().unwrap(), &citations).unwrap();
    }

    #[test]
    fn a_clause_that_does_not_exist_is_named_with_its_file() {
        let id = ["dev", "pci", "no-such-section", "01"].join(":");
        let mut citations = Citations::default();
        citations.anywhere.insert(id.clone(), "some/file.rs".into());
        let error = refuse_unknown(&registry().unwrap(), &citations).unwrap_err();
        assert!(error.to_string().contains(&id), "{error}");
        assert!(error.to_string().contains("some/file.rs"), "{error}");
    }
}
