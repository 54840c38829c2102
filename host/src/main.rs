//! The program `hookline`: command line → one function → exit code.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use hookline::cli::{Cli, execute};
use hookline::harmless::{HarmlessWriter, harmless};

/// Of the program, not of the library, and of no module: each of those has the allocator that it was built with,
/// and nothing that one side has allocated is freed by the other.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
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
