//! A sample sent to a hook because its owner asked: what arrives, what is answered, and what it leaves alone.

use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tests::{Answer, Home, Receiver, TestHost, call_event, eventually, say, say_with_input};

const MODULES: &[&str] = &["webhooks_channel_create", "webhooks_object", "webhooks_misbehaving"];
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

async fn send_test(host: &TestHost, account: &str, hook: &str, data: Value) -> Answer {
    let path = format!("/v2/accounts/{account}/webhooks/{hook}/test");
    host.ask("POST", &path, Some(json!({"data": data}))).await
}

async fn sample(host: &TestHost, module: &str, nth: usize) -> Value {
    host.ask("GET", &format!("/v2/webhooks/samples/{module}"), None).await.json["data"][nth].clone()
}

#[tokio::test]
async fn a_test_arrives_as_an_event_of_the_hook_would_signed_and_marked() {
    let mut receiver = Receiver::answering_with(&[202], "x-seen", "yes").await;
    let host = TestHost::with_modules(MODULES).await;
    let account = host.account("acme").await;
    let more = json!({"secret": SECRET, "headers": {"x-tenant": "blue"}, "custom_data": {"desk": "front"}});
    let hook = host.hook(&account, "channel_create", &receiver.url("/in"), more).await;

    // Nothing in the body at all.
    let path = format!("/v2/accounts/{account}/webhooks/{hook}/test");
    let answer = host.ask("POST", &path, None).await;

    assert_eq!(answer.status, 200, "{}", answer.json);
    let request = receiver.next_request().await;
    let mut expected = sample(&host, "webhooks_channel_create", 0).await;
    expected["account_id"] = json!(account);
    expected["desk"] = json!("front");
    let mut body = request.json();
    assert!(body.as_object_mut().unwrap().remove("cluster_id").is_some());
    assert_eq!(body, expected);
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/in"));
    assert_eq!((request.header("webhook-test"), request.header("x-tenant")), ("true", "blue"));
    assert_eq!((request.header("x-hook-id"), request.header("x-account-id")), (&*hook, &*account));
    assert!(request.header("webhook-id").starts_with("test_"), "{}", request.header("webhook-id"));
    assert!(Webhook::new(SECRET).unwrap().verify(&request.body, &request.headers).is_ok());
    let shown = &answer.json["data"];
    assert_eq!((&shown["result"], &shown["resp_status_code"]), (&json!("success"), &json!(202)));
    assert_eq!((&shown["test"], &shown["delivery_id"]), (&json!(true), &Value::Null));
    assert_eq!(shown["webhook_id"], request.header("webhook-id"));
    assert_eq!(
        (&shown["req_body"], &shown["resp_headers"]["x-seen"]),
        (&json!(request.text()), &json!("yes"))
    );
    assert_eq!(shown["req_headers"]["x-tenant"], "***");
}

#[tokio::test]
async fn a_test_is_in_the_attempts_also_where_successes_are_not_kept_and_in_no_other_list() {
    let mut receiver = Receiver::answering_in_turn(&[200, 500]).await;
    for profile in ["standard", "kazoo"] {
        let host = TestHost::configured(&format!("delivery.profile = \"{profile}\"\n"), MODULES).await;
        let account = host.account("acme").await;
        let more = json!({"http_verb": "get", "retries": 4});
        let hook = host.hook(&account, "channel_create", &receiver.url("/"), more).await;

        for expected in ["success", "failure"] {
            let answer = send_test(&host, &account, &hook, json!({})).await;
            assert_eq!((answer.status.as_u16(), &answer.json["data"]["result"]), (200, &json!(expected)));
            let request = receiver.next_request().await;
            assert_eq!((request.method.as_str(), request.header("webhook-test")), ("GET", "true"));
            assert!(request.query.unwrap().contains("hook_event=channel_create"));
        }

        let path = format!("/v2/accounts/{account}/webhooks/{hook}/attempts?ascending=true");
        let attempts = eventually("the tests are in the attempts", || async {
            let attempts = host.ask("GET", &path, None).await.json["data"].as_array().unwrap().clone();
            (attempts.len() == 2).then_some(attempts)
        });
        for (attempt, expected) in attempts.await.iter().zip(["success", "failure"]) {
            assert_eq!((&attempt["test"], &attempt["result"]), (&json!(true), &json!(expected)), "{attempt}");
        }
        assert_eq!(host.ask("GET", "/deliveries", None).await.json["data"], json!([]));
        assert!(receiver.waiting().is_empty(), "a test was tried again");
        receiver = Receiver::answering_in_turn(&[200, 500]).await;
    }
}

