//! Accounts and their tree, and what the tree means for events.

use serde_json::{Value, json};
use tests::{Answer, Receiver, TestHost};

const MODULE: &[&str] = &["webhooks_misbehaving"];

fn fire(account: &str, say: &str) -> Value {
    json!({"Event-Category": "misbehave", "Event-Name": "now", "Account-ID": account, "Do": "fire", "Say": say})
}

async fn get(host: &TestHost, path: &str) -> Answer {
    host.ask("GET", path, None).await
}

/// The ids of a listing, sorted.
fn ids(listing: &Answer) -> Vec<String> {
    let items = listing.json["data"].as_array().expect("a listing");
    let mut ids: Vec<String> = items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

fn sorted<const N: usize>(ids: [&str; N]) -> Vec<String> {
    let mut ids = ids.map(str::to_owned);
    ids.sort();
    ids.to_vec()
}

#[tokio::test]
async fn an_account_is_made_with_an_id_and_no_private_fields_are_shown() {
    let host = TestHost::with_modules(&[]).await;

    let made =
        json!({"data": {"name": "acme", "realm": "acme.example.com", "pvt_tree": ["x"], "_id": "mine"}});
    let made = host.ask("PUT", "/v2/accounts", Some(made)).await;

    assert_eq!(made.status, 201, "{}", made.json);
    let id = made.json["data"]["id"].as_str().unwrap();
    assert_eq!(id.len(), 32);
    assert_eq!(made.headers["location"], id);
    assert_eq!(made.json["data"], json!({"id": id, "name": "acme", "realm": "acme.example.com"}));
    let read = get(&host, &format!("/v2/accounts/{id}")).await;
    assert_eq!((read.status.as_u16(), &read.json["data"]), (200, &made.json["data"]));
}

#[tokio::test]
async fn children_and_descendants_follow_the_tree() {
    let host = TestHost::with_modules(&[]).await;
    let root = host.account("root").await;
    let left = host.account_below(&root, "left").await;
    let right = host.account_below(&root, "right").await;
    let leaf = host.account_below(&left, "leaf").await;
    let other = host.account("other").await;

    let children = get(&host, &format!("/v2/accounts/{root}/children")).await;
    let descendants = get(&host, &format!("/v2/accounts/{root}/descendants")).await;

    assert_eq!(ids(&children), sorted([&left, &right]));
    assert_eq!(ids(&descendants), sorted([&left, &right, &leaf]));
    assert_eq!(ids(&get(&host, &format!("/v2/accounts/{leaf}/children")).await), sorted([]));
    assert_eq!(ids(&get(&host, &format!("/v2/accounts/{other}/descendants")).await), sorted([]));
    let items = descendants.json["data"].as_array().unwrap();
    let of_leaf = items.iter().find(|item| item["id"] == leaf.as_str()).unwrap();
    assert_eq!(of_leaf, &json!({"id": leaf, "tree": [root, left], "name": "leaf"}));
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_null_takes_a_field_away() {
    let host = TestHost::with_modules(&[]).await;
    let id = host.account("acme").await;
    let path = format!("/v2/accounts/{id}");
    host.ask("PATCH", &path, Some(json!({"data": {"realm": "a.example.com", "note": "x"}}))).await;

    let patched = host.ask("PATCH", &path, Some(json!({"data": {"name": "Acme Inc.", "note": null}}))).await;

    assert_eq!(patched.status, 200, "{}", patched.json);
    let expected = json!({"id": id, "name": "Acme Inc.", "realm": "a.example.com"});
    assert_eq!(patched.json["data"], expected);
    assert_eq!(get(&host, &path).await.json["data"], expected);
}

#[tokio::test]
async fn replacing_leaves_only_what_was_given() {
    let host = TestHost::with_modules(&[]).await;
    let root = host.account("root").await;
    let child = host.account_below(&root, "child").await;
    let path = format!("/v2/accounts/{child}");
    host.ask("PATCH", &path, Some(json!({"data": {"note": "x"}}))).await;

    let replaced = host.ask("POST", &path, Some(json!({"data": {"name": "renamed"}}))).await;

    assert_eq!(
        (replaced.status.as_u16(), &replaced.json["data"]),
        (200, &json!({"id": child, "name": "renamed"}))
    );
    assert_eq!(ids(&get(&host, &format!("/v2/accounts/{root}/children")).await), sorted([&child]));
}

#[tokio::test]
async fn a_bad_account_is_refused_by_field_and_rule() {
    let host = TestHost::with_modules(&[]).await;
    let id = host.account("acme").await;
    for (data, field, code) in [
        (json!({}), "name", "required"),
        (json!({"name": ""}), "name", "minLength"),
        (json!({"name": "x".repeat(129)}), "name", "maxLength"),
        (json!({"name": 7}), "name", "type"),
        (json!({"name": "x", "enabled": "yes"}), "enabled", "type"),
    ] {
        for (method, path) in [("PUT", "/v2/accounts".to_owned()), ("POST", format!("/v2/accounts/{id}"))] {
            let refused = host.ask(method, &path, Some(json!({"data": data}))).await;

            assert_eq!(refused.status, 400, "{method} {data}");
            assert_eq!(refused.json["message"], "validation error", "{method} {data}");
            let said = &refused.json["data"][field][code]["message"];
            assert!(said.is_string(), "{method} {data}: {}", refused.json);
        }
    }
    assert_eq!(get(&host, &format!("/v2/accounts/{id}")).await.json["data"]["name"], "acme");
}

#[tokio::test]
async fn an_unknown_account_is_a_bad_identifier_everywhere() {
    let host = TestHost::with_modules(MODULE).await;
    let body = || Some(json!({"data": {"name": "x"}}));
    for (method, path, body) in [
        ("GET", "/v2/accounts/nobody", None),
        ("PUT", "/v2/accounts/nobody", body()),
        ("POST", "/v2/accounts/nobody", body()),
        ("PATCH", "/v2/accounts/nobody", body()),
        ("DELETE", "/v2/accounts/nobody", None),
        ("GET", "/v2/accounts/nobody/children", None),
        ("GET", "/v2/accounts/nobody/descendants", None),
        ("GET", "/v2/accounts/nobody/webhooks", None),
        ("PUT", "/v2/accounts/nobody/webhooks", body()),
    ] {
        let answer = host.ask(method, path, body).await;

        assert_eq!(answer.status, 404, "{method} {path}: {}", answer.json);
        assert_eq!(answer.json["message"], "bad_identifier", "{method} {path}");
        assert_eq!(answer.json["data"]["cause"], "nobody", "{method} {path}");
    }
}

#[tokio::test]
async fn an_account_with_accounts_below_it_stays() {
    let host = TestHost::with_modules(&[]).await;
    let root = host.account("root").await;
    let child = host.account_below(&root, "child").await;
    let path = format!("/v2/accounts/{root}");

    let refused = host.ask("DELETE", &path, None).await;

    assert_eq!((refused.status.as_u16(), &refused.json["data"]["descendants"]), (409, &json!(1)));
    assert_eq!(get(&host, &path).await.status, 200);
    assert_eq!(host.ask("DELETE", &format!("/v2/accounts/{child}"), None).await.status, 200);
    assert_eq!(host.ask("DELETE", &path, None).await.status, 200);
}

#[tokio::test]
async fn a_deleted_account_is_gone_with_its_hooks_and_gets_nothing_more() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::with_modules(MODULE).await;
    let (gone, stays) = (host.account("gone").await, host.account("stays").await);
    let hook = host.hook(&gone, "misbehaving", &receiver.url("/gone"), json!({})).await;
    host.hook(&stays, "misbehaving", &receiver.url("/stays"), json!({})).await;

    let deleted = host.ask("DELETE", &format!("/v2/accounts/{gone}"), None).await;
    host.publish(fire(&gone, "late")).await;
    host.publish(fire(&stays, "still")).await;

    assert_eq!(
        (deleted.status.as_u16(), &deleted.json["data"]["_read_only"]),
        (200, &json!({"deleted": true}))
    );
    assert_eq!(get(&host, &format!("/v2/accounts/{gone}")).await.status, 404);
    assert_eq!(get(&host, &format!("/v2/accounts/{gone}/webhooks/{hook}")).await.status, 404);
    assert_eq!(receiver.next_request().await.path, "/stays");
    host.settled().await;
    assert!(receiver.waiting().is_empty());
}

#[tokio::test]
async fn a_deleted_hook_gets_nothing_more() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::with_modules(MODULE).await;
    let account = host.account("acme").await;
    let gone = host.hook(&account, "misbehaving", &receiver.url("/gone"), json!({})).await;
    host.hook(&account, "misbehaving", &receiver.url("/stays"), json!({})).await;

    host.ask("DELETE", &format!("/v2/accounts/{account}/webhooks/{gone}"), None).await;
    host.publish(fire(&account, "late")).await;

    assert_eq!(receiver.next_request().await.path, "/stays");
    host.settled().await;
    assert!(receiver.waiting().is_empty());
}

