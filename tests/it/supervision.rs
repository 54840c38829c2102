//! Bugs in the host itself: a panic in any child leaves the hook table whole and the host serving.

use serde_json::json;
use tests::{Receiver, TestHost, call_event, hookline};

#[track_caller]
fn survives_a_panic_in(child: &'static str) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        let mut receiver = Receiver::answering(200).await;
        let host = TestHost::with_modules(&["webhooks_channel_create"]).await;
        let account = host.account("acme").await;
        host.hook(&account, "channel_create", &receiver.url("/"), json!({})).await;

        assert!(host.inside().children.inject_panic(child), "{place}: there is no child {child}");
        host.restart_of(child).await;

        assert_eq!(host.inside().parts.hooks.table.len(), 1, "{place}");
        host.publish(call_event("CHANNEL_CREATE", &account, "after")).await;
        assert_eq!(receiver.next_request().await.json()["call_id"], "after", "{place}");
        host.stop().await;
    }
}

#[tokio::test]
async fn a_panic_in_the_api() {
    survives_a_panic_in("api").await;
}

#[tokio::test]
async fn a_panic_in_the_disabler() {
    survives_a_panic_in("disabler").await;
}

#[tokio::test]
async fn a_panic_in_delivery() {
    survives_a_panic_in("delivery").await;
}

#[tokio::test]
async fn a_panic_in_replays() {
    survives_a_panic_in("replays").await;
}

#[tokio::test]
async fn a_panic_in_modules() {
    survives_a_panic_in("modules").await;
}

#[tokio::test]
async fn a_panic_in_the_shared_listener() {
    survives_a_panic_in("shared_listener").await;
}

#[tokio::test]
async fn a_panic_in_the_bus() {
    survives_a_panic_in("bus").await;
}

#[tokio::test]
async fn requests_in_flight_when_delivery_panics_are_sent_again() {
    let mut receiver = Receiver::answering_after_release(200).await;
    let host = TestHost::with_modules(&["webhooks_channel_create"]).await;
    let account = host.account("acme").await;
    host.hook(&account, "channel_create", &receiver.url("/"), json!({})).await;
    host.publish(call_event("CHANNEL_CREATE", &account, "in flight")).await;
    let first = receiver.next_request().await;

    host.inside().children.inject_panic("delivery");
    host.restart_of("delivery").await;
    receiver.release();

    let second = receiver.next_request().await;
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
}

#[tokio::test]
async fn children_start_in_the_order_of_the_way_of_an_event_and_are_all_running() {
    let host = TestHost::with_modules(&[]).await;
    let children = host.inside().children.children();
    let names: Vec<&str> = children.iter().map(|child| child.name.as_str()).collect();
    let expected =
        ["api", "disabler", "delivery", "replays", "modules", "module_replays", "shared_listener", "bus"];
    assert_eq!(names, expected);
}

#[tokio::test]
async fn a_child_that_keeps_crashing_ends_the_host() {
    let host = TestHost::with_modules(&[]).await;
    let children = host.inside().children.clone();

    let error = host.crash_until_the_end("delivery").await;

    assert!(error.contains("delivery was restarted too often"), "{error}");
    assert!(
        children.children().iter().all(|child| child.state == hookline::supervision::ChildPhase::Stopped)
    );
}

#[tokio::test]
async fn the_program_itself_has_no_panics_on_demand() {
    let mut search = tokio::process::Command::new("grep");
    search.args(["--quiet", "--text", "--fixed-strings", "injected into "]).arg(hookline());
    assert_eq!(search.status().await.unwrap().code(), Some(1), "it was built with the feature drills");
}
