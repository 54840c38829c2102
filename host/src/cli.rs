//! The command line: which words it knows, and which function each leads to.
//!
//! Commands that look at or change a running host are clients of its HTTP API; the others work alone.

mod attempts;
mod audit;
pub mod backup;
pub mod check;
mod client;
mod config;
pub mod definition;
mod failures;
mod deliveries;
pub mod health;
mod hooks;
mod listing;
mod modules;
pub mod new;
pub mod next;
mod progress;
pub mod publish;
#[cfg(test)]
mod tests;
mod token;
pub mod try_one;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::builder::TypedValueParser as _;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{Config, ConfigErrors, Flag, LoadOptions, SettingOrigins};

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
    Run(RunArgs),
    /// Inspect module files without running the host
    Check(CheckArgs),
    /// Run one event through one module and print the requests that would be sent
    ///
    /// Nothing is sent. Each request is one JSON object on a line of its own: hook_id, method, url, headers
    /// (names in lower case) and body. That no request results is not an error.
    Try(TryArgs),
    /// Write a new module, ready to build
    ///
    /// It is a folder that builds and tests anywhere, with this program's plugin-api inside. Its README.md leads
    /// from there to a fired webhook.
    New(new::NewArgs),
    /// Give events to the running host; with --exchange, publish them on RabbitMQ
    ///
    /// The input is one JSON object, an array of objects, or one object a line. All of it is checked before
    /// any of it is sent.
    Publish(publish::PublishArgs),
    /// The modules of the running host
    Modules(ModulesArgs),
    /// The hooks of the running host
    Hooks(HooksArgs),
    /// The hooks whose requests fail
    Failures(FailuresArgs),
    /// Forget failures of hooks, and end their pauses
    Flush(FlushArgs),
    /// Switch on the hooks that the host has switched off
    Enable(EnableArgs),
    /// Set when hooks that fail are paused or switched off, while the host runs
    ///
    /// What is set goes over the settings and stays over restarts. An account without anything of its own has what its
    /// reseller has set.
    Set(SetArgs),
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
    Token(TokenArgs),
    /// Who changed what in the running host, the newest first
    Audit(AuditArgs),
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
    Config(ConfigArgs),
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

/// `hookline run`
#[derive(Debug, Clone, Default, Args)]
pub struct RunArgs {
    /// Settings (TOML); `hookline config` prints every name
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder with the compiled modules [setting: plugins_dir]
    #[arg(long, value_name = "DIR")]
    pub plugins: Option<PathBuf>,
    /// Folder of the database and of admin.token [setting: data_dir]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Address and port of the HTTP API; port 0 takes a free one [setting: api.listen]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Take events from this RabbitMQ [settings: bus.kind = "amqp", bus.uri]
    #[arg(long, value_name = "URI")]
    pub amqp: Option<String>,
    /// Keep documents in this CouchDB [settings: documents.kind = "couchdb", documents.url]
    // Hidden until there is one.
    #[arg(long, value_name = "URL", hide = true)]
    pub couchdb: Option<String>,
    /// Also start a receiver, an account with hooks and a stream of synthetic calls
    #[arg(long)]
    pub demo: bool,
}

impl RunArgs {
    /// The settings under these flags: flags over this process's environment over the file over the defaults.
    ///
    /// # Errors
    /// Every wrong setting.
    pub fn load_config(&self) -> Result<(Config, SettingOrigins), ConfigErrors> {
        Config::load(LoadOptions::of_process(self.config.clone(), self.flags()))
    }

    fn flags(&self) -> Vec<Flag> {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
        let kind = |given: &Option<String>, kind: &str| given.as_ref().map(|_| kind.to_owned());
        let flags = [
            ("plugins_dir", path(&self.plugins), "--plugins"),
            ("data_dir", path(&self.data), "--data"),
            ("api.listen", self.listen.clone(), "--listen"),
            ("bus.kind", kind(&self.amqp, "amqp"), "--amqp"),
            ("bus.uri", self.amqp.clone(), "--amqp"),
            ("documents.kind", kind(&self.couchdb, "couchdb"), "--couchdb"),
            ("documents.url", self.couchdb.clone(), "--couchdb"),
        ];
        given(flags)
    }
}

