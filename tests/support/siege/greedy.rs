//! Accounts that take whatever they are given, and what they do.

use std::collections::BTreeMap;
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::super::{Hostile, Manner, Program};
use super::books::{Claim, EventName, HookId, Ledger, Promise, Way};
use super::endpoints::{Endpoints, Oddity};
use super::senders::{Door, Sender};

/// An account with its hooks.
struct Account {
    id: String,
    hooks: Vec<HookId>,
    sender: Arc<Sender>,
    next: AtomicU64,
}

/// All of them, set up and at rest.
pub(super) struct Greedy {
    hanging: Account,
    fan_out: Account,
    documents: Account,
    names: Account,
    endless: Account,
    bombs: Account,
    ledger: Arc<Ledger>,
    /// How many bombs are sent at once.
    bombs_at_once: u64,
    /// What greedy requests were answered, and how often.
    answers: Mutex<BTreeMap<(&'static str, u16), u64>>,
    _endpoints: (Hostile, Endpoints),
}

/// Keys of `custom_data`, from too many to what anybody may have.
const KEYS: [usize; 4] = [60_000, 2_000, 500, 100];

/// Events at once for hooks that hang: more than the host keeps in memory of each.
const EVENTS_THAT_HANG: u64 = 20;

/// Clients that list attempts, hooks and the description.
const LISTING: [usize; 3] = [8, 4, 8];

/// How long such a client thinks.
const THINKS: Duration = Duration::from_millis(10);

impl Greedy {
    /// Makes the accounts and their hooks: so many of each that has many. `good` takes everything.
    pub(super) async fn set_up(
        program: &Program,
        door: &Door,
        good: &Endpoints,
        ledger: &Arc<Ledger>,
        hooks: usize,
        bombs: u64,
    ) -> Self {
        let hangs = Hostile::endpoint(Manner::Hangs).await;
        let endless = Endpoints::odd(Oddity::Endless, Arc::clone(ledger)).await;
        let path = |n: usize| format!("/good?{n}");
        // Each at an address of its own.
        let address = |n: usize| good.url_at(&format!("127.1.{}.{}", n / 250, n % 250 + 1), "/good");
        let name = |n: usize| good.url_at(&format!("n{n}.siege.test"), "/good");
        let few = hooks.min(100);
        let account = async |name: &str, uris: Vec<String>, retries: u64| {
            Account::with_hooks(program, door, name, uris, retries).await
        };
        Greedy {
            hanging: account("hanging", (0..hooks).map(|n| hangs.url(&path(n))).collect(), 0).await,
            fan_out: account("fan-out", (0..hooks).map(address).collect(), 2).await,
            documents: Account::with_documents(program, door, good).await,
            names: account("names", (0..few).map(name).collect(), 2).await,
            endless: account("endless", (0..16).map(|n| endless.url(&path(n))).collect(), 0).await,
            bombs: account("bombs", vec![good.url("/good")], 2).await,
            ledger: Arc::clone(ledger),
            bombs_at_once: bombs,
            answers: Mutex::default(),
            _endpoints: (hangs, endless),
        }
    }

    /// What they are owed.
    pub(super) fn claims(&self) -> Vec<Claim> {
        let of = |what: &str, account: &Account, promise: Promise| Claim {
            what: what.to_owned(),
            account: account.id.clone(),
            hooks: account.hooks.clone(),
            events: Arc::clone(&account.sender.accepted),
            ledger: Arc::clone(&self.ledger),
            promise,
        };
        vec![
            of("greedy: at an endpoint that hangs", &self.hanging, Promise::Kept),
            of("greedy: at many addresses", &self.fan_out, Promise::Prompt),
            of("greedy: large documents", &self.documents, Promise::Kept),
            of("greedy: at many names", &self.names, Promise::Kept),
            of("greedy: answers without end", &self.endless, Promise::Kept),
            of("greedy: gzip bombs", &self.bombs, Promise::Kept),
        ]
    }

    /// Who sends events to them.
    pub(super) fn senders(&self) -> Vec<Arc<Sender>> {
        let accounts =
            [&self.hanging, &self.fan_out, &self.documents, &self.names, &self.endless, &self.bombs];
        accounts.map(|account| Arc::clone(&account.sender)).into()
    }

    /// What greedy requests were answered: what, status, how often.
    pub(super) fn answers(&self) -> Vec<(&'static str, u16, u64)> {
        self.answers.lock().iter().map(|((what, status), count)| (*what, *status, *count)).collect()
    }

    pub(super) async fn hangs(&self) {
        self.hanging.events(EVENTS_THAT_HANG, Way::Post).await;
    }

    pub(super) async fn fans_out(&self, events: u64) {
        for _ in 0..events {
            self.fan_out.events(1, Way::Post).await;
            sleep(Duration::from_secs(1)).await;
        }
    }

    pub(super) async fn hears_endless_answers(&self) {
        self.endless.events(10, Way::Post).await;
    }

    pub(super) async fn bombs(&self) {
        self.bombs.events(self.bombs_at_once, Way::Bomb).await;
    }

    /// New events for all names, every second.
    pub(super) async fn names_are_asked_for(&self, lasts: Duration) {
        let until = Instant::now() + lasts;
        while Instant::now() < until {
            // What the answers before allow to be kept has ended.
            sleep(Duration::from_secs(1)).await;
            self.names.events(1, Way::Post).await;
        }
    }

