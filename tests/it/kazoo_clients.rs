//! What KAZOO's clients have in common: how they log in, how they write addresses and bodies, and which of their fields
//! mean something here.

use serde_json::{Value, json};
use tests::{Answer, Home, Receiver, TestHost, described};

const MODULES: &[&str] = &["webhooks_channel_create", "webhooks_notifications"];
const URI: &str = "https://hooks.example.com/";

/// A host, an account, and a token of that account.
async fn stand() -> (TestHost, String, String) {
    let host = TestHost::with_modules(MODULES).await;
    let account = host.account("acme").await;
    let token = token(&host, &account, json!({})).await;
    (host, account, token)
}

async fn token(host: &TestHost, account: &str, wish: Value) -> String {
    let made = host.ask("PUT", &format!("/v2/accounts/{account}/tokens"), Some(json!({"data": wish}))).await;
    made.json["data"]["token"].as_str().unwrap_or_else(|| panic!("{}", made.json)).to_owned()
}

async fn log_in(host: &TestHost, key: &str) -> Answer {
    Answer::of(host.request("PUT", "/v2/api_auth").json(&json!({"data": {"api_key": key}}))).await
}

async fn with(host: &TestHost, token: &str, method: &str, path: &str) -> Answer {
    Answer::of(host.request(method, path).header("x-auth-token", token)).await
}

#[tokio::test]
async fn an_accounts_token_logs_in_and_the_answer_says_whose_it_is() {
    let (host, root, _) = stand().await;
    let child = host.account_below(&root, "branch").await;
    let key = token(&host, &child, json!({})).await;

    let answer = log_in(&host, &key).await;

    assert_eq!(answer.status, 201, "{}", answer.json);
    let data = &answer.json["data"];
    assert_eq!((&data["account_id"], &data["account_name"]), (&json!(child), &json!("branch")));
    assert_eq!((&data["is_reseller"], &data["reseller_id"]), (&json!(false), &json!(root)));
    assert_eq!((&data["language"], &data["apps"]), (&json!("en-us"), &json!([])));
    assert!(data["owner_id"].is_string());
    let given = answer.json["auth_token"].as_str().expect("a token at the top");
    assert_eq!(given.split('.').count(), 3, "{given}");
    let own = format!("/v2/accounts/{child}");
    assert_eq!(with(&host, given, "GET", &own).await.status, 200);
    assert_eq!(with(&host, given, "GET", &format!("/v2/accounts/{root}")).await.status, 403);
    assert_eq!(with(&host, given, "GET", "/modules").await.status, 403);
    let whose = with(&host, given, "GET", "/v2/token_auth").await;
    assert_eq!((whose.status.as_u16(), &whose.json["data"]), (200, data));
}

#[tokio::test]
async fn what_a_log_in_gave_ends_with_its_key_and_makes_no_other() {
    let (host, account, key) = stand().await;
    let given = log_in(&host, &key).await.json["auth_token"].as_str().unwrap().to_owned();
    let own = format!("/v2/accounts/{account}");
    assert_eq!(with(&host, &given, "GET", &own).await.status, 200);
    assert_eq!(log_in(&host, &given).await.status, 401, "a log-in would never end");

    // It is good after a restart, too.
    let host = host.restart().await;
    assert_eq!(with(&host, &given, "GET", &own).await.status, 200);
    let id = key.split('_').nth(1).unwrap();
    host.ask("DELETE", &format!("{own}/tokens/{id}"), None).await;

    let ended = with(&host, &given, "GET", &own).await;
    assert_eq!(ended.status, 401);
    assert!(ended.json["data"]["cause"].as_str().unwrap().contains("log in again"), "{}", ended.json);
    assert_eq!(log_in(&host, &key).await.status, 401);
}

#[tokio::test]
async fn who_cannot_log_in_is_told_why() {
    let (host, account, key) = stand().await;
    for (data, code) in [
        (json!({}), "required"),
        (json!({"api_key": null}), "required"),
        (json!({"api_key": ""}), "minLength"),
        (json!({"api_key": 7}), "type"),
    ] {
        let answer = Answer::of(host.request("PUT", "/v2/api_auth").json(&json!({"data": data}))).await;
        assert_eq!(answer.status, 400, "{data}");
        assert!(answer.json["data"]["api_key"][code]["message"].is_string(), "{}", answer.json);
    }
    let of_nobody = log_in(&host, host.token()).await;
    assert_eq!(of_nobody.status, 403);
    assert!(of_nobody.json["data"]["cause"].as_str().unwrap().contains("hookline token create"));
    let users = json!({"data": {"credentials": "0123", "account_name": "acme"}});
    let user = Answer::of(host.request("PUT", "/v2/user_auth").json(&users)).await;
    assert_eq!(user.status, 401);
    assert!(user.json["data"]["message"].as_str().unwrap().contains("/v2/api_auth"), "{}", user.json);
    host.ask("PATCH", &format!("/v2/accounts/{account}"), Some(json!({"data": {"enabled": "false"}}))).await;
    assert_eq!(log_in(&host, &key).await.status, 403);
}

