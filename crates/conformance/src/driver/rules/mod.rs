//! The rules, by the part of the document that they are for.

mod block;
mod core;
mod feat;
mod init;
mod mmio;
mod network;
mod packed;
mod pci;
mod queues;
mod split;

use super::Rule;
use crate::check::Check;

/// All rules.
pub fn rules() -> impl Iterator<Item = &'static Rule> + Clone {
    [
        core::RULES,
        init::RULES,
        feat::RULES,
        split::RULES,
        packed::RULES,
        mmio::RULES,
        block::RULES,
        queues::RULES,
        network::RULES,
    ]
    .into_iter()
    .chain(pci::RULES)
    .flatten()
}

/// The rules as checks, for lists and counts.
pub fn checks() -> impl Iterator<Item = &'static Check> + Clone {
    rules().map(|rule| &rule.check)
}
