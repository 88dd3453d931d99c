//! The program: see `sessgate --help`, or the library for what it does.

use std::process::ExitCode;

/// Gives memory back to the system under churn, which the system's allocator does less well, and is faster.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    sessgate::cli::main()
}
