//! What Monster UI's webhooks app sends, request by request, and what it makes of the answers.

use serde_json::{Value, json};
use tests::{Answer, Home, Program, Receiver, call_event};

/// Monster UI itself is on another host than the API.
const PAGE: &str = "https://ui.example.com";

const SETTINGS: &str = "[api]\ncors_origins = [\"https://ui.example.com\"]\n\
                        [delivery]\nallow_targets = [\"127.0.0.1/32\"]\nlog_successful_attempts = true\n";

const MODULES: &[&str] = &["webhooks_channel_create", "webhooks_object"];

/// The app, logged in to an account.
struct Ui {
    host: Program,
    account: String,
    token: String,
}

async fn logged_in() -> Ui {
    let host = Home::new(SETTINGS, MODULES).start().await;
    let account = host.account("acme").await;
    let made = host.ask("PUT", &format!("/v2/accounts/{account}/api_key"), None).await;
    let key = made.json["data"]["api_key"].as_str().expect("a key").to_owned();
    let request = host.request("PUT", "/v2/api_auth").header("origin", PAGE);
    let answer = Answer::of(request.json(&json!({"data": {"api_key": key}}))).await;
    assert_eq!(answer.status, 201, "{}", answer.json);
    let token = answer.json["auth_token"].as_str().expect("a token").to_owned();
    Ui { host, account, token }
}

impl Ui {
    /// A request of jQuery's, with the headers that the app sets.
    async fn call(&self, method: &str, path: &str, data: Option<Value>) -> Answer {
        let path = path.replace("{accountId}", &self.account);
        let request = self.host.request(method, &format!("/v2{path}"));
        let request = request
            .header("origin", PAGE)
            .header("accept", "application/json, text/javascript, */*; q=0.01")
            .header("content-type", "application/json")
            .header("x-auth-token", &self.token)
            .header("x-kazoo-cluster-id", "0123456789abcdef0123456789abcdef");
        let answer = Answer::of(match data {
            Some(data) => request.json(&json!({"data": data, "accept_charges": true})),
            None => request,
        })
        .await;
        assert_eq!(answer.headers["access-control-allow-origin"], PAGE, "the browser keeps it from the page");
        for field in ["request_id", "status", "node", "timestamp", "version", "auth_token"] {
            assert!(answer.json[field].is_string(), "{field}: {}", answer.json);
        }
        assert!(answer.json["tokens"]["remaining"].is_number(), "{}", answer.json);
        answer
    }

    async fn done(&self, method: &str, path: &str, data: Option<Value>) -> Value {
        let answer = self.call(method, path, data).await;
        assert!(answer.status.is_success(), "{method} {path}: {}", answer.json);
        assert!(answer.json["revision"].is_string(), "{}", answer.json);
        answer.json["data"].clone()
    }

    /// The hook as it is when its form is saved.
    async fn saved(&self, form: Value) -> Value {
        self.done("PUT", "/accounts/{accountId}/webhooks", Some(form)).await
    }
}

/// The form of a hook: what stands in a select box is a text.
fn form(uri: &str, more: Value) -> Value {
    let mut form = json!({
        "name": "Calls", "hook": "channel_create", "http_verb": "post", "retries": "2", "uri": uri,
        "format": "json", "include_subaccounts": false, "custom_data": {}, "custom_request_headers": {},
    });
    form.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    form
}

#[tokio::test]
async fn the_token_of_a_log_in_is_one_that_the_app_can_look_into() {
    use base64::Engine as _;
    let ui = logged_in().await;

    let claims = ui.token.split('.').nth(1).expect("a part of claims");
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();

    assert_eq!(claims["account_id"], ui.account.as_str());
    assert!(claims["exp"].as_i64() > claims["iat"].as_i64(), "{claims}");
    assert!(claims["iss"].is_string());
    let account = ui.done("GET", "/accounts/{accountId}", None).await;
    assert_eq!((&account["id"], &account["name"]), (&json!(ui.account), &json!("acme")));
}

