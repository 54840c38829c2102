//! `hookline new`: where a new module is written, and that nothing is overwritten.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;

use crate::scaffold::{HookName, files};

/// `hookline new`
#[derive(Debug, Clone, Args)]
pub struct NewArgs {
    /// Name of the hook event that the module fires: doorbell, or webhooks_doorbell
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Folder to write it into, new or empty [default: webhooks_NAME]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

pub(super) fn new(args: &NewArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let name = HookName::parse(&args.name)?;
    let folder = args.dir.clone().unwrap_or_else(|| PathBuf::from(name.id()));
    must_be_free(&folder)?;
    let mut written = Vec::new();
    for (path, text) in files(&name)? {
        let file = folder.join(&path);
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent).with_context(|| format!("making the folder {}", parent.display()))?;
        }
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
        written.push(path);
    }
    if args.json {
        writeln!(out, "{:#}", json!({"id": name.id(), "folder": folder, "files": written}))?;
        return Ok(());
    }
    let folder = folder.display();
    writeln!(out, "wrote {} into {folder}; {folder}/README.md leads on to a fired webhook", name.id())?;
    Ok(())
}

fn must_be_free(folder: &Path) -> anyhow::Result<()> {
    if fs::symlink_metadata(folder).is_err() {
        return Ok(());
    }
    let shown = folder.display();
    let Ok(mut entries) = fs::read_dir(folder) else {
        bail!("{shown} is not a folder that can be read; choose another with --dir");
    };
    if entries.next().is_some() {
        bail!("{shown} is not empty; empty it, or choose another folder with --dir");
    }
    Ok(())
}