#[tokio::test]
async fn wrong_keys_are_guesses_and_an_ended_log_in_is_none() {
    let (host, account, key) = stand().await;
    let given = log_in(&host, &key).await.json["auth_token"].as_str().unwrap().to_owned();
    let id = key.split('_').nth(1).unwrap();
    host.ask("DELETE", &format!("/v2/accounts/{account}/tokens/{id}"), None).await;
    for _ in 0..150 {
        assert_eq!(with(&host, &given, "GET", "/v2/token_auth").await.status, 401);
    }
    let wrong = format!("hlt_{id}_{}", "0".repeat(64));
    let mut statuses = Vec::new();
    while statuses.last() != Some(&429) && statuses.len() < 150 {
        statuses.push(log_in(&host, &wrong).await.status.as_u16());
    }
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 100, "{statuses:?}");
    assert_eq!(statuses.last(), Some(&429));
}

#[tokio::test]
async fn a_new_api_key_is_shown_once_and_ends_the_one_before() {
    let (host, account, own) = stand().await;
    let path = format!("/v2/accounts/{account}/api_key");
    let none = with(&host, &own, "GET", &path).await;
    assert_eq!((none.status.as_u16(), &none.json["data"]["api_key_set"]), (200, &json!(false)));

    let made = with(&host, &own, "PUT", &path).await;
    assert_eq!(made.status, 201, "{}", made.json);
    let first = made.json["data"]["api_key"].as_str().unwrap().to_owned();
    assert_eq!(log_in(&host, &first).await.status, 201);
    let shown = with(&host, &own, "GET", &path).await;
    assert_eq!(shown.json["data"]["api_key_set"], true);
    assert!(!shown.json.to_string().contains(first.rsplit('_').next().unwrap()), "{}", shown.json);

    let second = with(&host, &own, "PUT", &path).await.json["data"]["api_key"].as_str().unwrap().to_owned();
    assert_eq!(log_in(&host, &first).await.status, 401);
    assert_eq!(log_in(&host, &second).await.status, 201);
    let host = host.restart().await;
    assert_eq!(log_in(&host, &second).await.status, 201);
    let listed = host.ask("GET", &format!("/v2/accounts/{account}/tokens"), None).await;
    assert_eq!(listed.json["data"].as_array().unwrap().len(), 2, "{}", listed.json);
    let stored = std::fs::read(host.folder().join("data/hookline.db")).unwrap();
    let key = second.rsplit('_').next().unwrap().as_bytes();
    assert!(!stored.windows(key.len()).any(|bytes| bytes == key), "the key is stored in clear");
    let audit = host.ask("GET", &format!("/v2/accounts/{account}/audit"), None).await;
    assert_eq!(audit.json["data"][0]["action"], "api_key.create");
}

