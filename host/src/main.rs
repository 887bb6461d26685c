//! The Gristmill host.
fn main() {}
