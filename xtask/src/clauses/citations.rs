//! Where clauses are cited: by their whole id, `side:scope:section:number`, after which more numbers of the same section may
//! follow, as in `…:01`, `:02`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Folders with source files.
const FOLDERS: [&str; 5] = ["crates", "bench", "fuzz", "guests", "xtask"];

/// The clauses that are cited.
#[derive(Default)]
pub struct Citations {
    /// Everywhere, with one of the files.
    pub anywhere: BTreeMap<String, PathBuf>,
    /// By tests.
    pub tests: BTreeSet<String>,
}

impl Citations {
    /// Those of all source files of the workspace at `root`.
    pub fn read(root: &Path) -> Result<Self> {
        let mut citations = Self::default();
        for folder in FOLDERS {
            citations.read_folder(&root.join(folder))?;
        }
        Ok(citations)
    }

    fn read_folder(&mut self, folder: &Path) -> Result<()> {
        let error = || folder.display().to_string();
        for entry in fs::read_dir(folder).with_context(error)? {
            let path = entry?.path();
            if path.is_dir() && !path.ends_with("target") {
                self.read_folder(&path)?;
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                self.read_text(&path, &text);
            }
        }
        Ok(())
    }

    fn read_text(&mut self, path: &Path, text: &str) {
        // A file of tests is called so, or what they test with; elsewhere tests stand at the end.
        let is_test = path.components().any(|part| {
            let name = part.as_os_str().to_string_lossy();
            ["tests", "testing", "testing.rs"].contains(&&*name) || name.ends_with("tests.rs")
        });
        let (code, tests) = match text.split_once("#[cfg(test)]\nmod tests {") {
            _ if is_test => ("", text),
            Some(halves) => halves,
            None => (text, ""),
        };
        for id in ids(code) {
            self.anywhere.insert(id, path.to_owned());
        }
        for id in ids(tests) {
            self.tests.insert(id.clone());
            self.anywhere.insert(id, path.to_owned());
        }
    }
}

/// The ids that `text` cites.
fn ids(text: &str) -> Vec<String> {
    let mut ids = Vec::new();
    for start in ["dev:", "drv:"] {
        for (at, _) in text.match_indices(start) {
            if let Some((section, mut rest)) = section(&text[at..]) {
                while let Some((number, after)) = number(rest) {
                    ids.push(format!("{section}:{number}"));
                    rest = after
                        .trim_start_matches(['`', ',', ' ', '\n', '/'])
                        .trim_start_matches("and ");
                    rest = rest.trim_start_matches('`');
                }
            }
        }
    }
    ids
}

/// The first three parts of an id, and what follows.
fn section(text: &str) -> Option<(&str, &str)> {
    let mut end = 0;
    for _ in 0..2 {
        end += text[end..].find(':')? + 1;
    }
    end += text[end..].find(':')?;
    let (section, rest) = text.split_at(end);
    let plain = |character: char| character.is_ascii_alphanumeric() || "-.:".contains(character);
    section.chars().all(plain).then_some((section, rest))
}

/// A colon and two digits, and what follows.
fn number(text: &str) -> Option<(&str, &str)> {
    let (digits, rest) = text.strip_prefix(':')?.split_at_checked(2)?;
    let whole = digits.bytes().all(|digit| digit.is_ascii_digit());
    (whole && !rest.starts_with(|next: char| next.is_ascii_alphanumeric())).then_some((digits, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_alone_and_in_lists() {
        let section = "dev:pci:msi-x-vector-configuration";
        let text = format!("(`{section}:03`) and\n// {section}:01, :02 and\n/// (`{section}:04`, `:05`).");
        let expected = ["03", "01", "02", "04", "05"].map(|number| format!("{section}:{number}"));
        assert_eq!(ids(&text), expected);
    }

    #[test]
    fn other_words_with_colons_are_no_ids() {
        assert_eq!(
            ids("dev: a: b:01 dev:x:y dev:pci:z:123 drv::mmio::read:01"),
            [""; 0]
        );
    }

    #[test]
    fn tests_are_told_from_the_code_before_them() {
        let id = |number: &str| ["dev", "mmio", "a", number].join(":");
        let mut citations = Citations::default();
        let text = format!("// {}\n#[cfg(test)]\nmod tests {{\n// {}", id("01"), id("02"));
        citations.read_text(Path::new("src/a.rs"), &text);
        citations.read_text(Path::new("src/a/tests/b.rs"), &format!("// {}", id("03")));
        assert_eq!(citations.anywhere.len(), 3);
        assert_eq!(citations.tests, BTreeSet::from([id("02"), id("03")]));
    }
}
