//! Commands as people type them, and hosts as they answer.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde_json::json;

use super::modules::ModulesAction;
use super::publish::events;
use super::*;

mod help;

fn parse(line: &str) -> Cli {
    Cli::try_parse_from(line.split_whitespace()).unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// What a command prints against a host that answers by these routes.
async fn against(routes: Router, line: &str) -> anyhow::Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let cli = parse(&format!("hookline {line} --url {url} --token t0ken"));
    // As where standard output is no terminal.
    let mut out = anstream::StripStream::new(Vec::new());
    tokio::select! {
        served = async { axum::serve(listener, routes).await } => panic!("the host ended: {served:?}"),
        done = dispatch(cli.command, &mut out) => done?,
    };
    Ok(String::from_utf8(out.into_inner()).unwrap())
}

/// The lines of a table without the blanks that pad its columns.
fn squeezed(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[track_caller]
fn error_line(outcome: anyhow::Result<String>) -> String {
    let line = format!("{:#}", outcome.expect_err("the command fails"));
    assert!(!line.contains('\n'), "{line}");
    line
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn flags_of_run_become_settings() {
    let Command::Run(args) =
        parse("hookline run --amqp amqp://h --data d --plugins p --listen [::1]:0").command
    else {
        panic!("run")
    };

    let flags = args.flags();
    let flags: Vec<_> = flags.iter().map(|flag| (flag.key, flag.value.as_str(), flag.flag)).collect();

    assert_eq!(
        flags,
        [
            ("plugins_dir", "p", "--plugins"),
            ("data_dir", "d", "--data"),
            ("api.listen", "[::1]:0", "--listen"),
            ("bus.kind", "amqp", "--amqp"),
            ("bus.uri", "amqp://h", "--amqp"),
        ]
    );
}

#[test]
fn try_takes_a_profile_and_a_cluster_id_over_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("try.toml");
    std::fs::write(
        &file,
        "[delivery]\nprofile = \"standard\"\n[kazoo]\nreserved_ccv_keys = [\"Username\"]\n",
    )
    .unwrap();
    let line = format!(
        "hookline try --plugin m.so --event - --hooks h.json --profile kazoo --cluster-id c1 --config {}",
        file.display()
    );
    let Command::Try(args) = parse(&line).command else { panic!("try") };

    let config = args.load_config().unwrap();

    assert_eq!(config.delivery.profile, crate::model::Profile::Kazoo);
    assert_eq!(config.kazoo.cluster_id.as_deref(), Some("c1"));
    assert_eq!(config.kazoo.reserved_ccv_keys, ["Username"]);
}

#[test]
fn list_is_what_modules_and_hooks_do_unless_told() {
    let Command::Modules(modules) = parse("hookline modules --json").command else { panic!("modules") };
    assert!(modules.action.is_none() && modules.json);
    let Command::Modules(modules) = parse("hookline modules show webhooks_sms --json").command else {
        panic!("modules")
    };
    assert!(
        matches!(modules.action, Some(ModulesAction::Show { id }) if id == "webhooks_sms") && modules.json
    );
    for line in ["hookline hooks --account a1", "hookline hooks list --account a1"] {
        let Command::Hooks(hooks) = parse(line).command else { panic!("hooks") };
        assert_eq!(hooks.account.as_deref(), Some("a1"), "{line}");
    }
}

#[test]
fn an_exchange_needs_a_routing_key() {
    let refused = Cli::try_parse_from(["hookline", "publish", "--exchange", "call"]).unwrap_err();
    assert!(refused.to_string().contains("--routing-key <K>"), "{refused}");
}

#[tokio::test]
async fn hooks_are_listed_in_the_columns_of_kazoo() {
    let hooks = json!({"data": [
        {"id": "h1", "account_id": "a1", "hook": "channel_create", "uri": "http://one/", "http_verb": "post", "retries": 2, "enabled": true},
        {"id": "h2", "account_id": "a2", "hook": "all", "uri": "http://two/\u{1b}[2J", "http_verb": "get", "retries": 3, "enabled": false},
    ]});
    let routes = Router::new().route("/hooks", get(async || axum::Json(hooks)));

    let printed = against(routes, "hooks list").await.unwrap();

    assert_eq!(
        squeezed(&printed),
        [
            "URI VERB EVENT RETRIES ACCOUNT ID ID STATE",
            "http://one/ post channel_create 2 a1 h1 on",
            "http://two/\\u001b[2J get all 3 a2 h2 off",
            "found 2 webhooks",
        ]
    );
}

#[tokio::test]
async fn a_hook_is_shown_with_what_it_has_under_way() {
    let hook = json!({"data": {
        "id": "h1", "account_id": "a1", "hook": "channel_create", "uri": "http://one/", "http_verb": "post", "retries": 2,
        "enabled": true, "tried": true, "in_flight": 7, "in_flight_limit": 25,
    }});
    let routes = Router::new().route("/hooks/h1", get(async || axum::Json(hook)));

    let printed = against(routes, "hooks show h1").await.unwrap();

    assert_eq!(
        squeezed(&printed),
        [
            "id h1",
            "account a1",
            "event channel_create",
            "uri http://one/",
            "verb post",
            "retries 2",
            "enabled true",
            "tried true",
            "in flight 7 of at most 25 now",
        ]
    );
}

#[tokio::test]
async fn an_account_without_hooks_is_said_to_have_none() {
    let answer = async |uri: axum::http::Uri| {
        assert_eq!(uri.query(), Some("account=a%261&page_size=1000"));
        axum::Json(json!({"data": []}))
    };
    let routes = Router::new().route("/hooks", get(answer));

    assert_eq!(against(routes, "hooks --account a&1").await.unwrap(), "no webhooks configured\n");
}

#[tokio::test]
async fn every_listing_follows_its_pages() {
    // Each host has two pages of one entry.
    let answer = async |uri: axum::http::Uri| {
        axum::Json(match uri.query().is_some_and(|query| query.contains("start_key=7")) {
            true => json!({"data": [{"id": "second"}], "start_key": "7"}),
            false => json!({"data": [{"id": "first"}], "next_start_key": "7"}),
        })
    };
    for (line, path) in [
        ("hooks list", "/hooks"),
        ("replays list", "/replays"),
        ("deliveries", "/deliveries"),
        ("token list", "/tokens"),
        ("token list --account a", "/v2/accounts/a/tokens"),
        ("audit", "/audit"),
        ("audit --account a", "/v2/accounts/a/audit"),
        ("attempts --account a", "/v2/accounts/a/webhooks/attempts"),
        ("attempts --account a --hook h", "/v2/accounts/a/webhooks/h/attempts"),
    ] {
        let printed =
            against(Router::new().route(path, get(answer)), &format!("{line} --json")).await.unwrap();
        let listed: Vec<serde_json::Value> = serde_json::from_str(&printed).unwrap();
        let mut ids: Vec<&str> = listed.iter().map(|entry| entry["id"].as_str().unwrap()).collect();
        ids.sort_unstable();
        assert_eq!(ids, ["first", "second"], "{line}");
    }
    let limited =
        against(Router::new().route("/deliveries", get(answer)), "deliveries --limit 1").await.unwrap();
    assert!(limited.ends_with("the latest 1; --limit shows more\n"), "{limited}");
    let found = against(Router::new().route("/hooks", get(answer)), "hooks").await.unwrap();
    assert!(found.ends_with("found 2 webhooks\n"), "{found}");
}

#[tokio::test]
async fn a_reset_is_told_in_the_words_of_kazoo() {
    for (answer, expected) in [
        (json!({"reinitialized": ["a", "b"], "removed": []}), "reinitialized hooks: a, b\n"),
        (
            json!({"reinitialized": ["a"], "removed": ["c\u{1b}"]}),
            "reinitialized hooks: a\nremoved, as their modules are not loaded: c\\u001b\n",
        ),
        (json!({"reinitialized": [], "removed": []}), "no hook definitions\n"),
    ] {
        let answer = async move |uri: axum::http::Uri| {
            assert_eq!(uri.query(), Some("id=sms"));
            axum::Json(json!({"data": answer}))
        };
        let routes = Router::new().route("/metadata/reset", post(answer));
        assert_eq!(against(routes, "reset-metadata sms").await.unwrap(), expected);
    }
}

#[tokio::test]
async fn modules_are_listed_with_what_was_refused() {
    let answer = json!({
        "data": [{"id": "webhooks_sms", "version": "1.0.0", "generation": 2, "state": "active",
                  "bindings": [{}, {}], "calls": 7, "failures": 1, "failed_events": 3,
                  "time_spent_us": 12345}],
        "refused": [{"file": "notes.so", "reason": "is not a library", "at": "2026-01-01T00:00:00Z"}],
    });
    let routes = Router::new().route("/modules", get(async || axum::Json(answer)));

    let printed = against(routes, "modules").await.unwrap();

    assert_eq!(
        squeezed(&printed),
        [
            "ID VERSION GENERATION STATE BINDINGS CALLS FAILURES KEPT TIME",
            "webhooks_sms 1.0.0 2 active 2 7 1 3 12.345 ms",
            "refused notes.so: is not a library",
        ]
    );
}

#[tokio::test]
async fn several_events_go_out_as_one_request_of_lines() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.json");
    std::fs::write(&file, "{\"a\":1}\n\n{\"b\":2}\n").unwrap();
    let take = async |uri: axum::http::Uri, headers: axum::http::HeaderMap, body: String| {
        assert_eq!(headers["content-type"], "application/x-ndjson");
        assert_eq!(headers["x-auth-token"], "t0ken");
        assert_eq!(uri.query(), Some("exchange=call&routing_key=call.X.%23"));
        assert_eq!(body, "{\"a\":1}\n{\"b\":2}");
        (StatusCode::ACCEPTED, axum::Json(json!({"accepted": 2})))
    };
    let routes = Router::new().route("/events", post(take));

    let line = format!("publish {} --exchange call --routing-key call.X.#", file.display());

    assert_eq!(against(routes, &line).await.unwrap(), "published 2 events\n");
}

