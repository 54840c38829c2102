//! A host, its modules' processes, or both are stopped and go on: nobody is blamed for time that nobody had.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lapin::Channel;
use serde_json::{Value, json};
use tests::{Broker, Home, Program, Published, Receiver, Scripted, Step, eventually, runs, send_signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

const MISBEHAVING: &str = "webhooks_misbehaving";

/// Whoever is stopped.
#[derive(Clone, Copy, Debug, PartialEq)]
enum StoppedProcess {
    Host,
    Child,
    Both,
}

async fn module(host: &Program) -> Value {
    host.ask("GET", &format!("/modules/{MISBEHAVING}"), None).await.json["data"].clone()
}

fn told_to(misdeed: &str, account: &str, nth: usize) -> Value {
    json!({
        "Event-Category": "misbehave", "Event-Name": "now", "Account-ID": account, "Do": misdeed, "Say": nth,
        "Msg-ID": format!("{misdeed} {nth}"),
    })
}

/// Stops who is to be stopped for as long, and lets it go on.
async fn pause(who: StoppedProcess, host: u32, child: Option<u32>, time: Duration) {
    let whom: Vec<u32> = match who {
        StoppedProcess::Host => vec![host],
        StoppedProcess::Child => child.into_iter().collect(),
        StoppedProcess::Both => child.into_iter().chain([host]).collect(),
    };
    for pid in &whom {
        send_signal("STOP", *pid);
    }
    // The stop itself has to take some time.
    tokio::time::sleep(time).await;
    for pid in whom.iter().rev() {
        send_signal("CONT", *pid);
    }
}

/// Many events are under way in each lane.
const AT_ONCE: usize = 50;
const LANES: usize = 4;

/// Sends events one lot after the other until told to stop; the numbers of those that were taken.
struct SendingLane {
    account: String,
    url: String,
    token: String,
    /// Where they are published, if they are not posted.
    broker: Option<(Arc<Broker>, Channel)>,
}

impl SendingLane {
    async fn send(self, lane: usize, stopped: watch::Receiver<bool>) -> Vec<usize> {
        let (http, mut taken) = (reqwest::Client::new(), Vec::new());
        let mut next = lane * AT_ONCE;
        while !*stopped.borrow() {
            let these = next..next + AT_ONCE;
            next += LANES * AT_ONCE;
            let events = these.clone().map(|nth| told_to("fire", &self.account, nth));
            let Some((broker, channel)) = &self.broker else {
                let events: Vec<Value> = events.collect();
                let sent =
                    http.post(&self.url).header("x-auth-token", &self.token).json(&events).send().await;
                if sent.is_ok_and(|answer| answer.status() == 202) {
                    taken.extend(these);
                }
                continue;
            };
            for event in events {
                let (key, body) = ("misbehave.now", event.to_string());
                broker.publish_raw(channel, "tests", key, body.as_bytes(), Published::Plain).await;
            }
            // Messages that the broker has are taken.
            taken.extend(these);
        }
        taken
    }
}

/// Events come one after the other in several lanes while the pauses go on; then all that were taken have arrived,
/// nothing hung, and a call that really hangs is given up.
async fn nothing_is_blamed(isolation: &str, broker: Option<Arc<Broker>>, pauses: &[StoppedProcess]) {
    let mut receiver = Receiver::answering(200).await;
    let mut settings = format!("[modules]\ncall_timeout_ms = {LIMIT_MS}\nisolation = \"{isolation}\"\n");
    if let Some(broker) = &broker {
        settings.push_str(&broker.settings("hookline"));
    }
    let host = Home::new(&settings, &[MISBEHAVING]).start_logging("info", &[]).await;
    host.ready(true).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;
    let child = module(&host).await["process"]["pid"].as_u64().map(|pid| u32::try_from(pid).unwrap());
    let (stop, stopped) = watch::channel(false);
    let mut lanes = JoinSet::new();
    for lane in 0..LANES {
        let broker = match &broker {
            None => None,
            Some(broker) => Some((Arc::clone(broker), broker.channel().await)),
        };
        let (url, token) = (format!("{}/events", host.url()), host.token());
        let sending = SendingLane { account: account.clone(), url, token, broker };
        lanes.spawn(sending.send(lane, stopped.clone()));
    }
    for who in pauses {
        pause(*who, host.pid(), child, STOP).await;
        // Something goes through in between.
        let before = module(&host).await["calls"].as_u64();
        eventually("events go on", || async {
            (module(&host).await["calls"].as_u64() > before).then_some(())
        })
        .await;
    }
    stop.send(true).unwrap();
    let taken: BTreeSet<usize> = lanes.join_all().await.into_iter().flatten().collect();
    assert!(!taken.is_empty());
    let mut arrived = BTreeSet::new();
    while !taken.is_subset(&arrived) {
        let said = receiver.next_request().await.json()["said"].as_u64().unwrap();
        arrived.insert(usize::try_from(said).unwrap());
    }
    let after = module(&host).await;
    assert_eq!(
        (&after["state"], &after["hung"], &after["failures"]),
        (&json!("active"), &json!(0), &json!(0)),
        "{after:#}"
    );
    if let Some(child) = child {
        assert!(runs(child), "the module's process was replaced: {after:#}");
        assert_eq!((&after["process"]["timeouts"], &after["process"]["deaths"]), (&json!(0), &json!(0)));
    }

    let hang = host.ask("POST", "/events", Some(told_to("hang", &account, 0)));
    let given_up =
        eventually("the call is given up", || async { (module(&host).await["hung"] == 1).then_some(()) });
    tokio::join!(hang, given_up);
}

/// How long a call may take, and how long somebody is stopped, which is longer than a call may take.
const LIMIT_MS: u64 = 300;
const STOP: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_host_that_is_stopped_blames_no_module_in_a_process_of_its_own() {
    nothing_is_blamed("process", None, &[StoppedProcess::Host; 4]).await;
}

#[tokio::test]
async fn a_modules_process_that_is_stopped_is_waited_for() {
    nothing_is_blamed("process", None, &[StoppedProcess::Child; 4]).await;
}

#[tokio::test]
async fn a_machine_that_stands_still_blames_nobody() {
    nothing_is_blamed("process", None, &[StoppedProcess::Both; 4]).await;
}

#[tokio::test]
async fn a_host_that_is_stopped_blames_no_module_within_it() {
    nothing_is_blamed("none", None, &[StoppedProcess::Host; 4]).await;
}

#[tokio::test]
async fn nobody_is_blamed_for_stops_of_either_while_messages_come_from_a_broker() {
    let pauses = [StoppedProcess::Child, StoppedProcess::Host, StoppedProcess::Both, StoppedProcess::Child];
    // Its own, as very many messages come.
    let broker = Arc::new(Broker::own().await);
    nothing_is_blamed("process", Some(broker), &pauses).await;
}

#[tokio::test]
async fn a_stop_is_said_once_with_how_long_it_took() {
    let host = Home::new("", &[]).start_logging("info", &[]).await;
    let stops = async || {
        let text = host.request("GET", "/metrics").send().await.unwrap().text().await.unwrap();
        let figure = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap().parse::<f64>().unwrap()
        };
        (figure("hookline_process_stops_total"), figure("hookline_process_stopped_seconds_total"))
    };
    let (before, seconds_before) = stops().await;

    pause(StoppedProcess::Host, host.pid(), None, Duration::from_secs(2)).await;

    let told = || async {
        let log = std::fs::read_to_string(host.folder().join("log")).unwrap();
        let lines: Vec<String> =
            log.lines().filter(|line| line.contains("stood still")).map(str::to_owned).collect();
        lines
            .iter()
            .any(|line| line.contains("stopped_ms=2") || line.contains("stopped_ms=19"))
            .then_some(lines)
    };
    eventually("the stop is told", told).await;
    let counted = || async { Some(stops().await).filter(|(stops, _)| *stops > before) };
    let (_, seconds) = eventually("the stop is counted", counted).await;
    assert!(seconds - seconds_before > 1.5, "{seconds} after {seconds_before}");
}

