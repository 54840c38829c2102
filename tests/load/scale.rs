//! What a million hooks and ten million deliveries that wait cost: how long a start takes, memory, the cost of an event,
//! and how long a page and the figures take. Each beside what it should be.
//!
//! SCALE_HOOKS hooks (1000000), SCALE_DELIVERIES deliveries (10000000).

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::events::Events;
use crate::figures::{FigureRow, MedianFigures, RunSamples};
use crate::plan::{HostVersion, MODULE};
use crate::scale_data::{account_id, fill_deliveries, fill_hooks};

/// How long a start may take, and all deliveries of a run.
const PATIENCE: Duration = Duration::from_secs(600);

/// Hooks of the small host that the large one is compared with; events go to so many accounts.
const FEW: u64 = 1_000;

/// How the hooks are spread: an account for each, or a thousand accounts.
const ALONE: &str = "an account each";
const TOGETHER: &str = "in 1,000 accounts";

/// Events of which the cost is taken.
const EVENTS: u64 = 20_000;

/// Events in one post.
const BATCH: usize = 200;

/// One run.
pub(crate) async fn once(version: &HostVersion) -> anyhow::Result<RunSamples> {
    let (hooks, deliveries) = sizes()?;
    let mut found = RunSamples::default();
    let stand = ScaleStand::new(version).await?;
    let none = stand.measure(0, 0, 0).await?;
    let few = stand.measure(FEW, 1, 0).await?;
    for (shape, accounts, each) in [(ALONE, hooks, 1), (TOGETHER, FEW, hooks / FEW)] {
        let many = stand.measure(accounts, each, 0).await?;
        found.add(format!("{shape}, start"), many.start_s);
        found.add(format!("{shape}, bytes"), (many.resident - none.resident) / hooks as f64);
        found.add(format!("{shape}, event"), many.event_us / few.event_us);
    }
    let waiting = stand.measure(FEW, 1, deliveries).await?;
    found.add("waiting, start", waiting.start_s - few.start_s);
    found.add("waiting, pending page", waiting.pending_page_ms);
    found.add("waiting, dead page", waiting.dead_page_ms);
    found.add("waiting, metrics", waiting.metrics_ms);
    found.add("waiting, memory", (waiting.resident - few.resident) / 1e6);
    found.add("waiting, event", waiting.event_us / few.event_us);
    Ok(found)
}

/// Beside what they should be.
pub(crate) fn rows(found: &MedianFigures) -> Vec<FigureRow> {
    let (hooks, deliveries) = sizes().unwrap_or_default();
    let mut rows = Vec::new();
    for shape in [ALONE, TOGETHER] {
        let row = |what: &str, name: &str, decimals| {
            let (what, name) = (format!("{hooks} hooks, {shape}: {what}"), format!("{shape}, {name}"));
            FigureRow::new(what, found.get(&name), decimals)
        };
        rows.push(row("start, s", "start", 1).at_most(10.0));
        rows.push(row("bytes a hook", "bytes", 0).at_most(700.0));
        rows.push(row("CPU of an event against that with 1,000 hooks", "event", 2).at_most(1.2));
    }
    let row = |what: &str, name: &str, decimals| {
        FigureRow::new(
            format!("{deliveries} waiting: {what}"),
            found.get(&format!("waiting, {name}")),
            decimals,
        )
    };
    rows.push(row("start beyond the hooks, s", "start", 1).at_most(5.0));
    rows.push(row("a page of those that wait, ms", "pending page", 1).at_most(20.0));
    rows.push(row("a page of those that are dead, ms", "dead page", 1).at_most(20.0));
    rows.push(row("/metrics, ms", "metrics", 1));
    rows.push(row("memory beyond the hooks, MB", "memory", 1));
    rows.push(row("CPU of an event against that with none", "event", 2).at_most(1.2));
    rows
}

/// How many hooks and how many deliveries.
fn sizes() -> anyhow::Result<(u64, u64)> {
    Ok((number("SCALE_HOOKS", 1_000_000)?, number("SCALE_DELIVERIES", 10_000_000)?))
}

