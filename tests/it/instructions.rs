//! The whole way of an event costs no more instructions than it did: valgrind counts them, and `tests/instructions.json`
//! says how many there were. Whoever makes them fewer, or more for a good reason, writes down there what a failure prints.

use std::collections::BTreeMap;
use std::process::Stdio;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tests::{Broker, Home, Program, Published, Receiver, eventually, hookline};
use tokio::process::Command;

/// What they may grow by.
const GROWTH: f64 = 1.03;

/// How far those of another compiler may be apart.
const OTHER_COMPILER: f64 = 1.25;

/// What is known of them: for one delivery of each kind, unoptimised, with a compiler.
#[derive(Deserialize, Serialize)]
struct KnownCounts {
    rustc: String,
    instructions: BTreeMap<String, u64>,
}

/// How events come.
#[derive(Clone, Copy)]
enum EventWay {
    /// One at a time, for one hook.
    OneHook,
    /// One at a time, for many hooks.
    ManyHooks,
    /// Many in a post.
    Post,
    /// Many from RabbitMQ.
    RabbitMq,
}

/// Each with how often it is done, and how many deliveries that makes.
const WAYS: [(&str, EventWay, usize, usize); 4] = [
    ("one event at a time to one hook", EventWay::OneHook, 60, 1),
    ("one event at a time to 50 hooks", EventWay::ManyHooks, 4, HOOKS),
    ("posts of 100 events", EventWay::Post, 3, BATCH),
    ("messages from RabbitMQ", EventWay::RabbitMq, 3, BATCH),
];

/// A host whose instructions are counted.
struct CountedHost {
    host: Program,
    receiver: Receiver,
    broker: Broker,
    channel: lapin::Channel,
    /// With one hook, and with many.
    accounts: [String; 2],
    events: u64,
}

/// Hooks of the account with many.
const HOOKS: usize = 50;

/// Events that one post brings.
const BATCH: usize = 100;

impl CountedHost {
    async fn start() -> Self {
        let broker = Broker::shared();
        let settings = broker.settings(&Broker::queue_of_its_own());
        let home = Home::new("", &["webhooks_bench"]);
        let root = home.path("");
        let root = root.display();
        let settings = format!(
            "data_dir = '{root}/data'\nplugins_dir = '{root}/plugins'\n{settings}\n\
             [api]\nlisten = '127.0.0.1:0'\n[delivery]\nallow_targets = ['127.0.0.0/8']\n"
        );
        std::fs::write(home.path("hookline.toml"), settings).unwrap();
        let mut valgrind = Command::new("valgrind");
        let out = format!("--callgrind-out-file={root}/callgrind");
        valgrind.args(["--tool=callgrind", "--instr-atstart=no", "--fair-sched=yes", &out]);
        valgrind.arg(env!("CARGO_BIN_EXE_counted")).arg(hookline()).arg(home.path("hookline.toml"));
        valgrind.stdin(Stdio::piped()).kill_on_drop(true);
        let host = home.start_as(valgrind).await;
        // Whose exchange is there before the first message.
        let channel = broker.channel().await;
        host.ready(true).await;
        let receiver = Receiver::answering(200).await;
        let accounts = [host.account("one").await, host.account("many").await];
        for (account, hooks) in accounts.iter().zip([1, HOOKS]) {
            for hook in 0..hooks {
                host.hook(account, "bench", &receiver.url(&format!("/{hook}")), json!({})).await;
            }
        }
        let host = CountedHost { host, receiver, broker, channel, accounts, events: 0 };
        host.control(&["-i", "on"]).await;
        host
    }

    /// An event as KAZOO's, which no other is the same as.
    fn event(&mut self, account: usize) -> String {
        self.events += 1;
        let event = include_str!("../fixtures/call_event.json").trim_end();
        let event = event.replacen("4f3c1f0e9a7d4a5cb1f6a2d07e5b9c83", &self.accounts[account], 1);
        event.replacen("1701286404183921", &format!("{:016}", self.events), 1)
    }

    async fn post(&self, media_type: &str, body: String) {
        let post = self.host.request("POST", "/events").header("x-auth-token", self.host.token());
        let answer = post.header("content-type", media_type).body(body).send().await.unwrap();
        assert_eq!(answer.status(), 202);
    }

