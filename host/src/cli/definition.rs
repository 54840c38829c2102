//! `hookline completions` and `hookline man`: what shells and readers of manuals get from the definition of the
//! command line, so that neither can fall behind it.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

/// `hookline completions`
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// For which shell
    pub shell: Shell,
}

/// `hookline man`
#[derive(Debug, Clone, Args)]
pub struct ManArgs {
    /// A command of which to print the page, such as `modules show`; nothing: the program's own
    #[arg(value_name = "COMMAND")]
    pub command: Vec<String>,
    /// Write every page into this folder, as packages want it
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    pub all: Option<PathBuf>,
}

/// Prints what makes a shell complete the words of `command`, which is the whole program.
pub(super) fn completions(
    args: &CompletionsArgs,
    mut command: Command,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    // Into memory first: the generator panics where its output cannot be written.
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, "hookline", &mut text);
    out.write_all(&text)?;
    Ok(())
}

/// Prints a page about `command`, which is the whole program, or writes all of them.
pub(super) fn man(args: &ManArgs, mut command: Command, out: &mut dyn Write) -> anyhow::Result<()> {
    if let Some(folder) = &args.all {
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        return clap_mangen::generate_to(command, folder)
            .with_context(|| format!("writing pages into {}", folder.display()));
    }
    // Gives every command below the names of those above it: hookline-modules-show.
    command.build();
    let mut page = &command;
    for word in &args.command {
        page = page
            .find_subcommand(word)
            .with_context(|| format!("there is no page on {word:?}; `hookline --help` lists the commands"))?;
    }
    let mut text = Vec::new();
    Man::new(page.clone()).render(&mut text)?;
    out.write_all(&text)?;
    Ok(())
}
