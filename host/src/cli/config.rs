//! `hookline config`: every setting in effect and where it came from.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use crate::config::{Config, LoadOptions, SettingOrigins};

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

pub(super) fn config(args: &ConfigArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    if let Some(file) = &args.check {
        Config::load(LoadOptions { file: Some(file.clone()), ..LoadOptions::default() })?;
        writeln!(out, "{}: every setting is right", file.display())?;
        return Ok(());
    }
    let (_, origins) = Config::load(LoadOptions::of_process(args.config.clone(), Vec::new()))?;
    match args.json {
        true => writeln!(out, "{:#}", as_json(&origins))?,
        false => as_toml(&origins, out)?,
    }
    Ok(())
}

/// Dotted names, so that each line can be understood, and found, alone.
fn as_toml(origins: &SettingOrigins, out: &mut dyn Write) -> std::io::Result<()> {
    origins
        .iter()
        .try_for_each(|(key, setting)| writeln!(out, "{key} = {}  # from {}", setting.value, setting.origin))
}

fn as_json(origins: &SettingOrigins) -> Value {
    let setting = |(key, setting): (&str, &crate::config::SettingValue)| {
        (key.to_owned(), json!({ "value": setting.json(), "from": setting.origin }))
    };
    Value::Object(origins.iter().map(setting).collect::<Map<_, _>>())
}
