//! Bytes of the program and of each module that comes with it.

use anyhow::Context as _;

use crate::figures::{FigureRow, MedianFigures, RunSamples};
use crate::plan::HostVersion;

/// The only run there need be.
pub(crate) fn once(version: &HostVersion) -> anyhow::Result<RunSamples> {
    let megabytes = |file: &std::path::Path| -> anyhow::Result<f64> {
        let found = std::fs::metadata(file).with_context(|| format!("reading {}", file.display()))?;
        Ok(found.len() as f64 / 1e6)
    };
    let mut found = RunSamples::default();
    found.add("program", megabytes(&version.program)?);
    for file in version.bundled()? {
        let name = file.file_stem().context("a file name")?.to_string_lossy().into_owned();
        found.add(format!("module {}", name.trim_start_matches("lib")), megabytes(&file)?);
    }
    Ok(found)
}

/// Beside what they should be.
pub(crate) fn rows(found: &MedianFigures) -> Vec<FigureRow> {
    let mut rows = vec![FigureRow::new("the program: MB", found.get("program"), 1).at_most(25.0)];
    let modules = found.beginning_with("module ");
    rows.extend(
        modules.map(|(name, size)| FigureRow::new(format!("{name}: MB"), Some(size), 2).at_most(1.0)),
    );
    rows
}