    pub(super) async fn puts_huge_documents(&self, door: &Door, lasts: Duration) {
        let until = Instant::now() + lasts;
        let names = |count: usize| {
            let named = (0..count).map(|n| (format!("X-{n}"), json!("v")));
            json!({"name": "x", "hook": "misbehaving", "uri": "http://127.0.0.1:9/", "headers": named.collect::<Map<_, _>>()})
        };
        let (data, headers) = (document("http://127.0.0.1:9/", KEYS[0]), names(70_000));
        let events = async {
            while Instant::now() < until {
                self.documents.events(1, Way::Post).await;
                sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::join!(
            self.puts_again_and_again("custom_data", &data, door, until),
            self.puts_again_and_again("custom_data", &data, door, until),
            self.puts_again_and_again("headers", &headers, door, until),
            self.puts_again_and_again("headers", &headers, door, until),
            events
        );
    }

    async fn puts_again_and_again(&self, what: &'static str, document: &Value, door: &Door, until: Instant) {
        let http = reqwest::Client::new();
        while Instant::now() < until {
            let path = format!("/v2/accounts/{}/webhooks", self.documents.id);
            let (status, answer) = asked(&http, door, "PUT", &path, Some(document)).await;
            self.answered(what, status);
            if let Some(id) = answer["data"]["id"].as_str() {
                asked(&http, door, "DELETE", &format!("{path}/{id}"), None).await;
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Attempts by a filter that finds nothing, hooks one by one, and the description without a token.
    pub(super) async fn lists(&self, door: &Door, lasts: Duration) {
        let until = Instant::now() + lasts;
        let attempts = format!("/v2/accounts/{}/webhooks/attempts?filter_nothing=x", self.hanging.id);
        let hooks = format!("/v2/accounts/{}/webhooks?page_size=1", self.fan_out.id);
        let of = |what, path: &str, count: usize| vec![(what, path.to_owned()); count];
        let [attempt_clients, hook_clients, others] = LISTING;
        let clients = [
            of("attempts", &attempts, attempt_clients),
            of("hooks", &hooks, hook_clients),
            of("/openapi.json", "/openapi.json", others),
        ];
        let mut listing = JoinSet::new();
        for (what, path) in clients.into_iter().flatten() {
            let door = door.clone();
            listing.spawn(async move {
                let (http, mut statuses) = (reqwest::Client::new(), Vec::new());
                while Instant::now() < until {
                    statuses.push(asked(&http, &door, "GET", &path, None).await.0);
                    sleep(THINKS).await;
                }
                (what, statuses)
            });
        }
        while let Some(listed) = listing.join_next().await {
            let (what, statuses) = listed.expect("a client");
            statuses.into_iter().for_each(|status| self.answered(what, status));
        }
    }

    fn answered(&self, what: &'static str, status: u16) {
        *self.answers.lock().entry((what, status)).or_default() += 1;
    }
}

impl Account {
    async fn with_hooks(program: &Program, door: &Door, name: &str, uris: Vec<String>, retries: u64) -> Self {
        let id = program.account(name).await;
        let path = format!("/v2/accounts/{id}/webhooks");
        let http = reqwest::Client::new();
        let put = async |uri: String| {
            let hook = json!({
                "name": name, "hook": "misbehaving", "uri": uri, "format": "json", "retries": retries,
            });
            let (status, answer) = asked(&http, door, "PUT", &path, Some(&hook)).await;
            assert_eq!(status, 201, "{answer}");
            hook_id(&answer)
        };
        let hooks = stream::iter(uris).map(put).buffer_unordered(8).collect().await;
        Account { sender: Sender::new(door, &id), id, hooks, next: AtomicU64::new(0) }
    }

    /// Some hooks with as many keys in `custom_data` as are let in.
    async fn with_documents(program: &Program, door: &Door, good: &Endpoints) -> Self {
        let id = program.account("documents").await;
        let (path, http) = (format!("/v2/accounts/{id}/webhooks"), reqwest::Client::new());
        let (mut hooks, mut refusal) = (Vec::new(), Value::Null);
        for keys in KEYS {
            let hook = document(&good.url("/good"), keys);
            let (status, answer) = asked(&http, door, "PUT", &path, Some(&hook)).await;
            match status {
                201 => hooks.push(hook_id(&answer)),
                _ => refusal = answer,
            }
        }
        assert!(!hooks.is_empty(), "not even {} keys are let in: {refusal}", KEYS[KEYS.len() - 1]);
        Account { sender: Sender::new(door, &id), id, hooks, next: AtomicU64::new(0) }
    }

    async fn events(&self, count: u64, way: Way) {
        let first = self.next.fetch_add(count, Ordering::Relaxed);
        let names: Vec<EventName> = (first..first + count).map(|n| EventName::new(way, n)).collect();
        self.sender.send(&names).await;
    }
}

fn document(uri: &str, keys: usize) -> Value {
    let data: Map<String, Value> = (0..keys).map(|n| (format!("key-{n}"), json!("v"))).collect();
    json!({"name": "x", "hook": "misbehaving", "uri": uri, "format": "json", "custom_data": data})
}

fn hook_id(answer: &Value) -> HookId {
    let id = answer["data"]["id"].as_str().expect("an id");
    HookId::from_str(id).expect("a hook's id")
}

/// The answer's status, 0 without any, and what it says.
async fn asked(
    http: &reqwest::Client,
    door: &Door,
    method: &str,
    path: &str,
    data: Option<&Value>,
) -> (u16, Value) {
    let url = format!("{}{path}", door.host.borrow().url);
    let mut request = http.request(method.parse().expect("a method"), url);
    if path != "/openapi.json" {
        request = request.header("x-auth-token", &door.token);
    }
    if let Some(data) = data {
        request = request.json(&json!({"data": data}));
    }
    let Ok(answer) = request.timeout(Duration::from_secs(30)).send().await else { return (0, Value::Null) };
    let status = answer.status().as_u16();
    let body = answer.bytes().await.unwrap_or_default();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}