fn number(name: &str, default: u64) -> anyhow::Result<u64> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name} should be a number and is {text:?}")),
        Err(_) => Ok(default),
    }
}

struct ScaleStand {
    program: PathBuf,
    /// A folder with the module that all load goes through.
    plugins: TempDir,
    endpoint: CountingEndpoint,
}

/// What one host has cost.
struct ScaleFigures {
    start_s: f64,
    /// Bytes in memory, when it has started and rests.
    resident: f64,
    event_us: f64,
    pending_page_ms: f64,
    dead_page_ms: f64,
    metrics_ms: f64,
}

impl ScaleStand {
    async fn new(version: &HostVersion) -> anyhow::Result<Self> {
        let (library, plugins) = (version.library(MODULE), tempfile::tempdir()?);
        std::fs::copy(&library, plugins.path().join(library.file_name().context("a file name")?))?;
        Ok(ScaleStand {
            program: version.program.clone(),
            plugins,
            endpoint: CountingEndpoint::start().await?,
        })
    }

    /// Of a host with so many accounts and hooks, and so many deliveries that wait.
    async fn measure(&self, accounts: u64, hooks_each: u64, deliveries: u64) -> anyhow::Result<ScaleFigures> {
        let folder = tempfile::tempdir()?;
        // It makes the database.
        LargeHost::start(self, &folder).await?.stop().await?;
        let data = folder.path().join("data");
        if accounts > 0 {
            fill_hooks(&data, accounts, hooks_each, &self.endpoint.url)?;
        }
        if deliveries > 0 {
            fill_deliveries(&data, deliveries)?;
        }
        let host = LargeHost::start(self, &folder).await?;
        sleep(Duration::from_secs(5)).await;
        let resident = host.resident()?;
        let mut figures = ScaleFigures {
            start_s: host.started.as_secs_f64(),
            resident,
            event_us: 0.0,
            pending_page_ms: host.takes_ms("/deliveries?status=pending").await?,
            dead_page_ms: host.takes_ms("/deliveries?status=dead").await?,
            metrics_ms: host.takes_ms("/metrics").await?,
        };
        if accounts > 0 {
            let step = (accounts / FEW).max(1);
            let accounts: Vec<String> =
                (0..accounts.min(FEW)).map(|place| account_id(place * step)).collect();
            let fan_out = if hooks_each > 1 { 0 } else { 1 };
            figures.event_us = self.event_us(&host, &accounts, fan_out).await?;
        }
        host.stop().await?;
        Ok(figures)
    }

    /// CPU of an event with its delivery. Where an account has a thousand hooks the events are none of theirs, so that
    /// what is measured is how they are looked for.
    async fn event_us(&self, host: &LargeHost, accounts: &[String], fan_out: u64) -> anyhow::Result<f64> {
        let mut events = Events::default();
        let strangers = ["0".repeat(32)];
        let accounts = if fan_out == 0 { &strangers[..] } else { accounts };
        self.post(host, &mut events, accounts, EVENTS / 10, fan_out).await?;
        let before = host.cpu()?;
        self.post(host, &mut events, accounts, EVENTS, fan_out).await?;
        Ok((host.cpu()? - before).as_secs_f64() * 1e6 / EVENTS as f64)
    }

