//! `ringwright serve`, used by drivers of our own.

mod control;
mod drain;
mod resize;
mod sandbox;
mod several;
mod support;
