//! The program `ringwright`.
fn main() {}
