//! Arguments in, exit code out.

use std::process::ExitCode;

/// Requests come and go in many sizes on many threads, where the system's allocator took a sixth of the server's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    amtsbote::cli::run(std::env::args_os())
}
