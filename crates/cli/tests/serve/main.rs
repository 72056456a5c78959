//! `ringwright serve`, used by drivers of our own.

mod card;
mod control;
mod conventions;
mod drain;
mod pin;
mod resize;
mod sandbox;
mod several;
mod support;
mod systemd;
