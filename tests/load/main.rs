//! The load run: what a whole host does a second, and what CPU time a delivery costs it.
//!
//! `scripts/bench` runs it. The host is the released program in a process of its own; the receiver, the bare
//! client that is the yardstick, and whoever sends events share the machine with it. Exit code 1 when a
//! delivery is missing or came twice.
//!
//! LOAD_RUNS runs of everything (3), LOAD_EVENTS events in each (20000); LOAD_ONLY runs the parts whose name
//! contains it.

// A program for people.
#![allow(clippy::print_stdout)]

mod events;
mod figures;
mod host;
mod hostile;
mod receiver;

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use lapin::options::{BasicPublishOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel};
use tests::Broker;
use tokio::time::Instant;

use events::Events;
use figures::{Line, Run, median, table};
use host::Host;
use receiver::Receiver;

/// Requests in flight of the bare client and of whoever posts single events.
const IN_FLIGHT: usize = 64;

/// Accounts with one hook each that sustained load is spread over.
const ACCOUNTS: usize = 20;

/// Events in one post of many.
const BATCH: usize = 200;

/// Messages that may be unconfirmed.
const WINDOW: usize = 200;

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run())
}

struct Plan {
    runs: usize,
    events: usize,
    only: String,
}

impl Plan {
    fn of_environment() -> anyhow::Result<Self> {
        let number = |name: &str, default: usize| match std::env::var(name) {
            Ok(text) => text.parse().with_context(|| format!("{name} should be a number and is {text:?}")),
            Err(_) => Ok(default),
        };
        let only = std::env::var("LOAD_ONLY").unwrap_or_default();
        Ok(Plan {
            runs: number("LOAD_RUNS", 3)?.max(1),
            events: number("LOAD_EVENTS", 20_000)?.max(BATCH),
            only,
        })
    }

    fn has(&self, part: &str) -> bool {
        part.contains(&self.only)
    }
}

/// What a run works with.
struct Bench {
    plan: Plan,
    receiver: Receiver,
    events: Events,
    /// Deliveries that must have come by now.
    owed: u64,
    lines: Vec<Line>,
}

async fn run() -> anyhow::Result<()> {
    let mut bench = Bench {
        plan: Plan::of_environment()?,
        receiver: Receiver::start()?,
        events: Events::default(),
        owed: 0,
        lines: Vec::new(),
    };
    if bench.plan.only != "hostile" {
        bench.bare().await?;
    }
    if ["fan-out", "post"].iter().any(|part| bench.plan.has(part)) {
        let host = Host::start("").await?;
        bench.fan_out(&host).await?;
        bench.posted(&host).await?;
        host.stop().await?;
    }
    if bench.plan.has("rabbitmq") {
        let broker = if std::env::var_os("HOOKLINE_TEST_AMQP").is_some() {
            Broker::shared()
        } else {
            Broker::own().await
        };
        bench.rabbitmq(&broker).await?;
    }
    if bench.plan.has("hostile") {
        hostile::run(bench.plan.runs, &mut bench.events).await?;
    }
    println!("{}", table(&bench.lines));
    bench.balance().await
}

impl Bench {
    /// Nothing is missing and nothing came twice, also after the hosts have ended.
    async fn balance(&self) -> anyhow::Result<()> {
        let books = self.receiver.books().await?;
        let (received, owed) = (books.received, self.owed);
        ensure!(received == owed, "{received} deliveries came where {owed} were owed");
        ensure!(books.duplicates == 0, "{} deliveries came twice", books.duplicates);
        println!("{received} deliveries, none missing, none twice");
        Ok(())
    }

    /// The yardstick: a loop around reqwest on a thread of its own, nothing else.
    async fn bare(&mut self) -> anyhow::Result<()> {
        let mut runs = Vec::new();
        for turn in 0..self.plan.runs {
            let count = self.plan.events;
            let expected = self.receiver.expect(count as u64).await?;
            let url = self.receiver.url("/bare");
            let begun = Instant::now();
            let client = std::thread::spawn(move || bare_loop(&url, turn, count));
            let ended = expected.all_came(&self.receiver).await?;
            let cpu = client.join().ok().context("the bare client panicked")??;
            runs.push(Run { deliveries: count as u64, wall: ended - begun, cpu, latency: None });
            self.owed += count as u64;
        }
        let what = format!("bare reqwest loop, {IN_FLIGHT} in flight, 1 KB");
        self.lines.push(Line { what, runs });
        Ok(())
    }

    /// One event at a time to many hooks.
    async fn fan_out(&mut self, host: &Host) -> anyhow::Result<()> {
        for hooks in [1, 10, 1000] {
            let what = format!("fan-out: one event to {hooks} hooks, one event at a time");
            if !self.plan.has(&what) {
                continue;
            }
            let uris = (0..hooks).map(|n| self.receiver.url(&format!("/fan/{n}"))).collect();
            let account = host.account(&format!("fan-out {hooks}"), uris).await?;
            // The first event opens connections.
            self.one_event(host, &account, hooks).await?;
            let events = (self.plan.events as u64 / hooks).clamp(5, 300);
            let mut runs = Vec::new();
            for _ in 0..self.plan.runs {
                let (cpu, begun) = (host.cpu().await?, Instant::now());
                let mut took = Vec::new();
                for _ in 0..events {
                    took.push(self.one_event(host, &account, hooks).await?.as_secs_f64());
                }
                let wall = begun.elapsed();
                let cpu = host.cpu().await? - cpu;
                let latency = Some(Duration::from_secs_f64(median(took)));
                runs.push(Run { deliveries: hooks * events, wall, cpu, latency });
            }
            self.lines.push(Line { what, runs });
        }
        Ok(())
    }

