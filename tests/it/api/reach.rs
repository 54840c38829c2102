//! Who reaches which route, and what routes say of the host.

use super::*;

#[tokio::test]
async fn only_the_administrators_token_opens_what_is_not_public() {
    let stand = stand().await;
    let (host, token) = (&stand.host, stand.host.token());
    let path = format!("/v2/accounts/{}", stand.account);
    let ask =
        |header: &'static str, value: String| Answer::of(host.request("GET", &path).header(header, value));

    assert_eq!(ask("x-auth-token", token.to_owned()).await.status, 200);
    assert_eq!(ask("authorization", format!("Bearer {token}")).await.status, 200);
    assert_eq!(ask("authorization", format!("bearer {token}")).await.status, 200);
    for (header, value) in [
        ("accept", "*/*".to_owned()),
        ("x-auth-token", "wrong".to_owned()),
        ("x-auth-token", String::new()),
        ("x-auth-token", token[1..].to_owned()),
        ("authorization", token.to_owned()),
        ("authorization", format!("Basic {token}")),
        ("authorization", "Bearer wrong".to_owned()),
    ] {
        let answer = ask(header, value.clone()).await;
        assert_eq!(answer.status, 401, "{header}: {value}");
        assert_eq!(answer.json["message"], "invalid_credentials", "{header}: {value}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    }
}

#[tokio::test]
async fn without_a_token_nothing_guarded_is_read_or_changed() {
    let stand = stand().await;
    let hook = stand.hook().await;
    let account = format!("/v2/accounts/{}", stand.account);
    let hooks = format!("{account}/webhooks");
    let one = stand.path(&hook);
    for (method, path) in [
        ("PUT", "/v2/accounts"),
        ("GET", &account),
        ("DELETE", &account),
        ("GET", &hooks),
        ("PUT", &hooks),
        ("GET", &one),
        ("DELETE", &one),
        ("POST", "/events"),
        ("GET", "/modules"),
        ("GET", "/modules/webhooks_misbehaving"),
        ("GET", "/hooks"),
    ] {
        let answer = Answer::of(stand.host.request(method, path)).await;
        assert_eq!(answer.status, 401, "{method} {path}: {}", answer.json);
    }
    assert_eq!(stand.get(&hook).await.status, 200);
}

#[tokio::test]
async fn public_routes_need_no_token() {
    let stand = stand().await;
    for path in ["/healthz", "/readyz", "/v2/webhooks", "/v2/webhooks/samples"] {
        let answer = Answer::of(stand.host.request("GET", path)).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.json);
    }
}

#[tokio::test]
async fn what_can_be_hooked_is_what_is_loaded() {
    let stand = stand().await;

    let answer = Answer::of(stand.host.request("GET", "/v2/webhooks")).await;

    let events = answer.json["data"].as_array().unwrap();
    assert_eq!(events.len(), 1, "{}", answer.json);
    assert_eq!((&events[0]["id"], &events[0]["name"]), (&json!("misbehaving"), &json!("Misbehaving")));
    assert_eq!(events[0]["description"], "Does what it should not, on request");
}

#[tokio::test]
async fn an_unknown_route_is_404_and_a_wrong_method_405_with_the_right_ones() {
    let stand = stand().await;
    for path in ["/nothing", "/v2", "/v2/nothing", "/healthz/more", "//", "/%00"] {
        let answer = stand.host.ask("GET", path, None).await;
        assert_eq!((answer.status.as_u16(), &answer.json["message"]), (404, &json!("not_found")), "{path}");
        assert_eq!(answer.json["data"]["cause"], path);
    }
    for (method, path, allowed) in [
        ("DELETE", "/healthz", "GET"),
        ("GET", "/events", "POST"),
        ("DELETE", "/modules", "GET"),
        ("POST", "/v2/accounts", "PUT"),
    ] {
        let answer = stand.host.ask(method, path, None).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json["message"]),
            (405, &json!("invalid_method")),
            "{path}"
        );
        let allow = answer.headers["allow"].to_str().unwrap();
        assert!(allow.split(',').any(|method| method == allowed), "{path}: {allow}");
    }
}

