//! `hookline dev`: an author's loop. A change of the module is built, taken into service by a private host, and tried with
//! the events of the module's tests; what it does otherwise than before is shown.

mod bounded;
mod building;
mod diff;
mod hiding;
mod module_lines;
mod planned;
mod private_host;
mod receiver;
mod report;
mod samples;
mod stopping;
mod telling;
mod watching;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use tokio::time::Instant;

use self::building::{BuildEnd, build};
use self::diff::unified;
use self::module_lines::ModuleLines;
use self::private_host::PrivateHost;
use self::report::EventReport;
use self::samples::SampleSet;
use self::stopping::StopWish;
use self::telling::{DevTeller, RunSum};
use self::watching::{FolderMarks, FolderWatch};
use super::run::given;
use crate::config::{Config, ConfigErrors, LoadOptions};
use crate::harmless::harmless_path;

/// `hookline dev`
#[derive(Debug, Clone, Args)]
pub struct DevArgs {
    /// The module's folder
    #[arg(value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
    /// Build and run once, and end; the exit code says whether everything went well
    #[arg(long)]
    pub once: bool,
    /// Settings (TOML) over the defaults: delivery.profile, modules.call_timeout_ms and [kazoo] count; the environment
    /// does not
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Whose rules the requests follow [setting: delivery.profile]
    #[arg(long, value_name = "PROFILE", value_parser = ["standard", "kazoo"])]
    pub profile: Option<String>,
    /// Print JSON, one object for each step
    #[arg(long)]
    pub json: bool,
}

impl DevArgs {
    fn load_config(&self) -> Result<Config, ConfigErrors> {
        let flags = given([("delivery.profile", self.profile.clone(), "--profile")]);
        let options = LoadOptions { file: self.config.clone(), flags, ..LoadOptions::default() };
        Config::load(options).map(|(config, _)| config)
    }
}

/// Builds, runs and waits for changes until a signal; once with `--once`.
///
/// # Errors
/// There is no module in the folder, Cargo cannot be run, or the private host cannot.
pub(super) async fn dev(args: &DevArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let folder = module_folder(&args.dir)?;
    let settings = args.load_config()?;
    let stop = StopWish::listen()?;
    let lines = ModuleLines::listen()?;
    let host = PrivateHost::start(&settings).await?;
    let teller = DevTeller::new(out, args.json);
    let mut author = AuthorLoop { folder, host, lines, teller, last: None };
    let went = author.go(args.once, &stop).await;
    // Whatever happened, nothing is left behind.
    let ended = author.host.end().await;
    let is_fine = went?;
    ended?;
    Ok(if is_fine || !args.once { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The folder, whole: Cargo speaks of files by their whole names.
fn module_folder(dir: &Path) -> anyhow::Result<PathBuf> {
    let shown = harmless_path(dir);
    let folder = dir.canonicalize().with_context(|| format!("looking at the folder {shown}"))?;
    if !folder.join("Cargo.toml").is_file() {
        bail!(
            "there is no Cargo.toml in {shown}; `hookline new NAME` writes a module into a folder of its own"
        );
    }
    Ok(folder)
}

struct AuthorLoop<'o> {
    folder: PathBuf,
    host: PrivateHost,
    lines: ModuleLines,
    teller: DevTeller<'o>,
    /// What each event came to in the last run, by its name.
    last: Option<BTreeMap<String, Vec<String>>>,
}

impl AuthorLoop<'_> {
    /// Says whether everything went well in the last round.
    async fn go(&mut self, once: bool, stop: &StopWish) -> anyhow::Result<bool> {
        self.teller.began(&self.folder, &self.host.url(), &self.host.data())?;
        let mut watch = FolderWatch::new(self.folder.clone());
        loop {
            let mut before = FolderMarks::of(&self.folder).await?;
            let is_fine = tokio::select! {
                () = stop.wished.cancelled() => return Ok(false),
                round = self.round() => round?,
            };
            if once {
                return Ok(is_fine);
            }
            before.settle_lock(&FolderMarks::of(&self.folder).await?);
            let changed = tokio::select! {
                () = stop.wished.cancelled() => return Ok(is_fine),
                changed = watch.change(&before) => changed?,
            };
            self.teller.changed(&changed)?;
        }
    }

    /// One build, and a run where it is good. Says whether everything went well.
    async fn round(&mut self) -> anyhow::Result<bool> {
        let serves = self.last.is_some();
        let began = Instant::now();
        let built = build(&self.folder).await?;
        let BuildEnd::Built(library) = built else {
            self.teller.built(false, began.elapsed(), serves)?;
            return Ok(false);
        };
        self.teller.built(true, began.elapsed(), serves)?;
        let began = Instant::now();
        let served = self.host.serve(&library).await?;
        self.teller.said(&self.lines.take())?;
        match served {
            Ok(served) => self.teller.loaded(served.id.as_str(), served.generation, began.elapsed())?,
            Err(reason) => {
                self.teller.refused(&reason, began.elapsed(), serves)?;
                return Ok(false);
            }
        }
        self.run().await
    }

    /// Runs the samples. Says whether the module handled all of them.
    async fn run(&mut self) -> anyhow::Result<bool> {
        let began = Instant::now();
        let folder = self.folder.clone();
        let samples = tokio::task::spawn_blocking(move || SampleSet::read(&folder)).await?;
        self.host.know(&samples)?;
        self.teller.running();
        for problem in &samples.problems {
            self.teller.problem(problem)?;
        }
        if samples.events.is_empty() {
            self.teller.problem("there is no event in tests/events: write one as JSON into a file there")?;
        }
        let before = self.last.take();
        let mut sum =
            RunSum { events: samples.events.len(), is_first: before.is_none(), ..RunSum::default() };
        let mut now = BTreeMap::new();
        for sample in &samples.events {
            let run = self.host.run(sample).await;
            let report = tokio::task::spawn_blocking(move || EventReport::of(run)).await?;
            sum.failed += usize::from(report.failure.is_some());
            sum.firings += report.firings;
            sum.requests += report.requests;
            let lines = report.lines();
            sum.changed += usize::from(self.tell(&sample.name, &report, &lines, before.as_ref())?);
            self.teller.said(&self.lines.take())?;
            now.insert(sample.name.clone(), lines);
        }
        let gone = before.iter().flatten().filter(|(name, _)| !now.contains_key(*name));
        for (name, lines) in gone {
            self.teller.difference(name, &unified(lines, &[]))?;
            sum.changed += 1;
        }
        self.teller.ran(sum, began.elapsed())?;
        self.last = Some(now);
        Ok(sum.failed == 0 && samples.problems.is_empty())
    }

    /// Says whether the event came to something else than before.
    fn tell(
        &mut self,
        name: &str,
        report: &EventReport,
        lines: &[String],
        before: Option<&BTreeMap<String, Vec<String>>>,
    ) -> anyhow::Result<bool> {
        let Some(before) = before else {
            self.teller.event(name, lines)?;
            self.teller.event_object(name, report.json(), &[])?;
            return Ok(false);
        };
        let diff = unified(before.get(name).map_or(&[][..], Vec::as_slice), lines);
        self.teller.difference(name, &diff)?;
        self.teller.event_object(name, report.json(), &diff)?;
        Ok(!diff.is_empty())
    }
}
