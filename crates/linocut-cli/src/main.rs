//! The `linocut` command.

fn main() {}
