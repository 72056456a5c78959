//! Checks of drivers: a strict device that watches a driver's whole life.
//!
//! A [`Driver`] meets a [`Strict`] device in several [`Scenario`]s, in each of which the device does something unusual, or
//! wrong. All that the driver does is a stream of [`Event`]s, and each [`Rule`] looks at them for one clause. A rule passes
//! a driver only if it has seen the occasion for which its clause is made.

mod event;
mod mutant;
mod past;
mod reach;
mod rule;
mod rules;
mod run;
mod scenario;
mod strict;
mod subject;
#[cfg(test)]
mod tests;

pub use event::{
    Access, Astray, Chain, Change, Channel, Descriptor, Event, Look, Part, Place, Sent, Suppression,
};
pub use mutant::{ChannelHand, Hand, Mutant, Slip, SlipAccess, SlipCommand, SlipHypercall, Told};
pub use past::{Past, QueuePast, Steps};
pub use rule::{Rule, Watch};
pub use rules::{checks, rules};
pub use run::{Seen, meet, watch};
pub use scenario::{Act, Completes, Function, Identity, Oddity, SCENARIOS, Scenario, Subchannel, scenario};
pub use strict::{
    Line, Model, Shared, Strict, StrictCcw, StrictMmio, StrictPci, StrictTransport, model, with,
};
pub use subject::{
    Driver, Linux, LinuxError, LinuxParts, OURS, Remote, RemoteError, Seat, Stage, Wait, Way, ours, ours_on,
};
