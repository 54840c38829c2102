//! How a host ends that was told to: what is under way lands or is saved, within a stated time.

use serde_json::{Value, json};
use tests::{Home, Program, Receiver};

const MODULE: &[&str] = &["webhooks_misbehaving"];

/// No request ends by itself within a test.
const PATIENT: &str = "[delivery]\nrequest_timeout_ms = 3600000\n";

fn fire(account: &str, say: &str) -> Value {
    json!({"Event-Category": "misbehave", "Event-Name": "now", "Account-ID": account, "Do": "fire", "Say": say})
}

/// A host with one request under way, and the `webhook-id` of that.
async fn with_a_request_under_way(settings: &str, receiver: &mut Receiver) -> (Program, String) {
    let program = Home::new(settings, MODULE).start().await;
    let account = program.account("acme").await;
    program.hook(&account, "misbehaving", &receiver.url("/"), json!({"retries": 4})).await;
    let taken = program.ask("POST", "/events", Some(fire(&account, "under way"))).await;
    assert_eq!(taken.status, 202, "{}", taken.json);
    let id = receiver.next_request().await.header("webhook-id").to_owned();
    (program, id)
}

#[tokio::test]
async fn a_stop_takes_nothing_more_and_lets_what_is_under_way_land() {
    let mut receiver = Receiver::answering_after_release(200).await;
    let (program, _) = with_a_request_under_way(PATIENT, &mut receiver).await;

    program.signal("TERM").await;
    let reasons = program.ready(false).await;
    let refused = program.ask("POST", "/events", Some(fire("any", "too late"))).await;
    receiver.release();
    let (said, home) = program.ended().await;

    assert!(reasons.to_string().contains("the host is stopping"), "{reasons}");
    assert_eq!(refused.status, 503, "{}", refused.json);
    assert_eq!(said.code, Some(0), "{said:?}");
    let again = home.start().await;
    again.owes_nothing().await;
    assert!(receiver.waiting().is_empty(), "what had landed was sent again");
}

/// What ends this host breaks its request off; the next start repeats it.
async fn breaks_off_and_repeats(settings: &str, signals: &[&str]) {
    let mut receiver = Receiver::answering_after_release(200).await;
    let (program, id) = with_a_request_under_way(settings, &mut receiver).await;

    for signal in signals {
        program.signal(signal).await;
        program.ready(false).await;
    }
    let (said, home) = program.ended().await;

    assert_eq!(said.code, Some(0), "{said:?}");
    let again = home.start().await;
    assert_eq!(receiver.next_request().await.header("webhook-id"), id);
    receiver.release();
    drop(again);
}

#[tokio::test]
async fn a_second_signal_ends_the_host_at_once() {
    breaks_off_and_repeats(&format!("stop_timeout_ms = 3600000\n{PATIENT}"), &["TERM", "TERM"]).await;
}

#[tokio::test]
async fn a_stop_takes_no_longer_than_its_setting_says() {
    breaks_off_and_repeats(&format!("stop_timeout_ms = 300\n{PATIENT}"), &["TERM"]).await;
}

#[tokio::test]
async fn a_stop_at_an_interrupt_is_one_too() {
    breaks_off_and_repeats(&format!("stop_timeout_ms = 0\n{PATIENT}"), &["INT"]).await;
}