#[tokio::test]
async fn a_test_counts_neither_for_nor_against_its_hook_and_goes_around_a_pause() {
    let mut receiver = Receiver::answering_in_turn(&[410, 500, 200]).await;
    let settings = "disabler.attempt_failure_count = 1\ndisabler.pause_first_ms = 3600000\n";
    let host = TestHost::configured(settings, MODULES).await;
    let account = host.account("acme").await;
    let hook = host.hook(&account, "channel_create", &receiver.url("/"), json!({})).await;

    let gone = send_test(&host, &account, &hook, json!({})).await;
    assert_eq!(
        (&gone.json["data"]["result"], &gone.json["data"]["retries_left"]),
        (&json!("failure"), &json!(0))
    );
    assert_eq!(host.ask("GET", "/failures", None).await.json["data"], json!([]));
    let shown = host.ask("GET", &format!("/v2/accounts/{account}/webhooks/{hook}"), None).await;
    assert_ne!(shown.json["data"]["enabled"], false, "a test that was answered 410 switched the hook off");

    host.publish(call_event("CHANNEL_CREATE", &account, "one")).await;
    let failing = || async {
        let failing = host.ask("GET", "/failures", None).await.json["data"][0].clone();
        (failing["state"] == "paused").then_some(failing)
    };
    let before = eventually("the hook is paused", failing).await;
    let well = send_test(&host, &account, &hook, json!({})).await;
    assert_eq!(well.json["data"]["result"], "success");
    assert_eq!(host.ask("GET", "/failures", None).await.json["data"][0], before);
    assert_eq!(receiver.waiting().len(), 3);
}

#[tokio::test]
async fn a_disabled_hook_can_be_tested_and_an_address_that_is_guarded_is_not_spoken_to() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::with_modules(MODULES).await;
    let account = host.account("acme").await;
    let hook = host.hook(&account, "channel_create", &receiver.url("/"), json!({"enabled": false})).await;

    let answer = send_test(&host, &account, &hook, json!({})).await;
    assert_eq!(answer.json["data"]["result"], "success");
    receiver.next_request().await;

    let guarded = host.stopped().await.start_configured("[delivery]\nallow_targets = []\n").await.unwrap();
    let answer = send_test(&guarded, &account, &hook, json!({})).await;
    assert_eq!((answer.status.as_u16(), &answer.json["data"]["class"]), (200, &json!("guard")));
    let reason = answer.json["data"]["reason"].as_str().unwrap();
    assert!(reason.contains("127.0.0.1") && reason.contains("allow_targets"), "{reason}");
    assert!(receiver.waiting().is_empty());
}

