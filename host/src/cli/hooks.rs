//! `hookline hooks`: what the host serves, in the columns of KAZOO's `hooks_configured`.

use std::io::Write;

use super::client::Client;
use super::listing::{cell, entries, table};
use super::{HooksAction, HooksArgs};

pub(super) async fn hooks(args: &HooksArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let (None | Some(HooksAction::List)) = args.action;
    let query: Vec<(&str, &str)> = args.account.iter().map(|id| ("account", id.as_str())).collect();
    let answer = Client::new(&args.client)?.get(&["hooks"], &query).await?;
    let hooks = entries(&answer, "data");
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(hooks)?)?;
        return Ok(());
    }
    if hooks.is_empty() {
        writeln!(out, "no webhooks configured")?;
        return Ok(());
    }
    let fields = ["uri", "http_verb", "hook", "retries", "account_id"];
    let rows = hooks.iter().map(|hook| fields.iter().map(|field| cell(hook, field)).collect());
    table(out, &["URI", "VERB", "EVENT", "RETRIES", "ACCOUNT ID"], rows)?;
    writeln!(out, "found {} webhooks", hooks.len())?;
    Ok(())
}
