//! `hookline backup` and `hookline restore`: what a file must be before it is called a backup, and what is said about one.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value, json};

use super::client::HostClient;
use super::{ClientArgs, progress};
use crate::app::{BackupContents, contents, restore as put_back};
use crate::harmless::harmless_path;
use crate::hooks::vault;
use crate::private_file::PrivateFile;

/// `hookline backup`
#[derive(Debug, Clone, Args)]
pub struct BackupArgs {
    /// The file to write; one that is there is left alone
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How to reach the host.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `hookline restore`
#[derive(Debug, Clone, Args)]
pub struct RestoreArgs {
    /// What `hookline backup` wrote
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The data folder, made when it is missing
    #[arg(long, value_name = "DIR", env = "HOOKLINE_DATA_DIR", default_value = "data")]
    pub data: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The file appears whole and looked at, or not at all; one that is there is left alone.
pub(super) async fn backup(args: &BackupArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let (file, client) = (&args.file, HostClient::new(&args.client)?);
    if std::fs::symlink_metadata(file).is_ok() {
        bail!("{} is there already; give the backup a name of its own", file.display());
    }
    let writing = || format!("writing {}", file.display());
    let mut part = PrivateFile::begin(file).with_context(writing)?;
    let mut arriving = client.file(&["backup"]).await?;
    let bar = progress::bytes(arriving.content_length());
    while let Some(bytes) =
        arriving.chunk().await.context("the host broke the backup off; its log says why")?
    {
        part.write_all(&bytes).with_context(writing)?;
        bar.inc(bytes.len() as u64);
    }
    bar.finish_and_clear();
    let held = contents(part.part()).context("what the host sent is no backup")?;
    let written = part.keep().with_context(writing)?;
    if args.json {
        let bytes = written.metadata().with_context(writing)?.len();
        writeln!(
            out,
            "{:#}",
            json!({"file": harmless_path(file), "bytes": bytes, "contents": counted(&held)})
        )?;
    } else {
        writeln!(out, "{}: {}", file.display(), told(&held))?;
    }
    Ok(())
}

pub(super) fn restore(args: &RestoreArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let restored = put_back(&args.file, &args.data)?;
    let secrets = restored.contents.secrets;
    let lacks_key = secrets > 0 && !args.data.join(vault::FILE).exists();
    if args.json {
        let done = json!({
            "data": harmless_path(&args.data),
            "contents": counted(&restored.contents),
            "checked": restored.checked,
            "put_aside": restored.aside.as_deref().map(harmless_path),
            "needs_secrets_key": lacks_key,
        });
        writeln!(out, "{done:#}")?;
        return Ok(());
    }
    let folder = args.data.display();
    writeln!(out, "{folder}: {}", told(&restored.contents))?;
    if !restored.checked {
        writeln!(
            out,
            "warning: {} has no checksum, as an older program made it or it is the copy of a database; that each byte is \
             as it was written is not known",
            harmless_path(&args.file)
        )?;
    }
    if let Some(aside) = restored.aside {
        writeln!(out, "the database that was there is {} now", aside.display())?;
    }
    if lacks_key {
        let key = vault::FILE;
        writeln!(
            out,
            "{secrets} of the hooks have secrets, and {key} is not part of a backup: put that of the host that was \
             backed up into {folder} before the start"
        )?;
    }
    Ok(())
}

fn counted(held: &BackupContents) -> Value {
    let BackupContents { accounts, hooks, secrets, owed, dead, schema } = held;
    json!({
        "accounts": accounts, "hooks": hooks, "hooks_with_secrets": secrets, "owed": owed, "dead": dead,
        "schema_version": schema,
    })
}

fn told(held: &BackupContents) -> String {
    let BackupContents { accounts, hooks, owed, dead, schema, .. } = held;
    format!(
        "{accounts} accounts, {hooks} hooks, {owed} deliveries owed, {dead} dead (schema version {schema})"
    )
}
