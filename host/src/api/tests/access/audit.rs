//! What the audit log says of changes.

use super::*;

#[tokio::test]
async fn a_change_is_written_down_with_who_what_when_and_where() {
    let family = Family::new().await;
    let host = &family.host;
    let own = [
        ("x-auth-token", family.tokens["own"].as_str()),
        ("content-type", "application/json"),
        ("x-request-id", "change-1"),
    ];
    let hooks = format!("/v2/accounts/{}/webhooks", family.own);
    let data = json!({"data": {"name": "calls", "uri": "http://u:pa55word@h/", "secret": "generate", "note": "n0te"}});
    let before = host.audit().await.len();

    let hook = host.raw("PUT", &hooks, &own, data.to_string()).await.expect(StatusCode::CREATED);
    host.raw("GET", &hooks, &own, Body::empty()).await.expect(StatusCode::OK);
    host.raw("PUT", &hooks, &own, json!({"data": {}}).to_string()).await.expect(StatusCode::BAD_REQUEST);
    host.data("POST", "/events", json!({})).await;

    let entries = host.audit().await;
    assert_eq!(entries.len(), before + 1, "{entries:#?}");
    let entry = &entries[0];
    assert_eq!(entry["action"], "webhook.create");
    assert_eq!(entry["token"], family.tokens["own"].split('_').nth(1).unwrap());
    assert_eq!((&entry["token_account_id"], &entry["account_id"]), (&json!(family.own), &json!(family.own)));
    assert_eq!((&entry["document"], &entry["request_id"]), (&json!(hook.id()), &json!("change-1")));
    assert!(entry["at"].as_str().unwrap().ends_with('Z'));
    let secret = hook.body["data"]["secret"].as_str().unwrap();
    let all = Value::from(entries.clone()).to_string();
    for hidden in [secret, "pa55word", "n0te"] {
        assert!(!all.contains(hidden), "{hidden} is in the audit log");
    }
    assert!(entries.iter().any(|entry| entry["action"] == "token.revoke" && entry["token"] == "admin.token"));

    let own_log =
        host.raw("GET", &format!("/v2/accounts/{}/audit?page_size=1", family.own), &own, Body::empty()).await;
    assert_eq!(own_log.body["data"], json!([entry]));
    let next = own_log.body["next_start_key"].as_str().unwrap();
    let rest = host.get(&format!("/audit?account={}&start_key={next}", family.own)).await;
    let rest = rest.body["data"].as_array().unwrap();
    assert!(
        !rest.is_empty() && rest.iter().all(|entry| entry["account_id"] == family.own.as_str()),
        "{rest:#?}"
    );
}

#[tokio::test]
async fn a_change_is_written_down_although_its_client_has_gone() {
    let host = host();
    let request = Request::builder()
        .method("PUT")
        .uri("/v2/accounts")
        .header("x-auth-token", host.token.reveal())
        .body(Body::from(json!({"data": {"name": "acme"}}).to_string()))
        .unwrap();

    let mut asking = Box::pin(host.router.clone().oneshot(request));
    assert!(futures_util::poll!(asking.as_mut()).is_pending());
    drop(asking);
    host.access.close().await;

    assert_eq!(host.audit().await[0]["action"], "account.create");
}

#[tokio::test]
async fn a_change_that_cannot_be_written_down_is_counted() {
    let host = host();
    crate::store::StoreBackend::close(&*host.store).await.unwrap();

    let token = [("x-auth-token", host.token.reveal())];
    host.raw("POST", "/modules/webhooks_sms/reload", &token, Body::empty()).await.expect(StatusCode::OK);

    assert_eq!(host.access.audit.failures(), 1);
}
