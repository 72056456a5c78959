//! Every crate of the workspace under its different feature sets.

use anyhow::{Context, Result};
use serde_json::Value;

use super::steps::quiet;
use crate::command::{cargo, output};

/// Checks each package that has features: with none, with each alone, and with all.
pub fn check() -> Result<()> {
    let metadata = output(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    for package in metadata["packages"]
        .as_array()
        .context("cargo metadata lists no packages")?
    {
        let name = package["name"].as_str().context("a package without a name")?;
        let features = package["features"]
            .as_object()
            .context("a package without a feature table")?;
        let features: Vec<&str> = features
            .keys()
            .map(String::as_str)
            .filter(|name| *name != "default")
            .collect();
        if features.is_empty() {
            continue;
        }
        let mut sets = vec![String::new()];
        sets.extend(features.iter().map(|feature| (*feature).to_owned()));
        if features.len() > 1 {
            sets.push(features.join(","));
        }
        for set in sets {
            println!("{name} with [{set}]");
            let mut clippy = cargo();
            clippy.args([
                "clippy",
                "--quiet",
                "--package",
                name,
                "--no-default-features",
                "--features",
                &set,
            ]);
            quiet(clippy.args(["--", "-D", "warnings"]))?;
        }
    }
    Ok(())
}