    async fn post(
        &self,
        host: &LargeHost,
        events: &mut Events,
        accounts: &[String],
        count: u64,
        fan_out: u64,
    ) -> anyhow::Result<()> {
        let wanted = self.endpoint.count() + count * fan_out;
        for batch in events.of(accounts, usize::try_from(count)?).chunks(BATCH) {
            host.post(batch.join("\n")).await?;
        }
        let until = Instant::now() + PATIENCE;
        while self.endpoint.count() < wanted {
            ensure!(Instant::now() < until, "deliveries are missing");
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

/// A host on a folder that is filled while it does not run.
struct LargeHost {
    process: Child,
    url: String,
    token: String,
    http: reqwest::Client,
    started: Duration,
}

impl LargeHost {
    async fn start(stand: &ScaleStand, folder: &TempDir) -> anyhow::Result<Self> {
        let (root, plugins) = (folder.path().display(), stand.plugins.path().display());
        let config = folder.path().join("config.toml");
        std::fs::write(
            &config,
            format!(
                "data_dir = '{root}/data'\nplugins_dir = '{plugins}'\napi.listen = '127.0.0.1:0'\n\
                 delivery.allow_targets = ['127.0.0.0/8']\nlimits.hooks = 1000000\n"
            ),
        )?;
        let begun = Instant::now();
        let mut process = Command::new(&stand.program)
            .args(["run", "--config"])
            .arg(&config)
            .stdout(Stdio::piped())
            .stderr(File::create(folder.path().join("log"))?)
            .spawn()
            .with_context(|| format!("starting {}", stand.program.display()))?;
        let mut line = String::new();
        let output = process.stdout.take().context("its output")?;
        BufReader::new(output).read_line(&mut line)?;
        let Some(url) = line.trim().strip_prefix("listening on ").map(str::to_owned) else {
            bail!("the host did not start: {}", std::fs::read_to_string(folder.path().join("log"))?);
        };
        let http = reqwest::Client::new();
        while !http.get(format!("{url}/readyz")).send().await?.status().is_success() {
            ensure!(begun.elapsed() < PATIENCE, "the host does not become ready");
            sleep(Duration::from_millis(20)).await;
        }
        let started = begun.elapsed();
        let token = std::fs::read_to_string(folder.path().join("data/admin.token"))?.trim().to_owned();
        Ok(LargeHost { process, url, token, http, started })
    }

    async fn post(&self, lines: String) -> anyhow::Result<()> {
        let asked = self.http.post(format!("{}/events", self.url)).header("x-auth-token", &self.token);
        let answer = asked.header("content-type", "application/x-ndjson").body(lines).send().await?;
        ensure!(answer.status() == 202, "POST /events answered {}", answer.status());
        Ok(())
    }

    async fn takes_ms(&self, path: &str) -> anyhow::Result<f64> {
        let begun = Instant::now();
        let asked = self.http.get(format!("{}{path}", self.url)).header("x-auth-token", &self.token);
        let answer = asked.send().await?.error_for_status()?;
        answer.bytes().await?;
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    }

    /// The number behind a name in a file of the process.
    fn resident(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("its memory")?;
        let kilobytes: f64 = line.split_whitespace().next().context("its memory")?.parse()?;
        Ok(kilobytes * 1024.0)
    }

    /// User and system time, in the ticks of 10 ms in which Linux tells them.
    fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let fields = stat.rsplit_once(')').context("a process's figures")?.1;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        Ok(Duration::from_millis(10 * ticks.sum::<Result<u64, _>>()?))
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        Command::new("kill").arg("-TERM").arg(self.process.id().to_string()).status()?;
        let until = Instant::now() + PATIENCE;
        while self.process.try_wait()?.is_none() {
            ensure!(Instant::now() < until, "the host does not stop");
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

impl Drop for LargeHost {
    fn drop(&mut self) {
        // It has ended already where all went well.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// An endpoint that counts what it is sent.
struct CountingEndpoint {
    url: String,
    count: Arc<AtomicU64>,
    _serving: JoinSet<()>,
}

impl CountingEndpoint {
    async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr()?);
        let (count, mut serving) = (Arc::<AtomicU64>::default(), JoinSet::new());
        let counted = Arc::clone(&count);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(answer(stream, Arc::clone(&counted)));
            }
        });
        Ok(CountingEndpoint { url, count, _serving: serving })
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

async fn answer(mut stream: TcpStream, count: Arc<AtomicU64>) {
    let mut read = Vec::new();
    while matches!(stream.read_buf(&mut read).await, Ok(bytes) if bytes > 0) {
        while let Some(length) = whole(&read) {
            read.drain(..length);
            count.fetch_add(1, Ordering::Relaxed);
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
                return;
            }
        }
    }
}

/// How long the first request is, if all of it is there.
fn whole(read: &[u8]) -> Option<usize> {
    let head = read.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&read[..head]).ok()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let all = head + length.unwrap_or_default();
    (read.len() >= all).then_some(all)
}
