//! The program `hookline`: command line → one function → exit code.

use std::ffi::{c_int, c_long};
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use hookline::app::KEEP_FREED;
use hookline::cli::{Cli, execute};
use hookline::harmless::{HarmlessWriter, harmless};

/// Of the program, not of the library, and of no module: each of those has the allocator that it was built with,
/// and nothing that one side has allocated is freed by the other.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

// SAFETY: it is as mimalloc.h declares it, and sets a number in a table that every thread may read at any time.
unsafe extern "C" {
    safe fn mi_option_set(option: c_int, value: c_long);
}

/// `mi_option_purge_delay` of mimalloc 3: after so many milliseconds freed memory goes back to the system.
const PURGE_DELAY: c_int = 15;

/// mimalloc's own choice.
const KEPT_MS: c_long = 1_000;

fn main() -> ExitCode {
    let keep_freed: fn(bool) = |keep| mi_option_set(PURGE_DELAY, if keep { KEPT_MS } else { 0 });
    // It was set by nobody else.
    KEEP_FREED.set(keep_freed).ok();
    match execute(Cli::of_process(), &mut HarmlessWriter::new(std::io::stdout())) {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to tell when stderr is closed too.
            let text = format!("hookline: {error:#}");
            text.lines().try_for_each(|line| writeln!(std::io::stderr(), "{}", harmless(line))).ok();
            ExitCode::FAILURE
        }
    }
}

/// Whoever read our output has seen enough (`hookline hooks | head`). A broken connection elsewhere comes
/// with context around it and is an error.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
