//! Tells any VIRTIO implementation which clause of the document it breaks.
//!
//! Every normative sentence of the document is a [`Clause`]. A [`Check`] names clauses, does something to a
//! [`Subject`], a device of whatever make on whatever bus, by registers and rings that it writes itself, and comes to a
//! [`Verdict`]. Each check has mutants ([`Mutant`]): lenses before a right device that make it break just that clause, so
//! that the check is known to see it.
//!
//! A [`Driver`](driver::Driver) is watched the other way round, by a strict device and its rules: module [`driver`].
//!
//! ```no_run
//! use std::sync::Arc;
//! use ringwright_conformance::{RunOptions, Verdict, device, run, subject::VhostUser};
//!
//! let disk = Arc::new(VhostUser::new("/run/disk.sock", 2));
//! let checks: Vec<_> = device::checks().collect();
//! for record in run(disk, &checks, &RunOptions::default(), |_| {})? {
//!     if let Verdict::Fail { clause, evidence } = record.verdict {
//!         eprintln!("{}: {clause}: {evidence}", record.check.name);
//!     }
//! }
//! # Ok::<(), ringwright_conformance::subject::SubjectError>(())
//! ```
#![forbid(unsafe_code)]

pub mod device;
pub mod driver;
pub mod mutant;
pub mod raw;
pub mod report;
pub mod subject;

mod check;
mod coverage;
mod exercise;
mod left;
mod live;
mod probe;
mod registry;
mod run;
mod select;

pub use check::{Check, Ended, Needs, Outcome, Verdict};
pub use coverage::{Coverage, caught, coverage};
pub use exercise::{Answer, Exercise, exercise};
pub use left::{BUILT, Left, Obstacle, left};
pub use live::Live;
pub use mutant::Mutant;
pub use probe::Probe;
pub use registry::{Clause, Observed, Side, Strength, clause, clauses};
pub use run::{Record, RunOptions, run};
pub use select::{Selection, fits};
pub use subject::Subject;
