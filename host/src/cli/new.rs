//! `hookline new`: where a new module is written, alone or as a member of this repository, and that nothing is
//! overwritten.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;

use crate::scaffold::{HookName, files, member_files, with_member};

/// `hookline new`
#[derive(Debug, Clone, Args)]
pub struct NewArgs {
    /// Name of the hook event that the module fires: doorbell, or webhooks_doorbell
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Folder to write it into, new or empty [default: webhooks_NAME]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Make it one of the bundled modules of Hookline's repository, which is in this folder
    #[arg(long, value_name = "REPOSITORY", conflicts_with = "dir")]
    pub member_of: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

pub(super) fn new(args: &NewArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let name = HookName::parse(&args.name)?;
    match &args.member_of {
        Some(repository) => new_member(&name, repository, args.json, out),
        None => {
            let folder = args.dir.clone().unwrap_or_else(|| PathBuf::from(name.id()));
            new_alone(&name, &folder, args.json, out)
        }
    }
}

fn new_alone(name: &HookName, folder: &Path, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    must_be_free(folder)?;
    let files = files(name)?;
    write_all(folder, &files)?;
    if json {
        return tell_json(name, folder, &files, out);
    }
    let folder = folder.display();
    writeln!(out, "wrote {} into {folder}; {folder}/README.md leads on to a fired webhook", name.id())?;
    writeln!(out, "to see what it does, and what your changes do: cd {folder} && hookline dev")?;
    Ok(())
}

fn new_member(name: &HookName, repository: &Path, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let folder = repository.join("plugins").join(name.id());
    if fs::symlink_metadata(&folder).is_ok() {
        bail!("{} is there already; choose another name, such as my_{name}", folder.display());
    }
    let manifest = repository.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).with_context(|| format!("reading {}", manifest.display()))?;
    let Some(with_member) = with_member(&text, name) else {
        bail!(
            "{} lists no bundled modules; --member-of takes the folder of Hookline's repository",
            manifest.display()
        );
    };
    let files = member_files(name);
    write_all(&folder, &files)?;
    fs::write(&manifest, with_member).with_context(|| format!("writing {}", manifest.display()))?;
    if json {
        return tell_json(name, &folder, &files, out);
    }
    let (folder, id) = (folder.display(), name.id());
    writeln!(
        out,
        "wrote {folder}; scripts/build and scripts/test have it from now on, alone: cargo test -p {id}"
    )?;
    Ok(())
}

fn write_all(folder: &Path, files: &[(String, String)]) -> anyhow::Result<()> {
    for (path, text) in files {
        let file = folder.join(path);
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent).with_context(|| format!("making the folder {}", parent.display()))?;
        }
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}

fn tell_json(
    name: &HookName,
    folder: &Path,
    files: &[(String, String)],
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let paths: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
    writeln!(out, "{:#}", json!({"id": name.id(), "folder": folder, "files": paths}))?;
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
