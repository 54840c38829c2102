//! Hooks over HTTP, and what can be hooked.

use super::*;

#[tokio::test]
async fn what_can_be_hooked_is_public() {
    let host = host();

    let answer = host.anonymous("GET", "/v2/webhooks").await.expect(StatusCode::OK);

    let types = json!({"new_user": {}});
    assert_eq!(
        answer.body["data"],
        json!([
            {"id": "notifications", "name": "Notifications", "modifiers": {"type": {"type": "object", "items": types}}},
            {"id": "sms", "name": "SMS"},
        ]),
    );
    let all = host.get("/v2/webhooks").await;
    assert!(all.body["data"][0]["modifiers"]["type"]["items"]["system_alert"].is_object());
}

#[tokio::test]
async fn samples_are_public_and_can_be_filtered() {
    let host = host();

    let ids = host.anonymous("GET", "/v2/webhooks/samples").await.expect(StatusCode::OK);
    let all =
        host.anonymous("GET", "/v2/webhooks/samples/webhooks_notifications").await.expect(StatusCode::OK);
    let path = "/v2/webhooks/samples/webhooks_notifications?filter_event_name=missed_call";
    let one = host.anonymous("GET", path).await.expect(StatusCode::OK);

    assert_eq!(ids.body["data"], json!(["webhooks_notifications"]));
    assert_eq!(all.body["data"].as_array().unwrap().len(), 2);
    assert_eq!(one.body["data"], json!([{"event_name": "missed_call"}]));
    let missing = host.anonymous("GET", "/v2/webhooks/samples/nothing").await;
    missing.expect_error(StatusCode::NOT_FOUND, "bad_identifier");
}

#[tokio::test]
async fn a_hook_is_made_read_changed_and_deleted() {
    let host = host();
    let hooks = format!("/v2/accounts/{}/webhooks", host.account().await);
    assert_eq!(host.get(&hooks).await.expect(StatusCode::OK).body["data"], json!([]));

    let sent = json!({"name": "calls", "hook": "all", "uri": "http://example.com", "group": "a", "pvt_x": 1});
    let made = host.data("PUT", &hooks, sent).await.expect(StatusCode::CREATED);
    let (id, path) = (made.id(), format!("{hooks}/{}", made.id()));
    assert_eq!(made.headers["location"], id.as_str());
    assert_eq!(made.body["data"]["retries"], 2);
    assert!(made.body["data"].get("pvt_x").is_none());
    assert_eq!(host.get(&path).await.expect(StatusCode::OK).body["data"], made.body["data"]);

    let listed = host.get(&hooks).await.expect(StatusCode::OK);
    assert_eq!(
        listed.body["data"],
        json!([{"id": id, "hook": "all", "name": "calls", "uri": "http://example.com", "group": "a", "enabled": true}]),
    );
    assert_eq!(listed.body["page_size"], 1);

    let patched = host.data("PATCH", &path, json!({"enabled": false})).await.expect(StatusCode::OK);
    assert_eq!(
        (&patched.body["data"]["enabled"], &patched.body["data"]["name"]),
        (&json!(false), &json!("calls"))
    );
    let replaced = host.data("POST", &path, json!({"name": "new"})).await.expect(StatusCode::OK);
    assert_eq!(replaced.body["data"], json!({"id": id, "name": "new", "retries": 2}));

    let deleted = host.delete(&path).await.expect(StatusCode::OK);
    assert_eq!(deleted.body["data"]["_read_only"], json!({"deleted": true}));
    host.get(&path).await.expect_error(StatusCode::NOT_FOUND, "bad_identifier");
    assert_eq!(host.get(&hooks).await.body["data"], json!([]));
}

#[tokio::test]
async fn an_automatically_disabled_hook_says_why() {
    let host = host();
    let account = host.account().await;
    let hooks = format!("/v2/accounts/{account}/webhooks");
    let id = host.data("PUT", &hooks, json!({"name": "calls"})).await.id();
    let mut doc = crate::store::HookStore::hook(&*host.store, &id).await.unwrap().unwrap();
    doc.insert("enabled".into(), false.into());
    doc.insert("pvt_disabled_message".into(), "too many failed attempts".into());
    crate::store::HookStore::save_hook(&*host.store, doc).await.unwrap();

    let listed = host.get(&hooks).await;
    let shown = host.get(&format!("{hooks}/{id}")).await;

    assert_eq!(listed.body["data"][0]["disable_reason"], "too many failed attempts");
    assert_eq!(listed.body["data"][0]["enabled"], false);
    assert_eq!(shown.body["data"]["disable_reason"], "too many failed attempts");
}

