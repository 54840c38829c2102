//! `hookline failures`, `flush`, `enable` and `set`: hooks that fail, as `webhooks_maintenance` of KAZOO has them.

use std::io::Write;

use anyhow::bail;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::ClientArgs;
use super::client::HostClient;
use super::listing::{all_pages, cell, entries, harmless, table};
use crate::disabler::limits;
use crate::hooks::limits::LimitName;

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
    pub name: SettableName,
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
pub enum SettableName {
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

pub(super) async fn failures(args: &FailuresArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let query: Vec<(&str, &str)> = args.account.iter().map(|id| ("account", id.as_str())).collect();
    let failing = all_pages(&HostClient::new(&args.client)?, &["failures"], &query, usize::MAX).await?;
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&failing)?)?;
        return Ok(());
    }
    if failing.is_empty() {
        writeln!(out, "no failures")?;
        return Ok(());
    }
    let fields = ["account_id", "hook_id", "count", "state", "failing_since", "paused_until"];
    let rows = failing.iter().map(|failing| fields.iter().map(|field| cell(failing, field)).collect());
    table(out, &["ACCOUNT", "HOOK", "COUNT", "STATE", "FAILING SINCE", "PAUSED UNTIL"], rows)?;
    Ok(())
}

pub(super) async fn flush(args: &FlushArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut query = vec![("account", args.account.as_str())];
    query.extend(args.hook.iter().map(|id| ("hook", id.as_str())));
    let answer = HostClient::new(&args.client)?.delete(&["failures"], &query).await?;
    let data = answer.get("data").unwrap_or(&Value::Null);
    if args.json {
        writeln!(out, "{data}")?;
        return Ok(());
    }
    let of = args.hook.as_ref().map(|hook| format!(" for {hook}")).unwrap_or_default();
    writeln!(out, "flushed {} failure entries{of}", cell(data, "flushed"))?;
    Ok(())
}

pub(super) async fn enable(args: &EnableArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut query = vec![("account", args.account.as_str())];
    if args.descendants {
        query.push(("descendants", "true"));
    }
    let client = HostClient::new(&args.client)?;
    let answer = client.post(&["hooks", "enable"], &query, "application/json", String::new()).await?;
    let accounts = entries(&answer, "data");
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(accounts)?)?;
        return Ok(());
    }
    for account in accounts {
        let id = cell(account, "account_id");
        let hooks = entries(account, "enabled");
        let ids: Vec<&str> = hooks.iter().filter_map(Value::as_str).collect();
        match (account.get("hooks").and_then(Value::as_u64), ids.is_empty()) {
            (Some(0), _) => writeln!(out, "account {id} has no hooks")?,
            (_, true) => writeln!(out, "account {id} has no hooks to re-enable")?,
            (_, false) => {
                writeln!(
                    out,
                    "re-enabled {} hooks of account {id}: {}",
                    ids.len(),
                    harmless(&ids.join(", "))
                )?;
            }
        }
    }
    Ok(())
}

pub(super) async fn set(args: &SetArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let key = match args.name {
        SettableName::Limit => return set_limit(args, out).await,
        _ if args.number.is_some() => bail!("only `set limit` takes a name and a number"),
        SettableName::FailureExpiry => limits::EXPIRY,
        SettableName::DisableThreshold => limits::COUNT,
        SettableName::PauseFirst => limits::PAUSE_FIRST,
        SettableName::PauseLongest => limits::PAUSE_LONGEST,
        SettableName::DisableAfter => limits::DISABLE_AFTER,
    };
    let value = number(&args.value)?;
    let path = match &args.account {
        Some(account) => vec!["v2", "accounts", account, "configs", "webhooks"],
        None => vec!["v2", "system_configs", "webhooks"],
    };
    let patch = json!({"data": { key: value }}).to_string();
    let answer = HostClient::new(&args.client)?.patch(&path, patch).await?;
    let data = answer.get("data").unwrap_or(&Value::Null);
    if args.json {
        writeln!(out, "{data}")?;
        return Ok(());
    }
    let applies = data.pointer("/_read_only/effective").unwrap_or(&Value::Null);
    match &args.account {
        Some(account) => writeln!(out, "{key} is {} for account {account}", cell(applies, key))?,
        None => writeln!(out, "{key} is {} where an account has not set it", cell(applies, key))?,
    }
    Ok(())
}

/// What an account may have, over the settings.
async fn set_limit(args: &SetArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let known = LimitName::ALL.map(LimitName::as_str).join(", ");
    let Some(name) = LimitName::parse(&args.value) else {
        bail!("{:?} is not a limit: {known} are", args.value);
    };
    let Some(account) = &args.account else {
        bail!("say for which account: --account ID; for all accounts it is the setting limits.{name}");
    };
    let value = number(args.number.as_deref().unwrap_or_default())?;
    let path = ["v2", "accounts", account, "configs", "limits"];
    let patch = json!({"data": { name.as_str(): value }}).to_string();
    let answer = HostClient::new(&args.client)?.patch(&path, patch).await?;
    let data = answer.get("data").unwrap_or(&Value::Null);
    if args.json {
        writeln!(out, "{data}")?;
        return Ok(());
    }
    let read_only = |part: &str| {
        let found = data.pointer(&format!("/_read_only/{part}"));
        found.map(|part| cell(part, name.as_str())).unwrap_or_default()
    };
    writeln!(out, "limits.{name} is {} for account {account}", read_only("effective"))?;
    Ok(())
}

/// What is to be set; nothing for the word default.
fn number(text: &str) -> anyhow::Result<Value> {
    match text {
        "default" => Ok(Value::Null),
        number => match number.parse::<i64>() {
            Ok(number) => Ok(json!(number)),
            Err(_) => bail!("{number:?} is neither a whole number nor the word default"),
        },
    }
}
