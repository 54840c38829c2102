//! The figures as Prometheus reads them: names, types, what they say after something has happened.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde_json::{Value, json};
use tests::{Receiver, TestHost, call_event, eventually, versioned};

const CREATE: &str = "webhooks_channel_create";
const MISBEHAVING: &str = "webhooks_misbehaving";

/// What `/metrics` answered, by family.
struct Exposition(BTreeMap<String, Family>);

#[derive(Default)]
struct Family {
    kind: String,
    help: String,
    /// Labels as they are written, and the figure.
    samples: BTreeMap<String, f64>,
}

impl Exposition {
    async fn of(host: &TestHost) -> Self {
        let response = host.request("GET", "/metrics").send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
        Self::parse(&response.text().await.unwrap())
    }

    /// Reads the text as strictly as the format is defined: help, type and samples of a family stand together.
    #[track_caller]
    fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'));
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        let mut current = String::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').expect("a sentence");
                let new = Family { help: help.to_owned(), ..Family::default() };
                assert!(families.insert(name.to_owned(), new).is_none(), "{name} stands twice");
                name.clone_into(&mut current);
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a type");
                assert_eq!(name, current, "the type follows its help");
                kind.clone_into(&mut families.get_mut(name).unwrap().kind);
            } else {
                let (series, figure) = line.rsplit_once(' ').expect("a figure");
                let (name, labels) = series.split_once('{').unwrap_or((series, ""));
                assert_eq!(name, current, "samples follow their type");
                let labels = labels.trim_end_matches('}').to_owned();
                let figure = figure.parse().expect("a number");
                let family = families.get_mut(name).unwrap();
                assert!(family.samples.insert(labels, figure).is_none(), "{series} stands twice");
            }
        }
        Exposition(families)
    }

    /// The figure of a name without labels.
    #[track_caller]
    fn figure(&self, name: &str) -> f64 {
        self.labelled(name, "")
    }

    #[track_caller]
    fn labelled(&self, name: &str, labels: &str) -> f64 {
        let family = self.0.get(name).unwrap_or_else(|| panic!("there is no {name}"));
        let found = family.samples.get(labels);
        *found.unwrap_or_else(|| panic!("no {name}{{{labels}}} among {:?}", family.samples))
    }
}

/// Waits until these figures stand there.
#[track_caller]
fn shows<'a>(host: &'a TestHost, expected: &'a [(&'a str, &'a str, f64)]) -> impl Future<Output = ()> + 'a {
    let fact = async move || {
        let shown = Exposition::of(host).await;
        let stands = |(name, labels, figure): &(&str, &str, f64)| shown.labelled(name, labels) == *figure;
        expected.iter().all(stands).then_some(())
    };
    eventually("the figures stand there", fact)
}

fn misbehave(account: &str, misdeed: &str) -> Value {
    json!({"Event-Category": "misbehave", "Event-Name": "now", "Account-ID": account, "Do": misdeed, "Say": "hello"})
}

#[tokio::test]
async fn a_delivered_event_is_seen_all_the_way() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::with_modules(&[CREATE]).await;
    let account = host.account("acme").await;
    host.hook(&account, "channel_create", &receiver.url("/"), json!({})).await;
    let before = Exposition::of(&host).await;

    host.publish(call_event("CHANNEL_CREATE", &account, "call-1")).await;
    receiver.next_request().await;

    let module = "module=\"webhooks_channel_create\"";
    shows(
        &host,
        &[
            ("hookline_events_total", "outcome=\"accepted\"", 1.0),
            ("hookline_events_total", "outcome=\"unanswered\"", 0.0),
            ("hookline_module_calls_total", module, 1.0),
            ("hookline_module_failures_total", module, 0.0),
            ("hookline_module_generation", module, 1.0),
            ("hookline_deliveries_accepted_total", "", 1.0),
            ("hookline_deliveries_total", "outcome=\"delivered\"", 1.0),
            ("hookline_deliveries_total", "outcome=\"retried\"", 0.0),
            ("hookline_deliveries_pending", "", 0.0),
            ("hookline_deliveries_oldest_age_seconds", "", 0.0),
            ("hookline_deliveries_in_memory", "", 0.0),
            ("hookline_in_flight", "", 0.0),
            ("hookline_bus_messages_total", "outcome=\"accepted\"", 1.0),
            ("hookline_bus_received_total", "", 1.0),
        ],
    )
    .await;
    let after = Exposition::of(&host).await;
    assert_eq!((after.figure("hookline_hooks"), after.figure("hookline_accounts")), (1.0, 1.0));
    assert_eq!((after.figure("hookline_ready"), after.figure("hookline_bus_connected")), (1.0, 1.0));
    assert!(after.labelled("hookline_module_seconds_total", module) > 0.0);
    let grew = |name| after.figure(name) > before.figure(name);
    assert!(grew("hookline_store_commits_total") && grew("hookline_process_cpu_seconds_total"));
    assert!(grew("hookline_store_fsyncs_total"));
}