    async fn one_event(&mut self, host: &Host, account: &str, hooks: u64) -> anyhow::Result<Duration> {
        let event = self.events.next(account);
        let expected = self.receiver.expect(hooks).await?;
        let begun = Instant::now();
        host.post(event, "application/json").await?;
        let ended = expected.all_came(&self.receiver).await?;
        self.owed += hooks;
        Ok(ended - begun)
    }

    /// Events from `POST /events`, each by itself and many in one body.
    async fn posted(&mut self, host: &Host) -> anyhow::Result<()> {
        let single = "POST /events: single events, 64 in flight";
        let many = "POST /events: 200 events a body, 4 in flight";
        for (part, what) in [("post single", single), ("post batches", many)] {
            if !self.plan.has(part) {
                continue;
            }
            let accounts = self.accounts(host, part).await?;
            let mut runs = Vec::new();
            for _ in 0..self.plan.runs {
                let events = self.events.of(&accounts, self.plan.events / BATCH * BATCH);
                let count = events.len();
                let (bodies, media_type, in_flight) = if what == single {
                    (events, "application/json", IN_FLIGHT)
                } else {
                    let lines = events.chunks(BATCH).map(|chunk| chunk.join("\n")).collect();
                    (lines, "application/x-ndjson", 4)
                };
                let sending = async |()| {
                    let posts = bodies.into_iter().map(|body| host.post(body, media_type));
                    stream::iter(posts).buffer_unordered(in_flight).try_collect().await
                };
                runs.push(self.sustained(host, count, sending).await?);
            }
            self.lines.push(Line { what: what.to_owned(), runs });
        }
        Ok(())
    }

    async fn accounts(&self, host: &Host, name: &str) -> anyhow::Result<Vec<String>> {
        let mut accounts = Vec::new();
        for n in 0..ACCOUNTS {
            let uri = self.receiver.url(&format!("/hook/{n}"));
            accounts.push(host.account(&format!("{name} {n}"), vec![uri]).await?);
        }
        Ok(accounts)
    }

    /// Sends all at once and waits for the last delivery; one event is one delivery.
    async fn sustained(
        &mut self,
        host: &Host,
        count: usize,
        send: impl AsyncFnOnce(()) -> anyhow::Result<()>,
    ) -> anyhow::Result<Run> {
        let expected = self.receiver.expect(count as u64).await?;
        let (cpu, begun) = (host.cpu().await?, Instant::now());
        send(()).await?;
        let ended = expected.all_came(&self.receiver).await?;
        self.owed += count as u64;
        let cpu = host.cpu().await? - cpu;
        Ok(Run { deliveries: count as u64, wall: ended - begun, cpu, latency: None })
    }

    /// Events from a quorum queue, published with confirms.
    async fn rabbitmq(&mut self, broker: &Broker) -> anyhow::Result<()> {
        let queue = format!("hookline-load-{}", std::process::id());
        let settings = format!(
            "[bus]\nkind = 'amqp'\nuri = '{}'\nqueue = '{queue}'\nqueue_type = 'quorum'\n",
            broker.uri()
        );
        let host = Host::start(&settings).await?;
        let accounts = self.accounts(&host, "rabbitmq").await?;
        let channel = broker.channel().await;
        let mut runs = Vec::new();
        for _ in 0..self.plan.runs {
            let events = self.events.of(&accounts, self.plan.events);
            let sending = async |()| publish(&channel, &events).await;
            runs.push(self.sustained(&host, events.len(), sending).await?);
        }
        self.lines.push(Line {
            what: "RabbitMQ: quorum queue, publisher with confirms, window 200".to_owned(),
            runs,
        });
        host.stop().await?;
        for name in [queue.clone(), format!("{queue}.dead")] {
            let left = channel.queue_delete(name.as_str().into(), QueueDeleteOptions::default()).await?;
            ensure!(left == 0, "{left} messages are left in the queue {name}");
        }
        Ok(())
    }
}

/// On a thread of its own; answers the thread's CPU time.
fn bare_loop(url: &str, turn: usize, count: usize) -> anyhow::Result<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let url: reqwest::Url = url.parse()?;
    let body = Bytes::from(vec![b'x'; 1024]);
    let post = async |n: usize| {
        let request = client.post(url.clone()).header("content-type", "application/json");
        let request = request.header("webhook-id", format!("bare_{turn}_{n}")).header("x-hook-id", "bare");
        let answer = request.header("x-account-id", "bare").body(body.clone()).send().await?;
        answer.bytes().await
    };
    runtime.block_on(
        stream::iter(0..count).map(post).buffer_unordered(IN_FLIGHT).try_for_each(async |_| Ok(())),
    )?;
    let figures = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = figures.split(' ').next().context("the thread's CPU time")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}

async fn publish(channel: &Channel, events: &[String]) -> anyhow::Result<()> {
    let properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_headers(FieldTable::default());
    let mut unconfirmed = VecDeque::with_capacity(WINDOW);
    for event in events {
        if unconfirmed.len() == WINDOW
            && let Some(oldest) = unconfirmed.pop_front()
        {
            confirmed(oldest).await?;
        }
        let options = BasicPublishOptions::default();
        let key = "call.CHANNEL_CREATE.7c1e-52d0-9b3f%40198%2E51%2E100%2E17";
        let sent = channel.basic_publish(
            "callevt".into(),
            key.into(),
            options,
            event.as_bytes(),
            properties.clone(),
        );
        unconfirmed.push_back(sent.await?);
    }
    for rest in unconfirmed {
        confirmed(rest).await?;
    }
    Ok(())
}

async fn confirmed(confirm: lapin::PublisherConfirm) -> anyhow::Result<()> {
    ensure!(confirm.await?.is_ack(), "the broker did not take a message");
    Ok(())
}
