//! What a hook's secret does: to requests, in answers, at rest, and while it is replaced.

use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tests::{Home, Receiver, TestHost, call_event, cdylib, say_with_input};

const CREATE: &[&str] = &["webhooks_channel_create"];
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn create(account: &str, call_id: &str) -> Value {
    call_event("CHANNEL_CREATE", account, call_id)
}

async fn change(host: &TestHost, path: &str, fields: Value) -> Value {
    let answer = host.ask("PATCH", path, Some(json!({"data": fields}))).await;
    assert_eq!(answer.status, 200, "{}", answer.json);
    answer.json["data"].clone()
}

/// A host with one account and one hook, and the path of the hook.
async fn room(settings: &str, uri: &str, more: Value) -> (TestHost, String, String) {
    let host = TestHost::configured(settings, CREATE).await;
    let account = host.account("acme").await;
    let hook = host.hook(&account, "channel_create", uri, more).await;
    let path = format!("/v2/accounts/{account}/webhooks/{hook}");
    (host, account, path)
}

fn verifies(secret: &str, body: &[u8], headers: &HeaderMap) -> bool {
    Webhook::new(secret).unwrap().verify(body, headers).is_ok()
}

#[tokio::test]
async fn a_signed_request_passes_the_specifications_own_library() {
    let mut receiver = Receiver::answering(200).await;
    let (host, account, path) = room("", &receiver.url("/"), json!({})).await;
    host.publish(create(&account, "before")).await;
    let unsigned = receiver.next_request().await;

    let secret = change(&host, &path, json!({"secret": "generate"})).await["secret"].clone();
    host.publish(create(&account, "after")).await;

    assert_eq!(unsigned.header("webhook-signature"), "");
    let signed = receiver.next_request().await;
    assert!(verifies(secret.as_str().unwrap(), &signed.body, &signed.headers));
    assert!(!verifies(SECRET, &signed.body, &signed.headers));
    assert!(!verifies(secret.as_str().unwrap(), b"{}", &signed.headers));
}

#[tokio::test]
async fn a_replaced_secret_signs_beside_the_new_one_and_a_removed_one_does_not() {
    let mut receiver = Receiver::answering(200).await;
    let (host, account, path) = room("", &receiver.url("/"), json!({"secret": SECRET})).await;

    let changed = change(&host, &path, json!({"secret": "generate"})).await;
    host.publish(create(&account, "rotating")).await;
    let both = receiver.next_request().await;
    change(&host, &path, json!({"secret": null})).await;
    host.publish(create(&account, "removed")).await;
    let none = receiver.next_request().await;

    assert!(changed["old_secret_until"].as_str().is_some_and(|until| until.ends_with('Z')), "{changed}");
    for secret in [SECRET, changed["secret"].as_str().unwrap()] {
        assert!(verifies(secret, &both.body, &both.headers), "{}", both.header("webhook-signature"));
    }
    assert_eq!(both.header("webhook-signature").split(' ').count(), 2);
    assert_eq!(none.header("webhook-signature"), "");
}

#[tokio::test]
async fn without_overlap_only_the_new_secret_signs() {
    let mut receiver = Receiver::answering(200).await;
    let settings = "[delivery]\nsecret_overlap_ms = 0\n";
    let (host, account, path) = room(settings, &receiver.url("/"), json!({"secret": SECRET})).await;

    let changed = change(&host, &path, json!({"secret": "generate-v1a"})).await;
    host.publish(create(&account, "rotated")).await;

    let request = receiver.next_request().await;
    let signature = request.header("webhook-signature");
    assert!(signature.starts_with("v1a,") && !signature.contains(' '), "{signature}");
    assert!(changed["public_key"].as_str().is_some_and(|key| key.starts_with("whpk_")), "{changed}");
    assert!(changed["secret"].as_str().is_some_and(|key| key.starts_with("whsk_")), "{changed}");
}

