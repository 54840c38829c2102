//! `hookline check`: what module files are, without running the host.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use super::listing::harmless;
use crate::config::{Config, Isolation, Modules};
use crate::harmless::harmless_path;
use crate::hooks::accounts::Accounts;
use crate::module::generation::Generation;
use crate::module::inspect::InspectedFile;
use crate::module::loading::ModuleLoading;
use crate::module::services::LendableServices;
use crate::module::settings::settings_for_modules;

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

/// Prints what each file is; a failing exit code when one of them would be refused.
///
/// # Errors
/// Output that cannot be written.
pub async fn check(args: &CheckArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let config = Config::defaults()?;
    let copies = tempfile::tempdir().context("making a folder for copies of the modules")?;
    let lendable = LendableServices {
        settings: Arc::new(settings_for_modules(&config)),
        accounts: Arc::new(Accounts::new()),
    };
    let loading = ModuleLoading::new(copies.path().to_owned(), lendable, &alone(&config.modules));
    let mut code = ExitCode::SUCCESS;
    for (number, file) in (1..).zip(&args.files) {
        match loading.load(file, number).await {
            Ok((generation, inspected)) => {
                let description = describe(file, &generation, &inspected);
                if args.json {
                    writeln!(out, "{description}")?;
                } else {
                    print(&description, out)?;
                }
            }
            Err(refusal) => {
                writeln!(std::io::stderr(), "{} {}", harmless_path(file), harmless(&refusal.to_string()))?;
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

/// The settings for modules that nobody serves with: any file, in this process once it survived being tried.
pub(super) fn alone(modules: &Modules) -> Modules {
    Modules { allow_sha256: Vec::new(), isolation: Isolation::None, ..modules.clone() }
}

fn describe(file: &Path, generation: &Generation, inspected: &InspectedFile) -> Value {
    let manifest = &inspected.manifest;
    json!({
        "file": harmless_path(file),
        "id": manifest.id,
        "version": manifest.version,
        "abi": format!("{}.{}", manifest.api.0, manifest.api.1),
        "rustc": manifest.rustc,
        "sha256": inspected.sha256,
        "metadata": generation.metadata,
        "bindings": generation.wants.bindings,
        "responders": generation.wants.responders,
    })
}

fn print(description: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    let text = |value: &Value| harmless(value.as_str().unwrap_or_default());
    let line = |key: &str| text(&description[key]);
    writeln!(out, "{} {} (ABI {}, {})", line("id"), line("version"), line("abi"), line("rustc"))?;
    writeln!(out, "  file        {}", line("file"))?;
    writeln!(out, "  sha256      {}", line("sha256"))?;
    let metadata = &description["metadata"];
    writeln!(out, "  metadata    {}: {}", text(&metadata["name"]), text(&metadata["description"]))?;
    if let Some(modifiers) = metadata["modifiers"].as_object() {
        let names: Vec<&str> = modifiers.keys().map(String::as_str).collect();
        writeln!(out, "  modifiers   {}", harmless(&names.join(", ")))?;
    }
    for binding in description["bindings"].as_array().into_iter().flatten() {
        writeln!(out, "  binding     {} {}", text(&binding["exchange"]), text(&binding["routing_key"]))?;
    }
    for responder in description["responders"].as_array().into_iter().flatten() {
        writeln!(out, "  responder   {} {}", text(&responder["category"]), text(&responder["name"]))?;
    }
    Ok(())
}