/// The endpoint answers while the host stands still for longer than it waits for answers.
#[tokio::test]
async fn an_answer_that_came_while_the_host_stood_still_counts() {
    let mut receiver = Receiver::answering_after_release(200).await;
    let settings = "[delivery]\nrequest_timeout_ms = 1000\nlog_successful_attempts = true\n";
    let host = Home::new(settings, &[MISBEHAVING]).start().await;
    let account = host.account("acme").await;
    let hook = host.hook(&account, "misbehaving", &receiver.url("/"), json!({"retries": 0})).await;
    host.ask("POST", "/events", Some(told_to("fire", &account, 1))).await;
    receiver.next_request().await;
    send_signal("STOP", host.pid());
    receiver.release();
    // The stop itself has to take some time.
    tokio::time::sleep(Duration::from_secs(3)).await;
    send_signal("CONT", host.pid());

    host.owes_nothing().await;

    let path = format!("/v2/accounts/{account}/webhooks/{hook}/attempts");
    let classes = || async {
        let attempts = host.ask("GET", &path, None).await.json["data"].as_array().unwrap().clone();
        let classes: Vec<Value> = attempts.iter().map(|attempt| attempt["class"].clone()).collect();
        (!classes.is_empty()).then_some(classes)
    };
    assert_eq!(eventually("its attempt is kept", classes).await, [json!("delivered")]);
    assert!(receiver.waiting().is_empty());
}

