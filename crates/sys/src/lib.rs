//! The system calls that the devices need and no safe crate offers, as safe functions: one module for each kernel
//! interface, nothing in it but the call. And what the system offers no call for: programs on a [`leash`].

pub mod descriptor;
pub mod disk;
pub mod leash;
pub mod lock;
pub mod refusal;
pub mod tap;
pub mod uring;