#[tokio::test]
async fn every_route_answers_with_a_slash_at_its_end_as_without() {
    let (host, account, _) = stand().await;
    let hook = host.hook(&account, "channel_create", URI, json!({})).await;
    let mut tried = 0;
    for operation in described().filter(|operation| operation.method == "get" && operation.path != "/stream")
    {
        let path = operation.path.replace("{account}", &account).replace("{hook}", &hook);
        let path = path.replace("{id}", "webhooks_channel_create").replace("{file}", "start.js");
        let ask = async |method: &str, path: &str| {
            let request = host.request(method, path).header("x-auth-token", host.token());
            request.send().await.unwrap().status()
        };
        for method in ["GET", "HEAD", "OPTIONS"] {
            for (without, with) in [
                (path.clone(), format!("{path}/")),
                (format!("{path}?has_key=x"), format!("{path}/?has_key=x")),
            ] {
                assert_eq!(ask(method, &with).await, ask(method, &without).await, "{method} {with}");
                tried += 1;
            }
        }
    }
    assert!(tried > 100, "{tried}");
    let path = format!("/v2/accounts/{account}/webhooks/");
    let data = json!({"data": {"name": "n", "hook": "channel_create", "uri": URI}});
    let made = host.ask("PUT", &path, Some(data)).await;
    assert_eq!(made.status, 201, "{}", made.json);
    let listed = host.ask("GET", &format!("{path}?filter_name=n"), None).await;
    assert_eq!(listed.json["data"].as_array().map(Vec::len), Some(1));
    let older = host.ask("GET", &format!("/v1/accounts/{account}/webhooks"), None).await;
    assert_eq!(
        older.json["data"].as_array().map(Vec::len),
        Some(2),
        "Crossbar's first version has the same routes"
    );
    // A browser reads the page's links below the slash.
    let page = host.request("GET", "/docs/").send().await.unwrap();
    assert!(page.text().await.unwrap().contains(r#"<base href="../">"#));
}

#[tokio::test]
async fn json_is_taken_under_the_types_that_clients_give_it() {
    let (host, account, token) = stand().await;
    for kind in [
        Some("application/json; charset=utf-8"),
        Some("application/x-www-form-urlencoded"),
        Some("application/x-www-form-urlencoded; charset=UTF-8"),
        Some("application/x-json"),
        Some("text/json"),
        Some("Application/JSON"),
        Some("application/vnd.api+json"),
        Some(""),
        None,
    ] {
        let body = json!({"data": {"name": "n", "hook": "channel_create", "uri": URI}}).to_string();
        let request = host.request("PUT", &format!("/v2/accounts/{account}/webhooks"));
        let request = request.header("x-auth-token", &token).body(body);
        let made =
            Answer::of(kind.into_iter().fold(request, |request, kind| request.header("content-type", kind)));
        let made = made.await;
        assert_eq!(made.status, 201, "{kind:?}: {}", made.json);
    }
    for (kind, status) in
        [("text/plain", 415), ("multipart/form-data", 415), ("application/x-www-form-urlencoded", 400)]
    {
        let request = host.request("PUT", &format!("/v2/accounts/{account}/webhooks"));
        let request = request.header("x-auth-token", &token).header("content-type", kind);
        let refused = Answer::of(request.body("name=n&hook=channel_create")).await;
        assert_eq!(refused.status, status, "{kind}: {}", refused.json);
    }
}

#[tokio::test]
async fn a_token_in_the_query_works_and_stands_in_no_line_and_no_answer_but_its_place() {
    let receiver = Receiver::answering(200).await;
    let home =
        Home::new("[log]\nlevel = \"trace\"\n[delivery]\nallow_targets = [\"127.0.0.1/32\"]\n", MODULES);
    let host = home.start().await;
    let account = host.account("acme").await;
    let made = host.ask("PUT", &format!("/v2/accounts/{account}/api_key"), None).await;
    let key = made.json["data"]["api_key"].as_str().unwrap().to_owned();
    let hidden = key.rsplit('_').next().unwrap();
    let own = format!("/v2/accounts/{account}");
    let ask = async |method: &str, path: String| Answer::of(host.request(method, &path)).await;

    assert_eq!(ask("GET", format!("{own}?auth_token={key}")).await.status, 200);
    assert_eq!(ask("GET", format!("{own}/webhooks/?page_size=1&auth_token={key}")).await.status, 200);
    let strict = ask("GET", format!("/hooks?auth_token={}&account={account}", host.token())).await;
    assert_eq!(strict.status, 200, "{}", strict.json);
    for (path, status) in [
        (format!("/nowhere?auth_token={key}"), 404),
        (format!("{own}/webhooks?page_size=x&auth_token={key}"), 400),
        (format!("/modules?auth_token={key}"), 403),
        (format!("{own}?auth_token={key}x"), 401),
        (format!("{own}?auth%5Ftoken={key}x"), 401),
    ] {
        let refused = ask("GET", path.clone()).await;
        assert_eq!(refused.status, status, "{path}");
        let mut said = refused.json.clone();
        said["auth_token"] = Value::Null;
        assert!(!said.to_string().contains(hidden), "{path}: {said}");
    }
    let hook = json!({"data": {"name": "n", "hook": "channel_create", "uri": receiver.url("/")}});
    let request = host.request("PUT", &format!("{own}/webhooks?auth_token={key}"));
    assert_eq!(Answer::of(request.json(&hook)).await.status, 201);
    let login = host.request("PUT", "/v2/api_auth").json(&json!({"data": {"api_key": key}}));
    let given = Answer::of(login).await.json["auth_token"].as_str().unwrap().to_owned();
    assert_eq!(ask("GET", format!("{own}?auth_token={given}")).await.status, 200);
    let audit = host.ask("GET", "/audit", None).await;
    assert!(!audit.json.to_string().contains(hidden), "the audit log shows it");
    let (said, _) = host.signalled("TERM").await;
    let signature = given.rsplit('.').next().unwrap();
    for secret in [hidden, signature] {
        let line = said.err.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "a line of the log shows it");
    }
    assert!(said.err.contains("TRACE"));
}

#[tokio::test]
async fn a_key_for_signatures_that_would_sign_nothing_is_refused_by_name() {
    let (host, account, _) = stand().await;
    let path = format!("/v2/accounts/{account}/webhooks");
    let hook = |more: Value| {
        let mut hook = json!({"name": "n", "hook": "channel_create", "uri": URI});
        hook.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        Some(json!({"data": hook}))
    };
    for (more, field) in [
        (json!({"security_settings": {"sha256_key": "hush-hush"}}), "security_settings.sha256_key"),
        (json!({"security_settings": "hush-hush"}), "security_settings"),
        (json!({"version": "v2"}), "version"),
    ] {
        let refused = host.ask("PUT", &path, hook(more)).await;
        assert_eq!(refused.status, 400, "{field}");
        assert!(refused.json["data"][field]["error"]["message"].is_string(), "{}", refused.json);
        assert!(!refused.json.to_string().contains("hush"), "{}", refused.json);
    }
    let nothing = json!({"security_settings": {}, "version": null});
    let made = host.ask("PUT", &path, hook(nothing)).await;
    assert_eq!(made.status, 201, "{}", made.json);
    assert!(made.json["data"].get("security_settings").is_none());
}

#[tokio::test]
async fn a_new_hook_with_a_secret_is_sent_json_and_one_that_libraries_cannot_check_is_warned_of() {
    let (host, account, _) = stand().await;
    let path = format!("/v2/accounts/{account}/webhooks");
    let new = |more: Value| {
        let mut hook = json!({"name": "n", "hook": "channel_create", "uri": URI});
        hook.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        Some(json!({"data": hook}))
    };
    let plain = host.ask("PUT", &path, new(json!({}))).await;
    assert_eq!((&plain.json["data"]["format"], plain.json.get("warnings")), (&json!("form-data"), None));
    let signed = host.ask("PUT", &path, new(json!({"secret": "generate"}))).await;
    assert_eq!((&signed.json["data"]["format"], signed.json.get("warnings")), (&json!("json"), None));

    for (more, field) in [
        (json!({"secret": "generate", "format": "form-data"}), "format"),
        (json!({"secret": "generate", "http_verb": "get"}), "http_verb"),
    ] {
        let made = host.ask("PUT", &path, new(more)).await;
        assert_eq!(made.status, 201, "{}", made.json);
        assert_eq!(made.json["warnings"][0]["field"], field, "{}", made.json);
        assert!(made.json["warnings"][0]["message"].as_str().unwrap().contains("format json"));
        let hook = made.json["data"]["id"].as_str().unwrap();
        let read = host.ask("GET", &format!("{path}/{hook}"), None).await;
        assert_eq!(read.json["warnings"], made.json["warnings"]);
    }
    let hook = plain.json["data"]["id"].as_str().unwrap();
    let patched =
        host.ask("PATCH", &format!("{path}/{hook}"), Some(json!({"data": {"secret": "generate"}}))).await;
    assert_eq!(
        (&patched.json["data"]["format"], &patched.json["warnings"][0]["field"]),
        (&json!("form-data"), &json!("format"))
    );
}

#[tokio::test]
async fn each_notification_has_a_sample_that_is_found_by_its_name() {
    let (host, ..) = stand().await;
    let available = host.ask("GET", "/v2/webhooks", None).await;
    let listed = available.json["data"].as_array().unwrap();
    let notifications = listed.iter().find(|one| one["id"] == "notifications").unwrap();
    let names: Vec<&String> =
        notifications["modifiers"]["type"]["items"].as_object().unwrap().keys().collect();
    assert_eq!(names.len(), 39, "38 notifications and all of them");
    for name in names.into_iter().filter(|name| *name != "all") {
        let path = format!("/v2/webhooks/samples/webhooks_notifications?filter_event_name={name}");
        let samples = Answer::of(host.request("GET", &path)).await;
        assert_eq!(samples.json["data"].as_array().map(Vec::len), Some(1), "{name}: {}", samples.json);
    }
}