#[tokio::test]
async fn a_hook_is_only_found_under_its_own_account() {
    let host = host();
    let (mine, other) = (host.account().await, host.account().await);
    let hook =
        host.data("PUT", &format!("/v2/accounts/{mine}/webhooks"), json!({"name": "calls"})).await.id();

    let elsewhere = format!("/v2/accounts/{other}/webhooks/{hook}");
    for answer in [
        host.get(&elsewhere).await,
        host.delete(&elsewhere).await,
        host.data("POST", &elsewhere, json!({"name": "stolen"})).await,
        host.data("PATCH", &elsewhere, json!({"name": "stolen"})).await,
        host.get("/v2/accounts/nobody/webhooks").await,
        host.data("PUT", "/v2/accounts/nobody/webhooks", json!({"name": "calls"})).await,
    ] {
        answer.expect_error(StatusCode::NOT_FOUND, "bad_identifier");
    }
}

#[tokio::test]
async fn the_validators_words_reach_the_client() {
    let host = host();
    let hooks = format!("/v2/accounts/{}/webhooks", host.account().await);

    let answer = host.data("PUT", &hooks, json!({"uri": "http://example.com"})).await;

    let answer = answer.expect_error(StatusCode::BAD_REQUEST, "validation error");
    assert_eq!(answer.body["data"], json!({"name": {"required": {"message": "a hook needs a name"}}}));
}

#[tokio::test]
async fn a_long_list_comes_in_pages() {
    let host = host();
    let hooks = format!("/v2/accounts/{}/webhooks", host.account().await);
    for n in 0..5 {
        host.data("PUT", &hooks, json!({"name": format!("hook {n}")})).await.expect(StatusCode::CREATED);
    }

    let first = host.get(&format!("{hooks}?page_size=3")).await;
    let next = first.body["next_start_key"].as_str().unwrap();
    let second = host.get(&format!("{hooks}?page_size=3&start_key={next}")).await;

    assert_eq!((&first.body["page_size"], &second.body["page_size"]), (&json!(3), &json!(2)));
    assert!(second.body.get("next_start_key").is_none());
    let wrong = host.get(&format!("{hooks}?page_size=many")).await;
    wrong.expect_error(StatusCode::BAD_REQUEST, "validation error");
}

#[tokio::test]
async fn a_test_needs_no_body_and_says_why_none_was_sent() {
    let host = host();
    let account = host.account().await;
    let hooks = format!("/v2/accounts/{account}/webhooks");
    let new = json!({"name": "calls", "hook": "notifications"});
    let hook = host.data("PUT", &hooks, new).await.expect(StatusCode::CREATED).id();
    let path = format!("{hooks}/{hook}/test");
    let token = [("x-auth-token", host.token.reveal())];

    for body in ["", " \n", r#"{"data": {}}"#, r#"{"data": null}"#] {
        let answer = host.raw("POST", &path, &token, body).await.expect(StatusCode::OK);
        assert_eq!(answer.body["data"]["sent"], json!({"event_name": "new_user"}), "{body:?}");
        assert_eq!(answer.body["data"]["hook_id"], hook.as_str());
    }
    let busy = host.data("POST", &path, json!({"payload": {"busy": true}})).await;
    busy.expect_error(StatusCode::CONFLICT, "test_under_way");
    host.raw("POST", &path, &token, "{").await.expect_error(StatusCode::BAD_REQUEST, "parse_error");
    let deep = format!(r#"{{"data": {{"payload": {{"k": {}{}}}}}}}"#, "[".repeat(125), "]".repeat(125));
    host.raw("POST", &path, &token, deep).await.expect(StatusCode::BAD_REQUEST);
    let form = [token[0], ("content-type", "text/plain")];
    host.raw("POST", &path, &form, "x").await.expect(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let other = host.account().await;
    let elsewhere = host.data("POST", &format!("/v2/accounts/{other}/webhooks/{hook}/test"), json!({})).await;
    elsewhere.expect_error(StatusCode::NOT_FOUND, "bad_identifier");
    let audit = host.get("/audit").await;
    let tests =
        audit.body["data"].as_array().unwrap().iter().filter(|entry| entry["action"] == "webhook.test");
    assert_eq!(tests.count(), 4);
}

#[tokio::test]
async fn metadata_documents_are_reset_all_or_one() {
    let host = host();
    let done = host.data("POST", "/metadata/reset", json!({})).await.expect(StatusCode::OK);
    assert_eq!(done.body["data"], json!({"reinitialized": ["webhooks_sms"], "removed": []}));
    let unknown = host.data("POST", "/metadata/reset?id=door", json!({})).await;
    unknown.expect_error(StatusCode::NOT_FOUND, "bad_identifier");
    let full = host.data("POST", "/metadata/reset?id=full", json!({})).await;
    let full = full.expect_error(StatusCode::SERVICE_UNAVAILABLE, "datastore_fault");
    assert_eq!(full.body["data"]["document"], "webhooks_full");
}
