//! The released program as a process of its own, with folders of its own, spoken to through its API.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

use crate::plan::{HostVersion, MODULE};

/// The hook event that the module fires.
const EVENT: &str = "bench";

/// How long a start, and a stop, may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long the process must have been idle to have finished what it does behind the last delivery.
const IDLE: Duration = Duration::from_millis(60);

/// Requests of the API that are under way at once while accounts are made.
const MAKING: usize = 32;

/// A running host.
pub(crate) struct Host {
    process: Child,
    folder: TempDir,
    url: String,
    token: String,
    http: reqwest::Client,
}

impl Host {
    /// Starts one of this version with the module for the load, and these settings (TOML) over the defaults.
    pub(crate) async fn start(version: &HostVersion, settings: &str) -> anyhow::Result<Self> {
        Self::start_with(version, &[version.library(MODULE)], settings).await
    }

    /// Starts one with these modules.
    pub(crate) async fn start_with(
        version: &HostVersion,
        modules: &[PathBuf],
        settings: &str,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let root = folder.path().display();
        std::fs::create_dir(folder.path().join("plugins"))?;
        for library in modules {
            let name = library.file_name().context("a file name")?;
            std::fs::copy(library, folder.path().join("plugins").join(name))?;
        }
        let config = folder.path().join("config.toml");
        let own =
            format!("data_dir = '{root}/data'\nplugins_dir = '{root}/plugins'\napi.listen = '127.0.0.1:0'\n");
        std::fs::write(&config, format!("{own}delivery.allow_targets = ['127.0.0.0/8']\n{settings}"))?;
        let mut process = Command::new(&version.program)
            .args(["run", "--config"])
            .arg(&config)
            .stdout(Stdio::piped())
            .stderr(File::create(folder.path().join("log"))?)
            .spawn()
            .with_context(|| format!("starting {}", version.program.display()))?;
        let mut line = String::new();
        let output = process.stdout.take().context("its output")?;
        BufReader::new(output).read_line(&mut line)?;
        let Some(url) = line.trim().strip_prefix("listening on ") else {
            process.kill().ok();
            process.wait().ok();
            bail!("the host did not start: {}", log(folder.path()));
        };
        let token = std::fs::read_to_string(folder.path().join("data/admin.token"))?;
        let (url, token) = (url.to_owned(), token.trim().to_owned());
        let host = Host { process, url, token, folder, http: reqwest::Client::new() };
        host.become_ready().await?;
        Ok(host)
    }

    async fn become_ready(&self) -> anyhow::Result<()> {
        let ask = async {
            while !self.http.get(self.address("/readyz")).send().await?.status().is_success() {
                sleep(Duration::from_millis(20)).await;
            }
            anyhow::Ok(())
        };
        timeout(PATIENCE, ask)
            .await
            .with_context(|| format!("the host is not ready: {}", log(self.folder.path())))?
    }

    /// The number of its process.
    pub(crate) fn process(&self) -> u32 {
        self.process.id()
    }

    /// A new file for whoever watches it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// An address of its API.
    pub(crate) fn address(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Address and port of its API.
    pub(crate) fn authority(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// The token that may do all.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// A figure of `/metrics`, if this program has it.
    pub(crate) async fn figure(&self, name: &str) -> anyhow::Result<Option<f64>> {
        let asked = self.http.get(self.address("/metrics")).header("x-auth-token", &self.token);
        let text = asked.send().await?.error_for_status()?.text().await?;
        // With whatever labels it has.
        let value = |line: &str| {
            let rest = line.strip_prefix(name).filter(|rest| rest.starts_with([' ', '{']))?;
            rest.rsplit(' ').next()?.parse::<f64>().ok()
        };
        let values: Vec<f64> = text.lines().filter_map(value).collect();
        Ok((!values.is_empty()).then(|| values.iter().sum()))
    }

    /// New accounts, each with one hook at its address, in the order of these.
    pub(crate) async fn accounts(&self, uris: Vec<String>, retries: u8) -> anyhow::Result<Vec<String>> {
        let each = |(n, uri)| self.account(format!("account {n}"), vec![uri], retries);
        stream::iter(uris.into_iter().enumerate()).map(each).buffered(MAKING).try_collect().await
    }

    /// A new account with hooks at these addresses.
    pub(crate) async fn account(
        &self,
        name: String,
        uris: Vec<String>,
        retries: u8,
    ) -> anyhow::Result<String> {
        let account = self.create("/v2/accounts", json!({"name": name})).await?;
        let path = format!("/v2/accounts/{account}/webhooks");
        let hooks = uris.into_iter().map(|uri| {
            let hook = json!({"name": name, "hook": EVENT, "uri": uri, "format": "json", "retries": retries});
            self.create(&path, hook)
        });
        stream::iter(hooks).buffer_unordered(MAKING).try_collect::<Vec<_>>().await?;
        Ok(account)
    }

    async fn create(&self, path: &str, data: Value) -> anyhow::Result<String> {
        let asked = self.http.put(self.address(path)).header("x-auth-token", &self.token);
        let answer = asked.json(&json!({"data": data})).send().await?;
        let status = answer.status();
        let answer: Value = answer.json().await?;
        let id = answer["data"]["id"].as_str();
        Ok(id.with_context(|| format!("{path} answered {status}: {answer}"))?.to_owned())
    }

    /// CPU time of the process so far, once it rests.
    pub(crate) async fn cpu(&self) -> anyhow::Result<Duration> {
        let mut last = self.cpu_now()?;
        let mut since = Instant::now();
        let asked_until = since + PATIENCE;
        while since.elapsed() < IDLE && Instant::now() < asked_until {
            sleep(Duration::from_millis(10)).await;
            let now = self.cpu_now()?;
            if now > last + Duration::from_millis(10) {
                (last, since) = (now, Instant::now());
            }
        }
        self.cpu_now()
    }

    /// User and system time, in the ticks of 10 ms in which Linux tells them.
    fn cpu_now(&self) -> anyhow::Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // The second field is the program's name and may hold anything.
        let fields = stat.rsplit_once(')').context("a process's figures")?.1;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        Ok(Duration::from_millis(10 * ticks.sum::<Result<u64, _>>()?))
    }

    /// Ends it as a service manager would.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let signal = Command::new("kill").arg("-TERM").arg(self.process.id().to_string()).status()?;
        ensure!(signal.success(), "the host cannot be told to stop");
        let asked_until = Instant::now() + PATIENCE;
        while Instant::now() < asked_until {
            if let Some(status) = self.process.try_wait()? {
                ensure!(status.success(), "the host ended with {status}: {}", log(self.folder.path()));
                return Ok(());
            }
            sleep(Duration::from_millis(20)).await;
        }
        bail!("the host does not stop")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It has ended already where all went well.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// The end of what a host has logged.
fn log(folder: &Path) -> String {
    let text = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