#[tokio::test]
async fn a_secret_is_shown_by_the_request_that_sets_it_and_never_again() {
    let receiver = Receiver::answering(200).await;
    let host = TestHost::with_modules(CREATE).await;
    let account = host.account("acme").await;
    let hooks = format!("/v2/accounts/{account}/webhooks");
    let new = json!({"name": "n", "hook": "channel_create", "uri": receiver.url("/"), "secret": SECRET});

    let made = host.ask("PUT", &hooks, Some(json!({"data": new}))).await.json["data"].clone();
    let path = format!("{hooks}/{}", made["id"].as_str().unwrap());
    let got = host.ask("GET", &path, None).await.json;
    let listed = host.ask("GET", &hooks, None).await.json;
    let served = host.ask("GET", "/hooks", None).await.json;
    let renamed = change(&host, &path, json!({"name": "other"})).await;
    // A client that sends back what it got changes nothing but what it changed.
    let replaced = host.ask("POST", &path, Some(json!({"data": got["data"]}))).await.json;
    let deleted = host.ask("DELETE", &path, None).await.json;

    assert_eq!((&made["secret"], &made["secret_set"]), (&json!(SECRET), &json!(true)));
    assert_eq!(got["data"]["secret_set"], true);
    assert_eq!(replaced["data"]["secret_set"], true);
    assert!(replaced["data"].get("old_secret_until").is_none());
    for answer in [got, listed, served, renamed, replaced, deleted] {
        let text = answer.to_string();
        assert!(!text.contains("MfKQ9r8G") && !text.contains("sealed"), "{text}");
    }
}

#[tokio::test]
async fn a_wrong_secret_is_refused_and_not_repeated() {
    let receiver = Receiver::answering(200).await;
    let (host, _, path) = room("", &receiver.url("/"), json!({})).await;

    let answer = host.ask("PATCH", &path, Some(json!({"data": {"secret": "whsec_tooshort"}}))).await;

    assert_eq!(answer.status, 400);
    assert!(answer.json["data"]["secret"]["error"]["message"].is_string(), "{}", answer.json);
    assert!(!answer.json.to_string().contains("tooshort"), "{}", answer.json);
}

#[tokio::test]
async fn a_secret_survives_a_restart_and_stands_nowhere_in_clear() {
    let mut receiver = Receiver::answering(200).await;
    let (host, account, _) = room("", &receiver.url("/"), json!({"secret": SECRET})).await;

    let stopped = host.stopped().await;
    let data = stopped.folder().join("data");
    let mut files = 0;
    for file in
        std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file())
    {
        let bytes = std::fs::read(&file).unwrap();
        assert!(!bytes.windows(8).any(|part| part == b"MfKQ9r8G"), "{}", file.display());
        files += 1;
    }
    let host = stopped.start().await;
    host.publish(create(&account, "after")).await;

    let request = receiver.next_request().await;
    assert!(files >= 3 && data.join("secrets.key").is_file());
    assert!(verifies(SECRET, &request.body, &request.headers));
}

#[tokio::test]
async fn a_lost_key_keeps_the_host_from_starting_and_no_hook_is_sent_to_unsigned() {
    let mut receiver = Receiver::answering(200).await;
    let at_once = "[delivery]\nretry_schedule_ms = [1]\n";
    let (host, account, path) = room(at_once, &receiver.url("/"), json!({"secret": SECRET})).await;
    let hook = path.rsplit('/').next().unwrap().to_owned();
    let stopped = host.stopped().await;
    let key = stopped.folder().join("data/secrets.key");
    std::fs::remove_file(&key).unwrap();

    let all_the_same = format!("[store]\nstart_with_lost_secrets = true\n{at_once}");
    let host = stopped.start_configured(&all_the_same).await.expect("it was told to start");
    host.publish(create(&account, "locked")).await;
    host.settled().await;
    assert!(receiver.waiting().is_empty());
    assert_eq!(host.inside().parts.stores.ledger.counts().await.unwrap().dead, 1);

    // The key that was made meanwhile is another one, so the host does not start as it should.
    let refusal = host.stopped().await.start_configured("").await.err().expect("a refusal");
    let refusal = format!("{refusal:#}");
    for part in [hook.as_str(), key.to_str().unwrap(), account.as_str(), "start_with_lost_secrets"] {
        assert!(refusal.contains(part), "{part} is missing in: {refusal}");
    }
}