#[tokio::test]
async fn a_sample_is_chosen_and_where_there_is_none_a_payload_is_wanted() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::with_modules(MODULES).await;
    let account = host.account("acme").await;
    let device = json!({"custom_data": {"type": "device", "action": "all"}});
    let object = host.hook(&account, "object", &receiver.url("/"), device).await;
    let all = host.hook(&account, "all", &receiver.url("/"), json!({})).await;
    let bare = host.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;

    for (hook, data, field, expected) in [
        (&object, json!({}), "type", "device"),
        (&object, json!({"sample": 0}), "type", "user"),
        (&object, json!({"sample": {"action": "doc_edited"}}), "type", "callflow"),
        (&all, json!({}), "hook_event", "channel_create"),
        (&all, json!({"hook": "object"}), "hook_event", "object"),
        (&bare, json!({"payload": {"said": "hello"}}), "said", "hello"),
    ] {
        let answer = send_test(&host, &account, hook, data).await;
        assert_eq!(answer.status, 200, "{}", answer.json);
        assert_eq!(receiver.next_request().await.json()[field], expected);
    }
    for (hook, data, field) in [
        (&bare, json!({}), "hook"),
        (&object, json!({"hook": "channel_create"}), "hook"),
        (&all, json!({"hook": "sms"}), "hook"),
        (&object, json!({"sample": 99}), "sample"),
        (&object, json!({"smaple": 0}), "smaple"),
    ] {
        let answer = send_test(&host, &account, hook, data).await;
        assert_eq!((answer.status.as_u16(), &answer.json["message"]), (400, &json!("validation error")));
        assert!(answer.json["data"][field].is_object(), "{}", answer.json);
    }
    assert_eq!(send_test(&host, &account, "nothing", json!({})).await.status, 404);
    let other = host.account("other").await;
    assert_eq!(send_test(&host, &other, &bare, json!({"payload": {}})).await.status, 404);
    assert!(receiver.waiting().is_empty());
}

#[tokio::test]
async fn one_test_of_a_hook_is_under_way_at_a_time() {
    let mut receiver = Receiver::answering_after_release(200).await;
    let host = TestHost::with_modules(MODULES).await;
    let account = host.account("acme").await;
    let hook = host.hook(&account, "channel_create", &receiver.url("/"), json!({})).await;

    let first = send_test(&host, &account, &hook, json!({}));
    let rest = async {
        receiver.next_request().await;
        let second = send_test(&host, &account, &hook, json!({})).await;
        receiver.release();
        second
    };
    let (first, second) = tokio::join!(first, rest);

    assert_eq!((second.status.as_u16(), &second.json["message"]), (409, &json!("test_under_way")));
    assert_eq!(first.json["data"]["result"], "success");
    assert_eq!(send_test(&host, &account, &hook, json!({})).await.status, 200);
}

#[tokio::test]
async fn the_command_line_sends_a_test_and_says_by_its_exit_code_how_it_went() {
    let mut receiver = Receiver::answering_in_turn(&[200, 200, 503]).await;
    let program = Home::new("", MODULES).start().await;
    let account = program.account("acme").await;
    let hook = program.hook(&account, "channel_create", &receiver.url("/in"), json!({})).await;
    let (url, token) = (program.url().to_owned(), program.token());
    let words = ["hooks", "test", "--account", &account, "--hook", &hook, "--url", &url, "--token", &token];

    let shown = say(&words).await.success();
    assert!(shown.starts_with(&format!("POST {}\n", receiver.url("/in"))), "{shown}");
    for part in ["webhook-test: true", "webhook-id: test_", "success, status 200, after"] {
        assert!(shown.contains(part), "{part} is missing in {shown}");
    }
    assert_eq!(receiver.next_request().await.json()["hook_event"], "channel_create");

    let own = [&words[..], &["--payload", "-", "--json"]].concat();
    let answer = say_with_input(&own, r#"{"said": "hello"}"#).await.success();
    assert_eq!(serde_json::from_str::<Value>(&answer).unwrap()["result"], "success");
    assert_eq!(receiver.next_request().await.json()["said"], "hello");

    let failed = say(&words).await;
    assert_eq!(failed.code, Some(1));
    assert!(failed.err.contains("status 503"), "{}", failed.err);
    let nobody = say(&["hooks", "test", "--hook", &hook, "--url", &url, "--token", &token]).await;
    assert!(nobody.one_line_failure().contains("--account"));
    let audit = program.ask("GET", "/audit", None).await.json["data"][0].clone();
    assert_eq!((&audit["action"], &audit["document"]), (&json!("webhook.test"), &json!(hook)));
}