#[tokio::test]
async fn a_browser_is_told_that_it_may_send_what_the_app_sends() {
    let ui = logged_in().await;
    for path in ["/v2/webhooks", "/v2/webhooks/", "/v2/accounts/a/webhooks/b", "/v2/nowhere"] {
        let request = ui
            .host
            .request("OPTIONS", path)
            .header("origin", PAGE)
            .header("access-control-request-method", "PATCH")
            .header("access-control-request-headers", "content-type,x-auth-token,x-kazoo-cluster-id");

        let answer = request.send().await.unwrap();

        assert_eq!(answer.status(), 200, "{path}");
        let headers = answer.headers();
        assert_eq!(headers["access-control-allow-origin"], PAGE);
        assert!(headers["access-control-allow-methods"].to_str().unwrap().contains("PATCH"));
        let allowed = headers["access-control-allow-headers"].to_str().unwrap();
        for name in ["content-type", "x-auth-token", "x-kazoo-cluster-id", "accept", "x-requested-with"] {
            assert!(allowed.split(',').any(|allowed| allowed.trim() == name), "{name} is not in {allowed}");
        }
    }
}

#[tokio::test]
async fn a_hook_is_made_listed_edited_and_deleted_by_its_form() {
    let ui = logged_in().await;
    let available = ui.done("GET", "/webhooks", None).await;
    let ids: Vec<&str> =
        available.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["channel_create", "object"]);
    assert!(available[1]["modifiers"]["action"]["items"].is_array());

    let made = ui.saved(form("https://hooks.example.com/a", json!({"group": "sales"}))).await;
    assert_eq!((&made["retries"], &made["include_subaccounts"]), (&json!(2), &json!(false)));
    let listed = ui.done("GET", "/accounts/{accountId}/webhooks", None).await;
    assert_eq!((&listed[0]["name"], &listed[0]["group"]), (&json!("Calls"), &json!("sales")));
    let path = format!("/accounts/{{accountId}}/webhooks/{}", made["id"].as_str().unwrap());
    assert_eq!(ui.done("GET", &path, None).await, made);

    // The switch of the list writes the whole hook back as it was read.
    let mut read = made.clone();
    read["enabled"] = json!("false");
    let switched = ui.done("POST", &path, Some(read)).await;
    assert_eq!(switched["enabled"], json!(false));
    let enabled = ui.done("PATCH", &path, Some(json!({"enabled": true}))).await;
    assert_eq!(enabled["enabled"], json!(true));

    let edited = form("https://hooks.example.com/b", json!({"retries": "4", "include_subaccounts": "true"}));
    let edited = ui.done("POST", &path, Some(edited)).await;
    assert_eq!(
        (&edited["uri"], &edited["retries"], &edited["include_subaccounts"], edited.get("group")),
        (&json!("https://hooks.example.com/b"), &json!(4), &json!(true), None)
    );

    assert_eq!(
        ui.done("PATCH", "/accounts/{accountId}/webhooks", Some(json!({"re-enable": true}))).await,
        "hooks updated"
    );
    let deleted = ui.done("DELETE", &path, Some(json!({}))).await;
    assert_eq!(deleted["name"], "Calls");
    assert_eq!(ui.done("GET", "/accounts/{accountId}/webhooks", None).await, json!([]));
    // The groups of hooks stand in the account, which is written whole.
    let groups = json!({"name": "acme", "groups": {"sales": 1}});
    let account = ui.done("POST", "/accounts/{accountId}", Some(groups)).await;
    assert_eq!(account["groups"], json!({"sales": 1}));
}