#[tokio::test]
async fn an_error_of_the_api_is_one_line_with_its_cause() {
    let envelope = json!({"status": "error", "error": "404", "message": "bad identifier", "data": {"cause": "webhooks_x is not loaded"}});
    let routes =
        Router::new().route("/modules/{id}", get(async || (StatusCode::NOT_FOUND, axum::Json(envelope))));

    let line = error_line(against(routes, "modules show webhooks_x").await);

    assert_eq!(line, "GET /modules/webhooks_x: 404 Not Found: bad identifier: webhooks_x is not loaded");
}

#[tokio::test]
async fn a_refused_token_says_where_it_came_from() {
    let routes =
        Router::new().route("/hooks", get(async || (StatusCode::UNAUTHORIZED, "who are you\nstack")));

    let line = error_line(against(routes, "hooks").await);

    assert_eq!(
        line,
        "GET /hooks: 401 Unauthorized: who are you; the token came from --token or HOOKLINE_TOKEN"
    );
}

#[tokio::test]
async fn an_answer_that_is_not_json_is_not_a_host() {
    let line = error_line(against(Router::new().route("/hooks", get(async || "<html>")), "hooks").await);
    assert!(line.contains("the answer is not JSON; is http://127.0.0.1:"), "{line}");
}

#[tokio::test]
async fn a_host_that_does_not_run_is_said_not_to() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let cli = parse(&format!("hookline hooks --token t --url http://{free}"));

    let line = format!("{:#}", dispatch(cli.command, &mut Vec::new()).await.unwrap_err());

    assert!(line.starts_with(&format!("cannot reach the host at http://{free}/: ")), "{line}");
    assert!(line.ends_with("is `hookline run` running there?"), "{line}");
}

