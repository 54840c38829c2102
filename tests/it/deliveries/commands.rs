//! What the commands show of deliveries, and who may see them.

use super::*;

#[tokio::test]
async fn the_commands_list_deliveries_and_attempts_and_send_again() {
    let mut receiver = Receiver::answering_in_turn(&[404, 404, 404, 200]).await;
    let (program, account, hook) = program_with_a_hook(PATIENT, &receiver.url("/")).await;
    for n in 0..3 {
        ask(&program, "POST", "/events", Some(fire(&account, &n.to_string()))).await;
        receiver.next_request().await;
    }
    program_dead(&program, 3).await;
    let (url, token) = (program.url().to_owned(), program.token());
    let run = async |words: &[&str]| {
        let words: Vec<&str> = words.iter().copied().chain(["--url", &url, "--token", &token]).collect();
        say(&words).await
    };

    let dead = run(&["deliveries", "--dead", "--json"]).await.success();
    let dead: Value = serde_json::from_str(&dead).unwrap();
    let id = dead[0]["id"].to_string();
    assert_eq!(dead.as_array().unwrap().len(), 3);
    let table = run(&["deliveries"]).await.success();
    assert!(table.contains("REASON") && table.contains("status 404"), "{table}");
    assert_eq!(run(&["deliveries", "--pending"]).await.success(), "no deliveries\n");
    let latest = run(&["deliveries", "--limit", "2"]).await.success();
    assert!(latest.ends_with("the latest 2; --limit shows more\n"), "{latest}");

    let tried =
        run(&["attempts", "--account", &account, "--failed", "--since", "1h", "--json"]).await.success();
    let tried: Value = serde_json::from_str(&tried).unwrap();
    assert_eq!(tried.as_array().unwrap().len(), 3);
    let table = run(&["attempts", "--account", &account, "--hook", &hook, "--limit", "1"]).await.success();
    assert!(table.lines().count() == 2 && table.contains("failure") && table.contains("404"), "{table}");

    let other = run(&["replay", "--hook", "other", "--delivery", &id]).await.one_line_failure();
    assert!(other.contains(&format!("belongs to hook {hook}")), "{other}");
    let one = run(&["replay", "--hook", &hook, "--delivery", &id]).await.success();
    assert_eq!(one, format!("delivery {id} will be sent again\n"));
    receiver.next_request().await;
    program_dead(&program, 2).await;
    let many = run(&["replay", "--hook", &hook, "--since", "1h", "--wait"]).await.success();
    assert_eq!(many, "replay 1 is done: 2 dead deliveries were brought back\n");
    program_dead(&program, 0).await;
    let jobs = run(&["replays"]).await.success();
    assert!(jobs.contains("BROUGHT BACK") && jobs.contains("done"), "{jobs}");
    let job: Value = serde_json::from_str(&run(&["replays", "show", "1", "--json"]).await.success()).unwrap();
    assert_eq!((&job["total"], &job["replayed"]), (&json!(2), &json!(2)));
    let ended = run(&["replays", "cancel", "1"]).await.one_line_failure();
    assert!(ended.contains("the job is done already"), "{ended}");
    let wrong = run(&["replay", "--hook", &hook]).await;
    assert_eq!(wrong.code, Some(2), "{}", wrong.err);
    let wrong = run(&["replay", "--hook", &hook, "--since", "noon"]).await;
    assert!(wrong.err.contains("\"noon\" is no time"), "{}", wrong.err);
}

#[tokio::test]
async fn the_attempts_are_followed_as_they_happen() {
    use tokio::io::{AsyncBufReadExt as _, BufReader};

    let mut receiver = Receiver::answering(404).await;
    let (program, account, _) = program_with_a_hook(PATIENT, &receiver.url("/")).await;
    ask(&program, "POST", "/events", Some(fire(&account, "before"))).await;
    receiver.next_request().await;
    program_dead(&program, 1).await;
    let (url, token) = (program.url().to_owned(), program.token());
    let words = ["attempts", "--account", &account, "--follow", "--json", "--url", &url, "--token", &token];
    let mut command = tests::program(&words);
    command.stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let next = async |lines: &mut tokio::io::Lines<_>| {
        let line = tokio::time::timeout(tests::PATIENCE, lines.next_line()).await.expect("a line");
        serde_json::from_str::<Value>(&line.unwrap().unwrap()).unwrap()
    };

    assert!(next(&mut lines).await["req_body"].as_str().unwrap().contains("before"));
    for say in ["first", "second"] {
        ask(&program, "POST", "/events", Some(fire(&account, say))).await;
        assert!(next(&mut lines).await["req_body"].as_str().unwrap().contains(say));
    }
    child.kill().await.unwrap();
}

#[tokio::test]
async fn an_accounts_token_reaches_its_attempts_and_no_deliveries_and_a_replay_is_in_the_audit_log() {
    let receiver = Receiver::answering(404).await;
    let host = TestHost::with_modules(MODULE).await;
    let (account, other) = (host.account("acme").await, host.account("other").await);
    host.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;
    host.publish(fire(&account, "x")).await;
    let id = dead(&host, 1).await[0]["id"].clone();
    let wanted = json!({"data": {"name": "own"}});
    let made = host.ask("PUT", &format!("/v2/accounts/{account}/tokens"), Some(wanted)).await;
    let token = made.json["data"]["token"].as_str().unwrap().to_owned();
    let status = async |method: &str, path: &str| {
        Answer::of(host.request(method, path).header("x-auth-token", &token)).await.status.as_u16()
    };

    assert_eq!(status("GET", &format!("/v2/accounts/{account}/webhooks/attempts")).await, 200);
    assert_eq!(status("GET", &format!("/v2/accounts/{other}/webhooks/attempts")).await, 403);
    for (method, path) in [
        ("GET", "/deliveries".to_owned()),
        ("GET", format!("/deliveries/{id}")),
        ("POST", format!("/deliveries/{id}/replay")),
        ("POST", "/deliveries/replay".to_owned()),
        ("GET", "/replays".to_owned()),
        ("POST", "/replays/1/cancel".to_owned()),
    ] {
        assert_eq!(status(method, &path).await, 403, "{method} {path}");
    }
    host.ask("POST", &format!("/deliveries/{id}/replay"), None).await;
    let audit = host.ask("GET", "/audit?page_size=1", None).await;
    assert_eq!(audit.json["data"][0]["action"], "delivery.replay", "{}", audit.json);
}