#[tokio::test]
async fn a_disabled_hook_gets_nothing_until_it_is_enabled_again() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::with_modules(MODULE).await;
    let account = host.account("acme").await;
    let hook = host.hook(&account, "misbehaving", &receiver.url("/"), json!({"enabled": false})).await;
    host.publish(fire(&account, "unheard")).await;

    let enable = json!({"data": {"enabled": true}});
    host.ask("PATCH", &format!("/v2/accounts/{account}/webhooks/{hook}"), Some(enable)).await;
    host.publish(fire(&account, "heard")).await;

    assert_eq!(receiver.next_request().await.json()["said"], "heard");
    host.settled().await;
    assert!(receiver.waiting().is_empty());
}

#[tokio::test]
async fn an_event_of_a_grandchild_reaches_every_ancestor_that_includes_its_subaccounts() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::with_modules(MODULE).await;
    let root = host.account("root").await;
    let middle = host.account_below(&root, "middle").await;
    let leaf = host.account_below(&middle, "leaf").await;
    let sibling = host.account_below(&root, "sibling").await;
    let including = || json!({"include_subaccounts": true});
    host.hook(&root, "misbehaving", &receiver.url("/root"), including()).await;
    host.hook(&root, "misbehaving", &receiver.url("/root-own"), json!({})).await;
    host.hook(&middle, "misbehaving", &receiver.url("/middle"), including()).await;
    host.hook(&sibling, "misbehaving", &receiver.url("/sibling"), including()).await;
    host.hook(&leaf, "misbehaving", &receiver.url("/leaf"), json!({})).await;

    host.publish(fire(&leaf, "from the leaf")).await;

    host.settled().await;
    let mut paths: Vec<String> = receiver.waiting().into_iter().map(|request| request.path).collect();
    paths.sort();
    assert_eq!(paths, ["/leaf", "/middle", "/root"]);
}