#[tokio::test]
async fn health_and_readiness_are_told_apart_from_everything_else() {
    let stand = stand().await;

    let alive = stand.host.ask("GET", "/healthz", None).await;
    let ready = stand.host.ask("GET", "/readyz", None).await;

    assert_eq!((alive.status.as_u16(), &alive.json["data"]), (200, &json!({"alive": true})));
    assert_eq!((ready.status.as_u16(), &ready.json["data"]), (200, &json!({"ready": true, "degraded": []})));
}

#[tokio::test]
async fn modules_are_shown_with_what_they_want_and_have_done() {
    let stand = stand().await;

    let all = stand.host.ask("GET", "/modules", None).await;
    let unknown = stand.host.ask("GET", "/modules/webhooks_nothing", None).await;

    assert_eq!((all.status.as_u16(), &all.json["refused"]), (200, &json!([])));
    let module = &all.json["data"][0];
    assert_eq!(module, &stand.host.module("webhooks_misbehaving").await);
    assert_eq!((&module["id"], &module["generation"]), (&json!("webhooks_misbehaving"), &json!(1)));
    assert_eq!((&module["calls"], &module["failures"]), (&json!(0), &json!(0)));
    assert_eq!(module["sha256"].as_str().map(str::len), Some(64));
    for field in ["version", "file", "state", "loaded_at"] {
        assert!(module[field].is_string(), "{field}: {module}");
    }
    assert_eq!((unknown.status.as_u16(), &unknown.json["message"]), (404, &json!("bad_identifier")));
}

#[tokio::test]
async fn all_hooks_of_the_host_are_listed_and_those_of_one_account() {
    let stand = stand().await;
    let mine = stand.hook().await;
    let other = stand.host.account("other").await;
    let theirs = json!({"http_verb": "put", "retries": 4, "enabled": false});
    let theirs = stand.host.hook(&other, "all", URI, theirs).await;

    let all = stand.host.ask("GET", "/hooks", None).await;
    let of_other = stand.host.ask("GET", &format!("/hooks?account={other}"), None).await;
    let of_nobody = stand.host.ask("GET", "/hooks?account=nobody", None).await;

    let mine = json!({"id": mine, "account_id": stand.account, "hook": "misbehaving", "uri": URI,
                      "http_verb": "post", "retries": 2, "enabled": true, "tried": false,
                      "in_flight": 0, "in_flight_limit": 4});
    let theirs = json!({"id": theirs, "account_id": other, "hook": "all", "uri": URI,
                        "http_verb": "put", "retries": 4, "enabled": false, "tried": false,
                        "in_flight": 0, "in_flight_limit": 4});
    let mut both = [mine, theirs.clone()];
    both.sort_by_key(|hook| std::cmp::Reverse(hook["id"].as_str().unwrap().to_owned()));
    assert_eq!((all.status.as_u16(), &all.json["data"]), (200, &json!(both)));
    let first = stand.host.ask("GET", "/hooks?page_size=1", None).await.json;
    assert_eq!((&first["data"], &first["page_size"]), (&json!([both[0]]), &json!(1)));
    let next = first["next_start_key"].as_str().unwrap();
    let second = stand.host.ask("GET", &format!("/hooks?page_size=1&start_key={next}"), None).await.json;
    assert_eq!((&second["data"], second.get("next_start_key")), (&json!([both[1]]), None));
    assert_eq!(of_other.json["data"], json!([theirs]));
    let one = stand.host.ask("GET", &format!("/hooks/{}", theirs["id"].as_str().unwrap()), None).await;
    assert_eq!(one.json["data"], theirs);
    let none = stand.host.ask("GET", "/hooks/nobody", None).await;
    assert_eq!((none.status.as_u16(), &none.json["message"]), (404, &json!("bad_identifier")));
    assert_eq!((of_nobody.status.as_u16(), &of_nobody.json["data"]["cause"]), (404, &json!("nobody")));
}
