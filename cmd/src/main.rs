//! The program `bftkv` (under construction).
fn main() {}
