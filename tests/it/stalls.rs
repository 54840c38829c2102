//! A host, its modules' processes, or both are stopped and go on: nobody is blamed for time that nobody had.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Home, Program, Receiver, Scripted, Step, eventually, runs, send_signal};
use tokio::task::JoinSet;

const MISBEHAVING: &str = "webhooks_misbehaving";

/// Whoever is stopped.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stopped {
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
async fn pause(who: Stopped, host: u32, child: Option<u32>, time: Duration) {
    let whom: Vec<u32> = match who {
        Stopped::Host => vec![host],
        Stopped::Child => child.into_iter().collect(),
        Stopped::Both => child.into_iter().chain([host]).collect(),
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

/// Posts events one after the other in several lanes while the pauses go on; then all that were taken have arrived,
/// nothing hung, and a call that really hangs is given up.
async fn nothing_is_blamed(isolation: &str, pauses: &[(Stopped, Duration)]) {
    let mut receiver = Receiver::answering(200).await;
    let settings = format!("[modules]\nisolation = \"{isolation}\"\n");
    let host = Home::new(&settings, &[MISBEHAVING]).start_logging("info", &[]).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;
    let child = module(&host).await["process"]["pid"].as_u64().map(|pid| u32::try_from(pid).unwrap());
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut lanes = JoinSet::new();
    // Many events are under way in each of them.
    const AT_ONCE: usize = 50;
    for lane in 0..4_usize {
        let (url, token, account) = (format!("{}/events", host.url()), host.token(), account.clone());
        let stopped = stopped.clone();
        lanes.spawn(async move {
            let (http, mut taken) = (reqwest::Client::new(), Vec::new());
            let mut next = lane * AT_ONCE;
            while !*stopped.borrow() {
                let these = next..next + AT_ONCE;
                let events: Vec<Value> = these.clone().map(|nth| told_to("fire", &account, nth)).collect();
                let sent = http.post(&url).header("x-auth-token", &token).json(&events).send().await;
                if sent.is_ok_and(|answer| answer.status() == 202) {
                    taken.extend(these);
                }
                next += 4 * AT_ONCE;
            }
            taken
        });
    }
    for (who, time) in pauses {
        pause(*who, host.pid(), child, *time).await;
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

const SHORT: Duration = Duration::from_millis(1_300);
const LONG: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_host_that_is_stopped_blames_no_module_in_a_process_of_its_own() {
    let pauses =
        [(Stopped::Host, SHORT), (Stopped::Host, SHORT), (Stopped::Host, SHORT), (Stopped::Host, LONG)];
    nothing_is_blamed("process", &pauses).await;
}

#[tokio::test]
async fn a_modules_process_that_is_stopped_is_waited_for() {
    let pauses =
        [(Stopped::Child, SHORT), (Stopped::Child, SHORT), (Stopped::Child, SHORT), (Stopped::Child, LONG)];
    nothing_is_blamed("process", &pauses).await;
}

#[tokio::test]
async fn a_machine_that_stands_still_blames_nobody() {
    let pauses =
        [(Stopped::Both, SHORT), (Stopped::Both, SHORT), (Stopped::Both, SHORT), (Stopped::Both, LONG)];
    nothing_is_blamed("process", &pauses).await;
}

#[tokio::test]
async fn a_host_that_is_stopped_blames_no_module_within_it() {
    let pauses =
        [(Stopped::Host, SHORT), (Stopped::Host, SHORT), (Stopped::Host, SHORT), (Stopped::Host, LONG)];
    nothing_is_blamed("none", &pauses).await;
}

#[tokio::test]
async fn a_process_that_stays_stopped_is_replaced_and_costs_no_event() {
    let mut receiver = Receiver::answering(200).await;
    let host = Home::new("[modules]\nisolation = \"process\"\n", &[MISBEHAVING]).start().await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;
    let child = u32::try_from(module(&host).await["process"]["pid"].as_u64().unwrap()).unwrap();

    send_signal("STOP", child);
    let posted = host.ask("POST", "/events", Some(told_to("fire", &account, 7))).await;

    assert_eq!(posted.status, 202, "{}", posted.json);
    assert_eq!(receiver.next_request().await.json()["said"], 7);
    let after = module(&host).await;
    assert_eq!((&after["hung"], &after["process"]["deaths"]), (&json!(0), &json!(1)), "{after:#}");
    assert!(!runs(child));
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

    pause(Stopped::Host, host.pid(), None, Duration::from_secs(2)).await;

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
    pause(Stopped::Host, host.pid(), None, Duration::from_secs(3)).await;

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
