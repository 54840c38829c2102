//! `hookline audit`: who changed what, the newest first.

use std::io::Write;

use clap::Args;
use clap::builder::TypedValueParser as _;

use super::ClientArgs;
use super::client::HostClient;
use super::listing::{all_pages, cell, table};

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

pub(super) async fn audit(args: &AuditArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let client = HostClient::new(&args.client)?;
    let path = match &args.account {
        Some(account) => vec!["v2", "accounts", account, "audit"],
        None => vec!["audit"],
    };
    let entries = all_pages(&client, &path, &[], args.last).await?;
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&entries)?)?;
        return Ok(());
    }
    if entries.is_empty() {
        writeln!(out, "nothing was changed")?;
        return Ok(());
    }
    let fields = ["at", "token", "address", "action", "account_id", "document", "request_id"];
    let rows = entries.iter().map(|entry| fields.iter().map(|field| cell(entry, field)).collect());
    table(out, &["AT", "TOKEN", "ADDRESS", "ACTION", "ACCOUNT ID", "DOCUMENT", "REQUEST ID"], rows)?;
    Ok(())
}