#[tokio::test]
async fn a_saved_form_leaves_alone_what_it_does_not_know() {
    let ui = logged_in().await;
    let ours = json!({
        "secret": "generate", "headers": {"X-Tenant": "t1"}, "rate_limit": {"count": 5, "per_ms": 1000},
        "ordering": "call", "retry_schedule_ms": [1000, 5000], "legacy_signature": true,
    });
    let mut hook = form("https://hooks.example.com/", ours);
    hook.as_object_mut().unwrap().remove("custom_request_headers");
    let made = ui.saved(hook.clone()).await;
    let path = format!("/accounts/{{accountId}}/webhooks/{}", made["id"].as_str().unwrap());
    let kept = ["headers", "rate_limit", "ordering", "retry_schedule_ms", "legacy_signature"];

    // As the app of 4.3 writes it, which has no headers.
    let mut older = form("https://hooks.example.com/b", json!({}));
    older.as_object_mut().unwrap().remove("custom_request_headers");
    let saved = ui.done("POST", &path, Some(older.clone())).await;
    assert_eq!(saved["uri"], "https://hooks.example.com/b");
    assert_eq!(saved["secret_set"], true);
    for field in kept {
        assert!(!saved[field].is_null() && saved[field] == made[field], "{field}: {saved}");
    }

    for field in kept {
        let mut without = older.clone();
        without[field] = Value::Null;
        let saved = ui.done("POST", &path, Some(without)).await;
        assert_eq!(saved.get(field), None, "{field}: {saved}");
    }
    older["secret"] = Value::Null;
    assert_eq!(ui.done("POST", &path, Some(older)).await.get("secret_set"), None);
}

#[tokio::test]
async fn headers_of_the_form_are_sent_and_have_one_truth_under_two_names() {
    let ui = logged_in().await;
    let mut receiver = Receiver::answering(200).await;
    let headers = json!({"X-Token": "t1", "Authorization": "Bearer abc"});
    let made = ui.saved(form(&receiver.url("/a"), json!({"custom_request_headers": headers}))).await;
    let path = format!("/accounts/{{accountId}}/webhooks/{}", made["id"].as_str().unwrap());
    let both = |hook: &Value| (hook["headers"].clone(), hook["custom_request_headers"].clone());
    assert_eq!(both(&made), (headers.clone(), headers.clone()));
    assert_eq!(both(&ui.done("GET", &path, None).await), both(&made));

    ui.host.ask("POST", "/events", Some(call_event("CHANNEL_CREATE", &ui.account, "call-1"))).await;
    let told = receiver.next_request().await;
    assert_eq!((told.header("x-token"), told.header("authorization")), ("t1", "Bearer abc"));

    let other = json!({"X-Token": "t2"});
    for (fields, expected) in [
        (json!({"headers": other}), &other),
        (json!({"custom_request_headers": headers}), &headers),
        (json!({"headers": other, "custom_request_headers": other}), &other),
        // As it was read, with one of them edited.
        (json!({"headers": other, "custom_request_headers": headers}), &headers),
    ] {
        let changed = ui.done("PATCH", &path, Some(fields.clone())).await;
        assert_eq!(both(&changed), (expected.clone(), expected.clone()), "{fields}");
    }
    let conflict = json!({"headers": {"X-A": "1"}, "custom_request_headers": {"X-B": "1"}});
    let refused = ui.call("PATCH", &path, Some(conflict)).await;
    assert_eq!(refused.status, 400);
    let said = refused.json["data"]["custom_request_headers"]["error"]["message"].as_str().unwrap();
    assert!(said.contains("headers and custom_request_headers"), "{said}");
    let refused = ui.call("PATCH", &path, Some(json!({"custom_request_headers": {"Host": "x"}}))).await;
    assert!(refused.json["data"]["custom_request_headers.Host"]["error"].is_object(), "{}", refused.json);

    for none in [json!({"custom_request_headers": {}}), json!({"custom_request_headers": null})] {
        ui.done("PATCH", &path, Some(json!({"headers": other}))).await;
        let cleared = ui.done("PATCH", &path, Some(none.clone())).await;
        assert_eq!(both(&cleared), (Value::Null, Value::Null), "{none}");
    }
    ui.host.ask("POST", "/events", Some(call_event("CHANNEL_CREATE", &ui.account, "call-2"))).await;
    assert!(!receiver.next_request().await.headers.contains_key("x-token"));
}