#[test]
fn a_missing_token_file_says_what_to_give() {
    let folder = tempfile::tempdir().unwrap();
    let args =
        ClientArgs { url: "http://127.0.0.1:8000".to_owned(), token: None, data: folder.path().to_owned() };

    let line = format!("{:#}", client::HostClient::new(&args).unwrap_err());
    assert!(
        line.starts_with("no access token: give --token, set HOOKLINE_TOKEN or name the host's --data; "),
        "{line}"
    );

    std::fs::write(folder.path().join("admin.token"), "secret\n").unwrap();
    client::HostClient::new(&args).unwrap();
}

#[test]
fn events_are_one_object_an_array_or_one_a_line() {
    assert_eq!(events("f", "{\n  \"a\": 1\n}\n").unwrap(), ["{   \"a\": 1 }"]);
    assert_eq!(events("f", "[{\"a\":1},\n{\"b\":2}]").unwrap(), ["{\"a\":1}", "{\"b\":2}"]);
    assert_eq!(events("f", "{\"a\":1}\r\n{\"b\":2}").unwrap(), ["{\"a\":1}", "{\"b\":2}"]);
}

#[test]
fn a_malformed_event_is_named_by_its_line() {
    let wrong = |text| format!("{:#}", events("f", text).unwrap_err());

    assert_eq!(wrong(" \n"), "f holds no event; write a JSON object, or one a line");
    assert_eq!(wrong("7"), "f: not a JSON object");
    assert_eq!(wrong("[{}, 7]"), "f: item 2: not a JSON object");
    assert!(wrong("{\"a\":1}\n{\"b\":\n").starts_with("f: line 2: not JSON: EOF"));
    assert!(wrong("{\"a\":\n").starts_with("f is not a JSON object: EOF"));
}

#[test]
fn config_prints_every_setting_with_its_origin_and_checks_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("h.toml");
    std::fs::write(&file, "[bus]\nprefetch = 5\n").unwrap();
    let run = |flag: &str| {
        let Command::Config(args) = parse(&format!("hookline config {flag} {}", file.display())).command
        else {
            panic!("config")
        };
        let mut out = Vec::new();
        config::config(&args, &mut out).map(|()| String::from_utf8(out).unwrap())
    };

    let printed = run("--config").unwrap();
    assert!(printed.contains(&format!("bus.prefetch = 5  # from {}\n", file.display())), "{printed}");
    assert!(printed.contains("bus.queue = \"hookline\"  # from default\n"), "{printed}");
    assert!(printed.lines().all(|line| line.contains("  # from ")), "{printed}");
    let json: serde_json::Value = serde_json::from_str(&run("--json --config").unwrap()).unwrap();
    assert_eq!(json["bus.queue"], json!({"value": "hookline", "from": "default"}));
    assert_eq!(json["delivery.retry_schedule_ms"]["value"][0], 5000);
    assert_eq!(run("--check").unwrap(), format!("{}: every setting is right\n", file.display()));

    std::fs::write(&file, "[bus]\nprefetch = 0\nqueue = 1\nkin = 2\n").unwrap();
    assert!(run("--check").unwrap_err().to_string().starts_with("3 settings are wrong:\n"));
}
