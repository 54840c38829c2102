//! `hookline token`: makes, lists and revokes access tokens.

use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::ClientArgs;
use super::client::HostClient;
use super::listing::{all_pages, cell, table};

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

pub(super) async fn token(args: &TokenArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let client = HostClient::new(&args.client)?;
    match &args.action {
        TokenAction::Create { account, admin, name } => {
            let data = json!({"data": {"admin": admin, "name": name}}).to_string();
            let answer = client.put(&["v2", "accounts", account, "tokens"], data).await?;
            let made = answer.get("data").unwrap_or(&answer);
            match args.json {
                true => writeln!(out, "{made:#}")?,
                // Alone on its line, so that a script can take it; it is shown this once.
                false => writeln!(out, "{}", cell(made, "token"))?,
            }
        }
        TokenAction::List { account } => {
            let path = match account {
                Some(account) => vec!["v2", "accounts", account, "tokens"],
                None => vec!["tokens"],
            };
            list(&all_pages(&client, &path, &[], usize::MAX).await?, args.json, out)?;
        }
        TokenAction::Revoke { id, account } => {
            let path = match account {
                Some(account) => vec!["v2", "accounts", account, "tokens", id],
                None => vec!["tokens", id],
            };
            let answer = client.delete(&path, &[]).await?;
            match args.json {
                true => writeln!(out, "{:#}", answer.get("data").unwrap_or(&answer))?,
                false => writeln!(out, "revoked {id}")?,
            }
        }
    }
    Ok(())
}

fn list(tokens: &[Value], json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(tokens)?)?;
        return Ok(());
    }
    if tokens.is_empty() {
        writeln!(out, "no tokens but the one in admin.token")?;
        return Ok(());
    }
    let fields = ["id", "account_id", "admin", "name", "created", "created_by", "last_used"];
    let rows = tokens.iter().map(|token| fields.iter().map(|field| cell(token, field)).collect());
    table(out, &["ID", "ACCOUNT ID", "ADMIN", "NAME", "CREATED", "BY", "LAST USED"], rows)?;
    Ok(())
}
