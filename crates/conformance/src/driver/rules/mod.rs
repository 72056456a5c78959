//! The rules, by the part of the document that they are for.

mod core;
mod feat;
mod init;
mod split;

use super::Rule;

/// All rules.
pub fn rules() -> impl Iterator<Item = &'static Rule> + Clone {
    [core::RULES, init::RULES, feat::RULES, split::RULES]
        .into_iter()
        .flatten()
}
