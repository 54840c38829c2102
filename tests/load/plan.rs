//! What is measured, of which programs, and how often: the environment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ::tests::cdylib;
use anyhow::{Context as _, ensure};

/// The module that all load goes through.
pub(crate) const MODULE: &str = "webhooks_bench";

/// The parts, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoadPart {
    Clients,
    Latency,
    Hostile,
    Cost,
    Shards,
    Memory,
    Size,
    Scale,
}

impl LoadPart {
    /// All of them.
    pub(crate) const ALL: [LoadPart; 8] = [
        LoadPart::Clients,
        LoadPart::Latency,
        LoadPart::Hostile,
        LoadPart::Cost,
        LoadPart::Shards,
        LoadPart::Memory,
        LoadPart::Size,
        LoadPart::Scale,
    ];

    /// As `LOAD_ONLY` has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            LoadPart::Clients => "clients",
            LoadPart::Latency => "latency",
            LoadPart::Hostile => "hostile",
            LoadPart::Cost => "cost",
            LoadPart::Shards => "shards",
            LoadPart::Memory => "memory",
            LoadPart::Size => "size",
            LoadPart::Scale => "scale",
        }
    }

    /// Those of a list with commas; of an empty one all that do not take very long.
    fn of_list(list: &str) -> anyhow::Result<Vec<Self>> {
        let wanted: Vec<&str> = list.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        let names = Self::ALL.map(Self::name);
        for name in &wanted {
            ensure!(names.contains(name), "LOAD_ONLY: {name} is no part: {} are", names.join(", "));
        }
        // A million hooks take minutes.
        let is_usual = |part: &Self| wanted.is_empty() && *part != LoadPart::Scale;
        let is_wanted = |part: &Self| is_usual(part) || wanted.contains(&part.name());
        Ok(Self::ALL.into_iter().filter(is_wanted).collect())
    }
}

/// A released program with its modules.
#[derive(Clone, Debug)]
pub(crate) struct HostVersion {
    pub(crate) program: PathBuf,
    /// The folder with compiled modules, the one for the load among them.
    pub(crate) plugins: PathBuf,
}

impl HostVersion {
    fn new(program: impl Into<PathBuf>, plugins: impl Into<PathBuf>) -> anyhow::Result<Self> {
        let version = HostVersion { program: program.into(), plugins: plugins.into() };
        let (program, library) = (&version.program, version.library(MODULE));
        ensure!(program.is_file(), "{} is missing: run scripts/build", program.display());
        ensure!(
            library.is_file(),
            "{} is missing: run `cargo build --release -p {MODULE}`",
            library.display()
        );
        Ok(version)
    }

    /// A module's file.
    pub(crate) fn library(&self, id: &str) -> PathBuf {
        self.plugins.join(format!("lib{id}.{}", std::env::consts::DLL_EXTENSION))
    }

    /// The files of the modules that come with the program, as far as they are there.
    pub(crate) fn bundled(&self) -> anyhow::Result<Vec<PathBuf>> {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins");
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&sources).with_context(|| format!("reading {}", sources.display()))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with("webhooks_") {
                found.push(self.library(&name));
            }
        }
        found.retain(|file| file.is_file());
        found.sort();
        Ok(found)
    }
}

/// What is measured.
pub(crate) struct LoadPlan {
    /// Runs of everything; their medians are shown.
    pub(crate) runs: usize,
    /// Events in what is measured by their number.
    pub(crate) events: usize,
    /// How long is measured what is measured by time.
    pub(crate) time: Duration,
    pub(crate) parts: Vec<LoadPart>,
    /// The measured version; before it the one that it is compared with.
    pub(crate) versions: Vec<HostVersion>,
    /// Settings that say how many shards there are.
    pub(crate) shards: Vec<String>,
}

impl LoadPlan {
    /// As the environment says.
    pub(crate) fn of_environment() -> anyhow::Result<Self> {
        let text = |name: &str| std::env::var(name).unwrap_or_default();
        let number = |name: &str, default: usize| match std::env::var(name) {
            Ok(text) => text.parse().with_context(|| format!("{name} should be a number and is {text:?}")),
            Err(_) => Ok(default),
        };
        let mut versions = Vec::new();
        let compared = text("LOAD_COMPARE");
        if !compared.is_empty() {
            let both = compared.split_once(':').context("LOAD_COMPARE should be PROGRAM:FOLDER")?;
            versions.push(HostVersion::new(both.0, both.1)?);
        }
        let given = |name: &str| Some(PathBuf::from(text(name))).filter(|path| !path.as_os_str().is_empty());
        let plugins = match given("LOAD_PLUGINS") {
            Some(folder) => folder,
            None => cdylib(MODULE).parent().context("a folder")?.to_path_buf(),
        };
        let program = given("LOAD_PROGRAM").unwrap_or_else(|| plugins.join("hookline"));
        versions.push(HostVersion::new(program, plugins)?);
        let shards = match text("LOAD_SHARDS_SETTING") {
            none if none.is_empty() => "bus.shards,delivery.shards".to_owned(),
            named => named,
        };
        Ok(LoadPlan {
            runs: number("LOAD_RUNS", 3)?.max(1),
            events: number("LOAD_EVENTS", 20_000)?.max(200),
            time: Duration::from_secs(number("LOAD_SECONDS", 2)?.max(1) as u64),
            parts: LoadPart::of_list(&text("LOAD_ONLY"))?,
            versions,
            shards: shards.split(',').map(|name| name.trim().to_owned()).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_run_in_their_own_order_and_all_without_a_list() {
        assert_eq!(LoadPart::of_list("cost, clients").unwrap(), [LoadPart::Clients, LoadPart::Cost]);
        assert_eq!(LoadPart::of_list("").unwrap(), LoadPart::ALL[..7]);
        let refused = LoadPart::of_list("cots").unwrap_err().to_string();
        assert!(refused.starts_with("LOAD_ONLY: cots is no part: clients, "), "{refused}");
    }
}
