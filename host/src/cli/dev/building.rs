//! How a module is built: Cargo in its folder, which prints what it always does, and tells where the library is.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

/// What a build came to.
pub(super) enum BuildEnd {
    /// The library.
    Built(PathBuf),
    /// Cargo has said why not.
    Failed,
}

/// Builds the module in this folder; broken off when this is dropped.
///
/// # Errors
/// Cargo cannot be run, or builds no module.
pub(super) async fn build(folder: &Path) -> anyhow::Result<BuildEnd> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(&cargo);
    command.args(["build", "--message-format=json-render-diagnostics"]).current_dir(folder);
    // What it starts is ended with it.
    command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0).kill_on_drop(true);
    let naming = || format!("running {}; is Rust installed?", cargo.to_string_lossy());
    let mut child = command.spawn().with_context(naming)?;
    let mut group = BuildGroup(child.id());
    let manifest = folder.join("Cargo.toml");
    let mut library = None;
    if let Some(out) = child.stdout.take() {
        let mut lines = BufReader::new(out).lines();
        while let Some(line) = lines.next_line().await.context("reading what cargo says")? {
            library = library_in(&line, &manifest).or(library);
        }
    }
    let status = child.wait().await.context("waiting for cargo")?;
    group.0 = None;
    match library {
        _ if !status.success() => Ok(BuildEnd::Failed),
        Some(library) => Ok(BuildEnd::Built(library)),
        None => bail!(
            "{} makes no library that a host can load; a module has [lib] crate-type = [\"cdylib\", \"rlib\"]",
            manifest.display()
        ),
    }
}

/// The dynamic library that one of Cargo's messages tells of, where it is that of this manifest.
fn library_in(message: &str, manifest: &Path) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let kinds = message.get("target")?.get("kind")?.as_array()?;
    let is_ours = message.get("reason")?.as_str()? == "compiler-artifact"
        && Path::new(message.get("manifest_path")?.as_str()?) == manifest
        && kinds.iter().any(|kind| kind == "cdylib");
    let files = message.get("filenames")?.as_array()?.iter().filter_map(Value::as_str);
    let mut libraries = files.filter(|file| file.ends_with(std::env::consts::DLL_SUFFIX));
    libraries.next().filter(|_| is_ours).map(PathBuf::from)
}

/// The processes of a build that goes on.
struct BuildGroup(Option<u32>);

impl Drop for BuildGroup {
    fn drop(&mut self) {
        if let Some(pid) = self.0.and_then(|pid| i32::try_from(pid).ok()) {
            // It may just have ended.
            _ = killpg(Pid::from_raw(pid), Signal::SIGTERM);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_library_of_the_module_is_found_among_what_cargo_made() {
        let file = format!("/m/target/debug/libwebhooks_x{}", std::env::consts::DLL_SUFFIX);
        let message = |reason: &str, manifest: &str, kind: &str, files: &[&str]| {
            json!({"reason": reason, "manifest_path": manifest, "target": {"kind": [kind, "rlib"]},
                   "filenames": files})
            .to_string()
        };
        let rlib = "/m/target/debug/libwebhooks_x.rlib";
        let both = [rlib, file.as_str()];
        for (message, found) in [
            (message("compiler-artifact", "/m/Cargo.toml", "cdylib", &both), true),
            (message("compiler-artifact", "/m/plugin-api/Cargo.toml", "cdylib", &both), false),
            (message("compiler-artifact", "/m/Cargo.toml", "bin", &both), false),
            (message("compiler-artifact", "/m/Cargo.toml", "cdylib", &[rlib]), false),
            (message("build-script-executed", "/m/Cargo.toml", "cdylib", &both), false),
            (json!({"reason": "build-finished", "success": true}).to_string(), false),
            ("no JSON".to_owned(), false),
        ] {
            let library = library_in(&message, Path::new("/m/Cargo.toml"));
            assert_eq!(library, found.then(|| PathBuf::from(&file)), "{message}");
        }
    }
}