/// The endpoint gives up a connection over which nothing comes for a second. That is this machine's doing: it uses up no
/// try, not even where there is only one.
#[tokio::test]
async fn a_connection_that_is_lost_while_the_host_stands_still_counts_against_nobody() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let given_up = vec![Step::ReadHead, Step::ReadBody, Step::Pause(Duration::from_secs(1)), Step::Reset];
    let answered = vec![Step::ReadHead, Step::ReadBody, Step::write(answer), Step::Again];
    let mut endpoint = Scripted::following(vec![given_up, answered]).await;
    let host = Home::new("", &[MISBEHAVING]).start().await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &endpoint.url("/"), json!({"retries": 0})).await;
    host.ask("POST", "/events", Some(told_to("fire", &account, 1))).await;
    endpoint.next_request().await;
    pause(StoppedProcess::Host, host.pid(), None, Duration::from_secs(3)).await;

    endpoint.next_request().await;

    host.owes_nothing().await;
    assert_eq!(host.ask("GET", "/deliveries?status=dead", None).await.json["data"], json!([]));
    let troubles = || async {
        let text = host.request("GET", "/metrics").send().await.unwrap().text().await.unwrap();
        text.contains("hookline_local_troubles_total{kind=\"stopped\"} 1").then_some(())
    };
    eventually("it is counted as this machine's trouble", troubles).await;
}

/// Whoever reads the log stalls: lines are lost and counted, and nothing waits for them.
#[tokio::test]
async fn a_log_that_nobody_reads_holds_nothing_up() {
    let mut receiver = Receiver::answering(200).await;
    let home = Home::new("", &[MISBEHAVING]);
    let mut command = home.run();
    command.env("RUST_LOG", "trace");
    // Its stderr is a pipe that nobody reads before its end.
    let host = home.start_as(command).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;
    let mut fired = told_to("fire", &account, 0);
    fired.as_object_mut().unwrap().remove("Msg-ID");
    let lost = || async {
        let many: Vec<Value> = (0..500).map(|_| fired.clone()).collect();
        assert_eq!(host.ask("POST", "/events", Some(many.into())).await.status, 202);
        let text = host.request("GET", "/metrics").send().await.unwrap().text().await.unwrap();
        let figure = text.lines().find_map(|line| line.strip_prefix("hookline_log_lines_lost_total "));
        (figure.unwrap() != "0").then_some(())
    };
    eventually("lines are lost", lost).await;

    host.owes_nothing().await;
    receiver.waiting();
    for nth in 1..20 {
        assert_eq!(host.ask("POST", "/events", Some(told_to("fire", &account, nth))).await.status, 202);
        assert_eq!(receiver.next_request().await.json()["said"], nth);
    }
    let (ended, _) = host.signalled("TERM").await;
    assert_eq!(ended.code, Some(0), "nor does the end wait for long");
}