/// The flags that were given.
fn given<const N: usize>(flags: [(&'static str, Option<String>, &'static str); N]) -> Vec<Flag> {
    flags.into_iter().filter_map(|(key, value, flag)| Some(Flag { key, value: value?, flag })).collect()
}

/// `hookline check`
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// Module files
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Print JSON, one object a file
    #[arg(long)]
    pub json: bool,
}

/// `hookline try`
#[derive(Debug, Clone, Args)]
pub struct TryArgs {
    /// The module's file
    #[arg(long, value_name = "FILE")]
    pub plugin: PathBuf,
    /// The event, one JSON object; - reads it from standard input
    #[arg(long, value_name = "FILE")]
    pub event: PathBuf,
    /// Hook documents as they are stored, a JSON array
    #[arg(long, value_name = "FILE")]
    pub hooks: PathBuf,
    /// Account documents as they are stored, a JSON array; pvt_reseller_id names an account's reseller
    #[arg(long, value_name = "FILE")]
    pub accounts: Option<PathBuf>,
    /// Settings (TOML) over the defaults; the environment does not count here
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Whose rules the requests follow [setting: delivery.profile]
    #[arg(long, value_name = "PROFILE", value_parser = ["standard", "kazoo"])]
    pub profile: Option<String>,
    /// What payloads carry as cluster_id [setting: kazoo.cluster_id]
    #[arg(long, value_name = "ID")]
    pub cluster_id: Option<String>,
}

impl TryArgs {
    /// The settings under these flags: flags over the file over the defaults, whatever the environment says,
    /// so that the same files give the same requests everywhere.
    ///
    /// # Errors
    /// Every wrong setting.
    pub fn load_config(&self) -> Result<Config, ConfigErrors> {
        let flags = given([
            ("delivery.profile", self.profile.clone(), "--profile"),
            ("kazoo.cluster_id", self.cluster_id.clone(), "--cluster-id"),
        ]);
        let options = LoadOptions { file: self.config.clone(), flags, ..LoadOptions::default() };
        Config::load(options).map(|(config, _)| config)
    }
}

/// How to reach a running host; every command that talks to one takes these.
#[derive(Debug, Clone, Args)]
pub struct ClientArgs {
    /// Address of the host's HTTP API
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "HOOKLINE_URL",
        default_value = "http://127.0.0.1:8000"
    )]
    pub url: String,
    /// Access token; without it, the one in admin.token of --data
    #[arg(long, global = true, value_name = "TOKEN", env = "HOOKLINE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// The host's data folder, for its admin.token
    #[arg(long, global = true, value_name = "DIR", env = "HOOKLINE_DATA_DIR", default_value = "data")]
    pub data: PathBuf,
}

