//! vfio-user: hand a whole PCI function to another process, or take one from it.
//!
//! The protocol is that of QEMU's document "vfio-user Protocol Specification" (`docs/interop/vfio-user.rst`), which is
//! libvfio-user's too: the *client* owns the machine that the function is plugged into, the *server* is the function. Both
//! distrust the other end.
#![forbid(unsafe_code)]

pub mod client;
pub mod message;
pub mod server;
pub mod socket;
