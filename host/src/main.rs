//! The program `hookline`.

fn main() {}
