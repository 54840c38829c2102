//! The command line: which words it knows, and which function each leads to.
//!
//! Commands that look at or change a running host are clients of its HTTP API; the others work alone.

mod attempts;
pub mod audit;
pub mod backup;
pub mod check;
mod client;
pub mod config;
pub mod definition;
pub mod dev;
pub mod failed_events;
pub mod failures;
mod deliveries;
pub mod health;
pub mod hooks;
mod listing;
pub mod modules;
pub mod new;
pub mod next;
mod progress;
pub mod publish;
pub mod run;
#[cfg(test)]
mod tests;
pub mod token;
pub mod try_one;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{CommandFactory as _, Parser, Subcommand};

pub use self::client::ClientArgs;

/// Webhook host: events off a bus, through hot-swappable modules, out as HTTP requests.
#[derive(Debug, Parser)]
#[command(name = "hookline", version, arg_required_else_help = true, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// What was typed. Whoever typed nothing but the program's name is told what to type.
    #[must_use]
    pub fn of_process() -> Self {
        let mut words: Vec<OsString> = std::env::args_os().collect();
        if words.len() < 2 {
            words.push("next".into());
        }
        Self::parse_from(words)
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the host in the foreground until SIGTERM or SIGINT
    Run(run::RunArgs),
    /// Inspect module files without running the host
    Check(check::CheckArgs),
    /// Run one event through one module and print the requests that would be sent
    ///
    /// Nothing is sent. Each request is one JSON object on a line of its own: hook_id, method, url, headers
    /// (names in lower case) and body. That no request results is not an error.
    Try(try_one::TryArgs),
    /// Write a new module, ready to build
    ///
    /// It is a folder that builds and tests anywhere, with this program's plugin-api inside. Its README.md leads
    /// from there to a fired webhook.
    New(new::NewArgs),
    /// Build a module whenever it changes, and show what it does otherwise than before
    ///
    /// It runs until Ctrl-C. Each build goes to a private host with a receiver of its own, both on this machine and gone
    /// at the end, and is tried with the events in tests/events. Shown is what the module fires and what is sent for
    /// it, later on as a difference to the run before. While a build fails, the last good one goes on serving.
    Dev(dev::DevArgs),
    /// Give events to the running host; with --exchange, publish them on RabbitMQ
    ///
    /// The input is one JSON object, an array of objects, or one object a line. All of it is checked before
    /// any of it is sent.
    Publish(publish::PublishArgs),
    /// The modules of the running host
    Modules(modules::ModulesArgs),
    /// The hooks of the running host
    Hooks(hooks::HooksArgs),
    /// The hooks whose requests fail
    Failures(failures::FailuresArgs),
    /// Forget failures of hooks, and end their pauses
    Flush(failures::FlushArgs),
    /// Switch on the hooks that the host has switched off
    Enable(failures::EnableArgs),
    /// Set when hooks that fail are paused or switched off, while the host runs
    ///
    /// What is set goes over the settings and stays over restarts. An account without anything of its own has what its
    /// reseller has set.
    Set(failures::SetArgs),
    /// Write the stored metadata documents of the loaded modules anew
    ///
    /// What somebody changed in them is gone, and so are documents of modules that are not loaded. The host itself
    /// always goes by what its modules say; the documents are for those who read its store. A module says something
    /// else only after `hookline modules reload`.
    ResetMetadata(modules::ResetArgs),
    /// What was sent for an account and what came back
    Attempts(attempts::AttemptsArgs),
    /// What waits to be sent, and what was given up
    Deliveries(deliveries::DeliveriesArgs),
    /// Send dead deliveries of a hook again
    ///
    /// One, or all that were accepted from some time on. That is a job of the host: it goes on after a restart, and no
    /// faster than its deliveries are tried. A delivery keeps its webhook-id.
    Replay(deliveries::ReplayArgs),
    /// The jobs that send dead deliveries again
    Replays(deliveries::ReplaysArgs),
    /// Access tokens of the running host
    Token(token::TokenArgs),
    /// Who changed what in the running host, the newest first
    Audit(audit::AuditArgs),
    /// Copy everything that the running host keeps into a file
    ///
    /// The host goes on meanwhile. The file is one SQLite database as of one moment; it appears when it has arrived
    /// as a whole and was checked. It holds hooks' secrets encrypted, and not the key: keep a copy of secrets.key
    /// elsewhere.
    Backup(backup::BackupArgs),
    /// Make a backup the database of a data folder that no host uses
    ///
    /// The file is checked first. A database that is there is kept under another name. Deliveries that were owed at
    /// the time of the backup are owed again: what was sent since is sent twice, with the same webhook-id.
    Restore(backup::RestoreArgs),
    /// Say whether the host is ready, by the exit code too
    Health(health::HealthArgs),
    /// Say what is worth typing next (also without any word)
    Next(next::NextArgs),
    /// Print every setting with its value and where that came from
    Config(config::ConfigArgs),
    /// Be the process of one module; the host starts these itself
    #[command(name = crate::module::program::WORD, hide = true)]
    ModuleChild {
        /// What the process is shown as
        label: Option<String>,
    },
    /// Print what makes a shell complete this program's words
    Completions(definition::CompletionsArgs),
    /// Print a page of the manual, in roff
    #[command(hide = true)]
    Man(definition::ManArgs),
}

