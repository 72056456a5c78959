//! A program on no operating system that drives the virtio devices of its machine, and says what became of it.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod drive;
mod find;
mod report;

use bare::{Boot, Failed, println};
use report::Report;

bare::program!(main);

fn main(boot: &Boot) -> Result<(), Failed> {
    let Some(area) = bare::area() else {
        println!("there is no memory for devices");
        return Err(Failed);
    };
    let mut report = Report::new(area);
    find::all(boot, &mut report);
    report.end()
}