#[tokio::test]
async fn attempts_are_shown_in_pages_between_two_days() {
    let ui = logged_in().await;
    let mut receiver = Receiver::answering(200).await;
    let made = ui.saved(form(&receiver.url("/a"), json!({}))).await;
    let path = format!("/accounts/{{accountId}}/webhooks/{}/attempts", made["id"].as_str().unwrap());
    for call in ["call-1", "call-2", "call-3"] {
        ui.host.ask("POST", "/events", Some(call_event("CHANNEL_CREATE", &ui.account, call))).await;
        receiver.next_request().await;
    }
    // From the beginning of a day to the end of another one.
    let now = hookline::clock::unix_now();
    let now = now + 62_167_219_200;
    let range = format!("created_from={}&created_to={}", now - 86_400 * 7, now + 86_400);
    let all = format!("{path}?page_size=50&{range}");
    tests::eventually("three attempts are kept", || async {
        let shown = ui.call("GET", &all, None).await;
        (shown.json["data"].as_array().map(Vec::len) == Some(3)).then_some(())
    })
    .await;

    let shown = ui.call("GET", &all, None).await;
    assert_eq!((&shown.json["page_size"], shown.json.get("next_start_key")), (&json!(3), None));
    for field in ["hook_event", "result", "timestamp", "uri", "method"] {
        assert!(!shown.json["data"][0][field].is_null(), "{field}: {}", shown.json["data"][0]);
    }
    let first = ui.call("GET", &format!("{path}?page_size=2&{range}&start_key="), None).await;
    let next = first.json["next_start_key"].as_str().expect("another page").to_owned();
    let second = ui.call("GET", &format!("{path}?page_size=2&{range}&start_key={next}"), None).await;
    assert_eq!((first.json["data"].as_array().unwrap().len(), &second.json["start_key"]), (2, &json!(next)));
    assert_eq!(second.json["data"][0], shown.json["data"][2]);
    let whole = ui.call("GET", &format!("{path}?paginate=false&{range}"), None).await;
    assert_eq!(whole.json["data"], shown.json["data"]);
}

#[tokio::test]
async fn a_dialog_says_why_an_address_is_refused() {
    let ui = logged_in().await;
    for uri in ["http://10.0.0.8/x", "https://192.168.1.1:345/", "http://[::ffff:10.0.0.8]/"] {
        let refused = ui.call("PUT", "/accounts/{accountId}/webhooks", Some(form(uri, json!({})))).await;
        assert_eq!(refused.status, 400, "{uri}");
        let said = refused.json["data"]["uri"]["error"]["message"].as_str().unwrap();
        assert!(said.starts_with("invalid client URL: ") && said.contains("allow_targets"), "{uri}: {said}");
    }
}

#[tokio::test]
async fn what_is_no_number_is_refused_with_what_would_be_right() {
    let ui = logged_in().await;
    for (field, value, code, target) in [
        ("retries", json!("abc"), "type", json!("integer")),
        ("retries", json!(" 2"), "type", json!("integer")),
        ("retries", json!("9"), "maximum", json!(4)),
        ("retries", json!("-1"), "minimum", json!(0)),
        ("enabled", json!("yes"), "type", json!("boolean")),
        ("include_internal_legs", json!(1), "type", json!("boolean")),
    ] {
        let form = form("https://hooks.example.com/", json!({field: value}));
        let refused = ui.call("PUT", "/accounts/{accountId}/webhooks", Some(form)).await;
        assert_eq!(refused.status, 400, "{field} {value}");
        assert_eq!(refused.json["data"][field][code]["target"], target, "{}", refused.json);
    }
    let odd = json!({"retries": "2.0", "enabled": "false", "include_internal_legs": "false",
        "rate_limit": {"count": "5", "per_ms": "1000"}, "retry_schedule_ms": ["1000"]});
    let made = ui.saved(form("https://hooks.example.com/", odd)).await;
    assert_eq!((&made["retries"], &made["enabled"]), (&json!(2), &json!(false)));
    assert_eq!(made["include_internal_legs"], false);
    assert_eq!(made["rate_limit"], json!({"count": 5, "per_ms": 1000}));
    assert_eq!(made["retry_schedule_ms"], json!([1000]));
}