    /// Brings events of a round and waits for their deliveries.
    async fn round(&mut self, way: EventWay) {
        match way {
            EventWay::OneHook => {
                let event = self.event(0);
                self.post("application/json", event).await;
                // What follows its end comes along with the next one.
                self.receiver.next_request().await;
            }
            EventWay::ManyHooks => {
                let event = self.event(1);
                self.post("application/json", event).await;
                self.delivered(HOOKS).await;
            }
            EventWay::Post => {
                let body: Vec<String> = (0..BATCH).map(|_| self.event(0)).collect();
                self.post("application/x-ndjson", body.join("\n")).await;
                self.delivered(BATCH).await;
            }
            EventWay::RabbitMq => {
                for _ in 0..BATCH {
                    let event = self.event(0);
                    let (exchange, key) = ("callevt", "call.CHANNEL_CREATE.7c1e");
                    let publish = self.broker.publish_raw(
                        &self.channel,
                        exchange,
                        key,
                        event.as_bytes(),
                        Published::Plain,
                    );
                    publish.await;
                }
                self.delivered(BATCH).await;
            }
        }
    }

    /// Waits for so many requests, and until the process rests.
    async fn delivered(&mut self, count: usize) {
        for _ in 0..count {
            self.receiver.next_request().await;
        }
        let mut last = self.cpu_ticks();
        let mut resting = 0;
        eventually("the host rests", || {
            let now = self.cpu_ticks();
            resting = if now == std::mem::replace(&mut last, now) { resting + 1 } else { 0 };
            let rests = (resting >= 3).then_some(());
            async move { rests }
        })
        .await;
    }

    fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.host.pid())).unwrap();
        let fields = stat.rsplit_once(')').unwrap().1.split_whitespace().skip(11).take(2);
        fields.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }

    async fn control(&self, words: &[&str]) {
        let pid = self.host.pid().to_string();
        let said = Command::new("callgrind_control").args(words).arg(pid).output().await.unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stdout));
    }

    /// Begins to count anew.
    async fn begin(&self) {
        self.control(&["-z"]).await;
    }

    /// What was counted.
    async fn counted(&self) -> u64 {
        self.control(&["-d"]).await;
        let folder = std::fs::read_dir(self.host.folder()).unwrap().map(|entry| entry.unwrap().path());
        let number = |path: &std::path::PathBuf| path.extension()?.to_str()?.parse::<u64>().ok();
        let dump = folder
            .filter(|path| path.file_stem().is_some_and(|stem| stem == "callgrind"))
            .filter_map(|path| Some((number(&path)?, path)))
            .max()
            .expect("a dump")
            .1;
        let text = std::fs::read_to_string(dump).unwrap();
        let total = text
            .lines()
            .find_map(|line| line.strip_prefix("summary: ").or_else(|| line.strip_prefix("totals: ")));
        total.expect("a sum").trim().parse().expect("a number")
    }
}

#[tokio::test]
async fn an_event_costs_no_more_instructions_than_it_did() {
    let rustc = Command::new("rustc").arg("--version").output().await.unwrap();
    let rustc = String::from_utf8(rustc.stdout).unwrap().trim().to_owned();
    let known: KnownCounts = serde_json::from_str(include_str!("../instructions.json")).unwrap();
    let most = if rustc == known.rustc { GROWTH } else { OTHER_COMPILER };
    let mut host = CountedHost::start().await;
    let mut instructions = BTreeMap::new();
    for (name, way, rounds, deliveries) in WAYS {
        // Opens connections and fills caches.
        host.round(way).await;
        host.delivered(0).await;
        host.begin().await;
        for _ in 0..rounds {
            host.round(way).await;
        }
        host.delivered(0).await;
        instructions.insert(name.to_owned(), host.counted().await / (rounds * deliveries) as u64);
    }

    let growth = |name: &str, count: u64| {
        count as f64 / known.instructions.get(name).map_or(1.0, |known| *known as f64)
    };
    let grown: Vec<String> = instructions
        .iter()
        .map(|(name, count)| (name, growth(name, *count)))
        .filter(|(_, growth)| *growth > most)
        .map(|(name, growth)| format!("{name}: {growth:.3} times"))
        .collect();
    let counted = serde_json::to_string_pretty(&KnownCounts { rustc, instructions }).unwrap();
    println!("{counted}");
    assert!(
        grown.is_empty(),
        "more instructions than tests/instructions.json says: {grown:?}; counted: {counted}"
    );
}
