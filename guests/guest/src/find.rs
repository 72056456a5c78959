//! Where the devices are.

#[cfg(target_arch = "s390x")]
pub use channel::all;
#[cfg(not(target_arch = "s390x"))]
pub use registers::all;

#[cfg(target_arch = "s390x")]
mod channel;
#[cfg(not(target_arch = "s390x"))]
mod registers;
