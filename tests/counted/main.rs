//! A host for whoever counts the instructions of its process (`tests/it/instructions.rs`): `hookline run`, but modules are
//! tried by the program that is named, as a process under valgrind cannot start itself once more.
//!
//! `counted PROGRAM SETTINGS`; it says where it listens, and ends with its standard input.

// A program for a test.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;

use anyhow::Context as _;
use hookline::app::{HostEnvironment, start_with};
use hookline::config::{Config, ModuleProgram};

fn main() -> anyhow::Result<()> {
    let words: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [program, settings] = words.as_slice() else { anyhow::bail!("counted PROGRAM SETTINGS") };
    let text = std::fs::read_to_string(settings).context("reading the settings")?;
    let mut config = Config::from_toml(&text, "the test's settings")?;
    config.modules.program = ModuleProgram::at(program.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let host = start_with(config, HostEnvironment::default()).await?;
        println!("listening on http://{}", host.address);
        let ended = || std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        tokio::task::spawn_blocking(ended).await??;
        host.stop().await
    })
}
