//! The `sluicegate` binary: arguments in, exit code out.

fn main() {}