#[tokio::test]
async fn a_delivery_that_fails_is_retried_pending_and_dead() {
    let mut receiver = Receiver::answering_in_turn(&[500, 404]).await;
    let settings = "[delivery]\nretry_schedule_ms = [1]\n";
    let host = TestHost::configured(settings, &[CREATE]).await;
    let account = host.account("acme").await;
    host.hook(&account, "channel_create", &receiver.url("/"), json!({"retries": 4})).await;

    host.publish(call_event("CHANNEL_CREATE", &account, "call-1")).await;
    receiver.next_request().await;
    receiver.next_request().await;

    shows(
        &host,
        &[
            ("hookline_deliveries_total", "outcome=\"retried\"", 1.0),
            ("hookline_deliveries_total", "outcome=\"dead\"", 1.0),
            ("hookline_deliveries_dead", "", 1.0),
            ("hookline_deliveries_pending", "", 0.0),
        ],
    )
    .await;
}

#[tokio::test]
async fn what_is_in_flight_is_pending_and_grows_older() {
    let hanging = Receiver::hanging().await;
    let host = TestHost::with_modules(&[CREATE]).await;
    let account = host.account("acme").await;
    host.hook(&account, "channel_create", &hanging.url("/"), json!({})).await;

    host.publish(call_event("CHANNEL_CREATE", &account, "call-1")).await;

    shows(&host, &[("hookline_in_flight", "", 1.0), ("hookline_deliveries_pending", "", 1.0)]).await;
    eventually("the delivery grows older", async || {
        let age = Exposition::of(&host).await.figure("hookline_deliveries_oldest_age_seconds");
        (age > 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn messages_that_nobody_answers_or_that_are_no_events_are_counted() {
    let host = TestHost::with_modules(&[CREATE]).await;

    host.publish(json!({"Event-Category": "nobody", "Event-Name": "cares"})).await;
    let nonsense = Bytes::from_static(b"[\"no event\"]");
    host.inside().parts.listener.inlet.post(vec![nonsense], None).await.expect_err("it is no event");

    let shown = Exposition::of(&host).await;
    for (outcome, figure) in [("accepted", 0.0), ("unanswered", 1.0), ("malformed", 1.0), ("postponed", 0.0)]
    {
        let labels = format!("outcome=\"{outcome}\"");
        assert_eq!(shown.labelled("hookline_events_total", &labels), figure, "{outcome}");
    }
    assert_eq!(shown.labelled("hookline_bus_messages_total", "outcome=\"refused\""), 1.0);
}

#[tokio::test]
async fn a_refused_file_is_counted_and_shown_until_it_is_gone() {
    let host = TestHost::with_modules(&[CREATE]).await;
    shows(&host, &[("hookline_module_refusals_total", "", 0.0), ("hookline_files_refused", "", 0.0)]).await;

    host.install("cut.so", &versioned(1)[..5_000]);
    host.refused("cut.so").await;

    shows(&host, &[("hookline_module_refusals_total", "", 1.0), ("hookline_files_refused", "", 1.0)]).await;
    shows(&host, &[("hookline_module_loads_total", "", 1.0), ("hookline_modules", "", 1.0)]).await;

    std::fs::remove_file(host.plugin("cut.so")).unwrap();

    shows(&host, &[("hookline_module_refusals_total", "", 1.0), ("hookline_files_refused", "", 0.0)]).await;
}

#[tokio::test]
async fn generations_are_followed_from_load_to_release() {
    const FILE: &str = "libwebhooks_versioned.so";
    let labels = "module=\"webhooks_versioned\"";
    let host = TestHost::with_modules(&[]).await;
    let event = json!({"Event-Category": "versioned", "Event-Name": "any", "Account-ID": "a", "N": 1});

    host.install(FILE, &versioned(1));
    host.generation("webhooks_versioned", 1).await;
    host.publish(event.clone()).await;
    host.install(FILE, &versioned(2));
    host.generation("webhooks_versioned", 2).await;
    host.publish(event).await;

    shows(
        &host,
        &[
            ("hookline_module_generation", labels, 2.0),
            ("hookline_module_calls_total", labels, 2.0),
            ("hookline_module_loads_total", "", 2.0),
            ("hookline_generations_released_total", "", 1.0),
            ("hookline_generations_pinned", "", 0.0),
            ("hookline_modules_removed_total", "", 0.0),
        ],
    )
    .await;
    assert!(Exposition::of(&host).await.figure("hookline_thread_local_keys") < 900.0);

    std::fs::remove_file(host.plugin(FILE)).unwrap();

    shows(
        &host,
        &[
            ("hookline_modules_removed_total", "", 1.0),
            ("hookline_generations_released_total", "", 2.0),
            ("hookline_modules", "", 0.0),
        ],
    )
    .await;
    assert!(Exposition::of(&host).await.0["hookline_module_calls_total"].samples.is_empty());
}

#[tokio::test]
async fn a_module_that_hangs_and_fails_is_seen() {
    let host = TestHost::configured("[modules]\ncall_timeout_ms = 50\n", &[MISBEHAVING]).await;
    let account = host.account("acme").await;

    host.publish(misbehave(&account, "fail")).await;
    host.publish(misbehave(&account, "hang")).await;

    let shown = Exposition::of(&host).await;
    let of_module = |name: &str| shown.labelled(name, "module=\"webhooks_misbehaving\"");
    let figures = ["calls_total", "failures_total", "hung_total", "quarantined"];
    assert_eq!(figures.map(|name| of_module(&format!("hookline_module_{name}"))), [2.0, 2.0, 1.0, 0.0]);
}

#[tokio::test]
async fn a_module_in_a_process_of_its_own_shows_that_process() {
    let host = TestHost::configured("[modules]\nisolation = \"process\"\n", &[MISBEHAVING]).await;
    let account = host.account("acme").await;

    let of_module = async |name: &str| {
        let name = format!("hookline_module_process_{name}");
        Exposition::of(&host).await.labelled(&name, "module=\"webhooks_misbehaving\"")
    };
    assert!(of_module("resident_memory_bytes").await > 100_000.0);
    assert_eq!(of_module("deaths_total").await, 0.0);

    host.ask("POST", "/events", Some(misbehave(&account, "exit"))).await;

    let kept = "hookline_module_failed_kept_total";
    assert_eq!(Exposition::of(&host).await.labelled(kept, "module=\"webhooks_misbehaving\""), 1.0);
    assert_eq!(of_module("deaths_total").await, 3.0, "as many as one event may cost");
    assert_eq!(of_module("restarts_total").await, 2.0);
    assert_eq!(of_module("timeouts_total").await, 0.0);
}

#[tokio::test]
async fn anybody_may_ask_and_learns_nothing_about_accounts_and_hooks() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::with_modules(&[CREATE]).await;
    let account = host.account("acme-of-springfield").await;
    let secrets = json!({"name": "hook-of-springfield", "secret": "generate"});
    let hook = host.hook(&account, "channel_create", &receiver.url("/springfield"), secrets).await;
    host.publish(call_event("CHANNEL_CREATE", &account, "call-of-springfield")).await;
    receiver.next_request().await;
    shows(&host, &[("hookline_deliveries_total", "outcome=\"delivered\"", 1.0)]).await;

    let text = host.request("GET", "/metrics").send().await.unwrap().text().await.unwrap();

    let address = receiver.url("");
    let endpoint = address.strip_prefix("http://").unwrap().trim_end_matches('/');
    let folder = host.folder().display().to_string();
    for private in [account.as_str(), &hook, "springfield", endpoint, host.token(), &folder] {
        assert!(!text.contains(private), "{private} stands in {text}");
    }
}

/// The rows of the guide's table: type and labels by name.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let guide = include_str!("../../docs/operators-guide.md");
    let rows = guide.lines().filter_map(|line| line.strip_prefix("| `hookline_")?.split_once("` | "));
    let row = |(name, rest): (&str, &str)| {
        let mut cells = rest.split('|').map(str::trim);
        let kind = cells.next().unwrap_or_default().to_owned();
        let labels = cells.next()?.split_whitespace().map(str::to_owned).collect();
        let is_figure = kind == "counter" || kind == "gauge";
        is_figure.then(|| (format!("hookline_{name}"), (kind, labels)))
    };
    rows.filter_map(row).collect()
}

#[tokio::test]
async fn every_documented_name_is_there_and_every_name_is_documented() {
    let documented = documented();
    let host = TestHost::configured("[modules]\nisolation = \"process\"\n", &[MISBEHAVING]).await;

    let shown = Exposition::of(&host).await;

    let names = |names: Vec<&String>| names.into_iter().cloned().collect::<Vec<_>>();
    assert_eq!(names(shown.0.keys().collect()), names(documented.keys().collect()));
    for (name, family) in &shown.0 {
        let (kind, labels) = &documented[name];
        assert_eq!(&family.kind, kind, "{name}");
        assert!(!family.samples.is_empty(), "{name} has no figure");
        for sample in family.samples.keys() {
            let of_sample: BTreeSet<String> =
                sample.split("\",").filter_map(|label| Some(label.split_once('=')?.0.to_owned())).collect();
            assert_eq!(&of_sample, labels, "{name}");
        }
    }
}

#[tokio::test]
async fn names_types_and_help_are_as_prometheus_wants_them() {
    let host = TestHost::with_modules(&[]).await;

    for (name, family) in Exposition::of(&host).await.0 {
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert_eq!(family.kind == "counter", name.ends_with("_total"), "{name}");
        assert!(family.help.ends_with('.') && family.help.len() > 5, "{name}: {}", family.help);
        // Base units only, at the end of the name.
        let stem = name.trim_end_matches("_total");
        for unit in ["_ms", "_us", "_milliseconds", "_kilobytes", "_percent"] {
            assert!(!stem.ends_with(unit), "{name}");
        }
        let unit = ["seconds", "bytes"].into_iter().find(|unit| stem.contains(&format!("_{unit}")));
        assert!(unit.is_none_or(|unit| stem.ends_with(unit)), "{name}");
    }
}