/// How long tasks that are still busy may hold up the end of the process.
const LINGER: Duration = Duration::from_secs(1);

/// Does what the command says. Results go to `out`; the exit code is not 0 where a command has already
/// reported each of its failures.
///
/// # Errors
/// What the caller reports as one line.
pub fn execute(cli: Cli, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    if matches!(cli.command, Command::ModuleChild { .. }) {
        // A process of few threads: its module has the main one, and there is no runtime.
        return Ok(crate::module::isolated::child::run());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting up")?;
    let outcome = runtime.block_on(dispatch(cli.command, out));
    runtime.shutdown_timeout(LINGER);
    let code = outcome?;
    out.flush()?;
    Ok(code)
}

async fn dispatch(command: Command, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(args) => crate::app::run(args.load_config()?.0, args.demo).await?,
        Command::Check(args) => return check::check(&args, out).await,
        Command::Try(args) => try_one::try_event(&args, out).await?,
        Command::New(args) => new::new(&args, out)?,
        Command::Dev(args) => return dev::dev(&args, out).await,
        Command::Publish(args) => publish::publish(&args, out).await?,
        Command::Modules(args) => modules::modules(&args, out).await?,
        Command::Hooks(args) => hooks::hooks(&args, out).await?,
        Command::Failures(args) => failures::failures(&args, out).await?,
        Command::Flush(args) => failures::flush(&args, out).await?,
        Command::Enable(args) => failures::enable(&args, out).await?,
        Command::Set(args) => failures::set(&args, out).await?,
        Command::ResetMetadata(args) => modules::reset(&args, out).await?,
        Command::Attempts(args) => attempts::attempts(&args, out).await?,
        Command::Deliveries(args) => deliveries::deliveries(&args, out).await?,
        Command::Replay(args) => deliveries::replay(&args, out).await?,
        Command::Replays(args) => deliveries::replays(&args, out).await?,
        Command::Token(args) => token::token(&args, out).await?,
        Command::Audit(args) => audit::audit(&args, out).await?,
        Command::Backup(args) => backup::backup(&args, out).await?,
        Command::Restore(args) => backup::restore(&args, out)?,
        Command::Health(args) => health::health(&args, out).await?,
        Command::Next(args) => next::next(&args, out).await?,
        Command::Config(args) => config::config(&args, out)?,
        Command::ModuleChild { .. } => anyhow::bail!("a module's process has no runtime"),
        Command::Completions(args) => definition::completions(&args, Cli::command(), out)?,
        Command::Man(args) => definition::man(&args, Cli::command(), out)?,
    }
    Ok(ExitCode::SUCCESS)
}