#[tokio::test]
async fn a_new_secret_heals_a_hook_whose_old_one_is_lost() {
    let mut receiver = Receiver::answering(200).await;
    let (host, account, path) = room("", &receiver.url("/"), json!({"secret": SECRET})).await;
    let stopped = host.stopped().await;
    std::fs::remove_file(stopped.folder().join("data/secrets.key")).unwrap();
    let host = stopped.start_configured("store.start_with_lost_secrets = true\n").await.unwrap();

    let secret = change(&host, &path, json!({"secret": "generate"})).await["secret"].clone();
    host.publish(create(&account, "healed")).await;

    let request = receiver.next_request().await;
    assert!(verifies(secret.as_str().unwrap(), &request.body, &request.headers));
    assert!(!request.header("webhook-signature").contains(' '));
}

#[tokio::test]
async fn headers_of_a_hooks_own_and_the_older_signature_go_along_in_both_profiles() {
    for settings in ["", "[delivery]\nprofile = \"kazoo\"\n"] {
        let mut receiver = Receiver::answering(200).await;
        let more = json!({"secret": SECRET, "legacy_signature": true,
            "headers": {"Authorization": "Bearer b", "X-Tenant": "blue"}});
        let (host, account, _) = room(settings, &receiver.url("/"), more).await;

        host.publish(create(&account, "call-1")).await;

        let request = receiver.next_request().await;
        assert_eq!((request.header("authorization"), request.header("x-tenant")), ("Bearer b", "blue"));
        assert!(verifies(SECRET, &request.body, &request.headers));
        let older = request.header("x-hub-signature-256");
        assert!(older.strip_prefix("sha256=").is_some_and(|hex| hex.len() == 64), "{older}");
    }
}

#[tokio::test]
async fn a_header_that_is_not_a_hooks_to_set_is_a_validation_error() {
    let receiver = Receiver::answering(200).await;
    let (host, _, path) = room("", &receiver.url("/"), json!({})).await;

    let headers = json!({"Host": "internal", "webhook-id": "mine", "X-Fine": "v", "X-Bad": "a\r\nb: c"});
    let answer = host.ask("PATCH", &path, Some(json!({"data": {"headers": headers}}))).await;

    assert_eq!((answer.status.as_u16(), &answer.json["message"]), (400, &json!("validation error")));
    let mut wrong: Vec<&String> = answer.json["data"].as_object().unwrap().keys().collect();
    wrong.sort();
    assert_eq!(wrong, ["headers.Host", "headers.X-Bad", "headers.webhook-id"]);
}

#[tokio::test]
async fn try_signs_with_a_secret_in_clear_and_passes_over_an_encrypted_one() {
    let home = Home::new("", &[]);
    let hook = |id: &str, secret: (&str, Value)| {
        json!({"_id": id, "pvt_account_id": "a1", "hook": "channel_create", "uri": "https://x.example/",
            "format": "json", secret.0: secret.1})
    };
    let hooks = json!([hook("h1", ("secret", json!(SECRET))), hook("h2", ("pvt_secrets", json!([{}])))]);
    std::fs::write(home.path("hooks.json"), hooks.to_string()).unwrap();
    std::fs::write(home.path("accounts.json"), r#"[{"_id": "a1", "pvt_tree": []}]"#).unwrap();
    let file = |name: &str| home.path(name).display().to_string();
    let (module, hooks, accounts) =
        (cdylib(CREATE[0]).display().to_string(), file("hooks.json"), file("accounts.json"));

    let args = ["try", "--plugin", &module, "--event", "-", "--hooks", &hooks, "--accounts", &accounts];
    let said = say_with_input(&args, &create("a1", "call-1").to_string()).await;

    let request: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("one line: {said:?}"));
    let header = |name: &str| request["headers"][name].as_str().unwrap();
    let expected = Webhook::new(SECRET).unwrap().sign(
        header("webhook-id"),
        header("webhook-timestamp").parse().unwrap(),
        request["body"].as_str().unwrap().as_bytes(),
    );
    assert_eq!(
        (&request["hook_id"], header("webhook-signature")),
        (&json!("h1"), expected.unwrap().as_str())
    );
    assert!(said.err.contains("hook h2 is passed over: not signed"), "{}", said.err);
}
