//! Zoned block devices (section 5.2).

mod append;
mod config;
mod disk;
mod mutants;
mod operation;
mod resources;

pub(super) use append::CHECKS as APPEND;
pub(super) use config::CHECKS as CONFIG;
pub(super) use operation::CHECKS as OPERATION;
pub(super) use resources::CHECKS as RESOURCES;
