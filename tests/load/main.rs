//! The load run.

fn main() {}