/// `hookline modules`
#[derive(Debug, Clone, Args)]
pub struct ModulesArgs {
    /// What to do; `list` unless told.
    #[command(subcommand)]
    pub action: Option<ModulesAction>,
    /// Print the host's answer as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// How to reach the host.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// What to do with modules.
#[derive(Debug, Clone, Subcommand)]
pub enum ModulesAction {
    /// List the loaded modules and the files that were refused (also without this word)
    List,
    /// Everything about one module
    Show {
        /// The module's id, webhooks_<hook>
        id: String,
    },
    /// Load the file of a module again, whether it changed or not; of every module without an id
    ///
    /// A file that is turned down leaves the generation that serves in its place.
    Reload {
        /// The module's id, webhooks_<hook>
        id: Option<String>,
    },
}

/// `hookline hooks`
#[derive(Debug, Clone, Args)]
pub struct HooksArgs {
    /// What to do; `list` unless told.
    #[command(subcommand)]
    pub action: Option<HooksAction>,
    /// The account: only its hooks are listed; `test` needs the one that the hook belongs to
    #[arg(long, global = true, value_name = "ID")]
    pub account: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// How to reach the host.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// What to do with hooks.
#[derive(Debug, Clone, Subcommand)]
pub enum HooksAction {
    /// List the hooks that the host serves (also without this word)
    List,
    /// Send a sample to a hook of an account (--account), once, and show what came back
    ///
    /// It is sent as the hook's events are, with its form, headers and signature, and with the header webhook-test.
    /// Nothing counts for or against the hook, and a disabled one is sent to as well. The exit code is not 0 where
    /// the endpoint did not take it.
    Test(hooks::TestArgs),
}

/// `hookline failures`
#[derive(Debug, Clone, Args)]
pub struct FailuresArgs {
    /// Only the hooks of this account
    #[arg(long, value_name = "ID")]
    pub account: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How to reach the host.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `hookline flush`
#[derive(Debug, Clone, Args)]
pub struct FlushArgs {
    /// The account whose hooks begin anew
    #[arg(long, value_name = "ID")]
    pub account: String,
    /// Only this hook
    #[arg(long, value_name = "ID")]
    pub hook: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How to reach the host.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `hookline enable`
#[derive(Debug, Clone, Args)]
pub struct EnableArgs {
    /// The account whose hooks are switched on
    #[arg(long, value_name = "ID")]
    pub account: String,
    /// Also the hooks of all accounts below it
    #[arg(long)]
    pub descendants: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How to reach the host.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `hookline set`
#[derive(Debug, Clone, Args)]
pub struct SetArgs {
    /// What to set
    #[arg(value_enum)]
    pub name: Set,
    /// A whole number (milliseconds, or failures), or the word default, to take away what was set; for a limit its name
    #[arg(value_name = "NUMBER")]
    pub value: String,
    /// Of a limit, its number, or the word default
    #[arg(value_name = "NUMBER", required_if_eq("name", "limit"))]
    pub number: Option<String>,
    /// For this account; without it, for all that have set nothing themselves
    #[arg(long, value_name = "ID")]
    pub account: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How to reach the host.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// What `hookline set` sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Set {
    /// How long a failed attempt counts, in milliseconds
    FailureExpiry,
    /// How many failed attempts within that time are too many
    DisableThreshold,
    /// The first pause in milliseconds, profile standard
    PauseFirst,
    /// The longest pause in milliseconds, profile standard
    PauseLongest,
    /// Without a success for so many milliseconds a hook is switched off, profile standard
    DisableAfter,
    /// What an account (--account) may have: limit NAME NUMBER, where NAME is hooks, hook_bytes, documents_bytes,
    /// accounts_below, depth or tokens
    Limit,
}

/// `hookline token`
#[derive(Debug, Clone, Args)]
pub struct TokenArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: TokenAction,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// How to reach the host.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// What to do with tokens.
#[derive(Debug, Clone, Subcommand)]
pub enum TokenAction {
    /// Make a token and print it; it is never shown again
    Create {
        /// The account; the token reaches it and those below it
        #[arg(long, value_name = "ID")]
        account: String,
        /// Make it an administrator's, which reaches everything
        #[arg(long)]
        admin: bool,
        /// What to call it
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// List tokens, without what is secret about them
    List {
        /// Only those of this account
        #[arg(long, value_name = "ID")]
        account: Option<String>,
    },
    /// Revoke a token at once
    Revoke {
        /// The token's id, as `token list` shows it
        #[arg(value_name = "TOKEN")]
        id: String,
        /// Its account; without it an administrator's token is needed
        #[arg(long, value_name = "ID")]
        account: Option<String>,
    },
}

/// `hookline audit`
#[derive(Debug, Clone, Args)]
pub struct AuditArgs {
    /// Only what concerns this account
    #[arg(long, value_name = "ID")]
    pub account: Option<String>,
    /// How many entries
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..).map(|n| n as usize))]
    pub last: usize,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How to reach the host.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `hookline config`
#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    /// Only check this file against the defaults; the environment does not count
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "json"])]
    pub check: Option<PathBuf>,
    /// Settings (TOML), as for `hookline run`
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
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
        Command::Completions(args) => definition::completions(&args, out)?,
        Command::Man(args) => definition::man(&args, out)?,
    }
    Ok(ExitCode::SUCCESS)
}
