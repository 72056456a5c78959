//! Programs of the workspace.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command::{cargo, output};

/// Builds program `name` of `package`, optimised, and says where it is.
pub fn build(package: &str, name: &str) -> Result<PathBuf> {
    eprintln!("building {name}");
    let messages = output(cargo().args([
        "build",
        "--release",
        "--message-format=json-render-diagnostics",
        "--package",
        package,
        "--bin",
        name,
    ]))?;
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|message| message["target"]["name"] == name && message["executable"].is_string())
        .and_then(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo names no executable for {name}"))
}
