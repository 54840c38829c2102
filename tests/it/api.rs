//! Hooks through HTTP: what is stored, what is shown, what is refused and how; and who may ask.

use serde_json::{Value, json};
use tests::{Answer, TestHost};

mod reach;

const MODULE: &[&str] = &["webhooks_misbehaving"];
const URI: &str = "http://127.0.0.1:9/hook";

/// A host with the fixture module and one account.
struct Stand {
    host: TestHost,
    account: String,
}

async fn stand() -> Stand {
    let host = TestHost::with_modules(MODULE).await;
    let account = host.account("acme").await;
    Stand { host, account }
}

impl Stand {
    fn path(&self, hook: &str) -> String {
        format!("/v2/accounts/{}/webhooks/{hook}", self.account)
    }

    async fn create(&self, data: Value) -> Answer {
        let path = format!("/v2/accounts/{}/webhooks", self.account);
        self.host.ask("PUT", &path, Some(json!({"data": data}))).await
    }

    async fn ask(&self, method: &str, hook: &str, data: Value) -> Answer {
        self.host.ask(method, &self.path(hook), Some(json!({"data": data}))).await
    }

    async fn get(&self, hook: &str) -> Answer {
        self.host.ask("GET", &self.path(hook), None).await
    }

    /// A hook with the defaults.
    async fn hook(&self) -> String {
        let made = self.create(json!({"name": "n", "hook": "misbehaving", "uri": URI})).await;
        made.json["data"]["id"].as_str().unwrap_or_else(|| panic!("no id in {}", made.json)).to_owned()
    }
}

fn defaults(id: &str) -> Value {
    json!({"id": id, "name": "n", "hook": "misbehaving", "uri": URI, "http_verb": "post", "format": "form-data",
           "retries": 2, "enabled": true, "include_internal_legs": true})
}

#[tokio::test]
async fn a_hook_is_made_with_the_schemas_defaults_and_without_private_fields() {
    let stand = stand().await;

    let data = json!({"name": "n", "hook": "misbehaving", "uri": URI, "_id": "mine", "id": "mine",
                      "pvt_account_id": "somebody else", "pvt_deleted": true, "_rev": "7-x"});
    let made = stand.create(data).await;

    assert_eq!(made.status, 201, "{}", made.json);
    let id = made.json["data"]["id"].as_str().unwrap();
    assert_ne!(id, "mine");
    assert_eq!(made.headers["location"], id);
    assert_eq!(made.json["data"], defaults(id));
    assert_eq!(stand.get(id).await.json["data"], defaults(id));
}

#[tokio::test]
async fn every_answer_is_an_envelope() {
    let stand = stand().await;
    let hook = stand.hook().await;

    let good = stand.get(&hook).await;
    let bad = stand.get("nothing").await;

    assert_eq!(good.headers["content-type"], "application/json");
    assert_eq!(good.json["status"], "success");
    for field in ["revision", "request_id", "timestamp", "node", "version", "auth_token"] {
        assert!(good.json[field].is_string(), "{field}: {}", good.json);
    }
    assert_eq!(good.headers["x-request-id"], good.json["request_id"].as_str().unwrap());
    assert_eq!((&bad.json["status"], &bad.json["error"]), (&json!("error"), &json!("404")));
    assert_eq!(bad.json["message"], "bad_identifier");
    assert_eq!(bad.json["data"], json!({"message": "bad identifier", "cause": "nothing"}));
}

#[tokio::test]
async fn an_envelope_repeats_the_clients_request_id() {
    let stand = stand().await;

    let asked = stand.host.request("GET", "/v2/webhooks").header("x-request-id", "abc-1");
    let answer = Answer::of(asked).await;

    assert_eq!(answer.json["request_id"], "abc-1");
    assert_eq!(answer.json["auth_token"], Value::Null, "no token was sent");
}

#[tokio::test]
async fn a_listing_shows_a_summary_of_each_hook_of_the_account() {
    let stand = stand().await;
    let first = stand.hook().await;
    let more = json!({"name": "second", "hook": "all", "uri": URI, "group": "g", "enabled": false});
    let second = stand.create(more).await.json["data"]["id"].clone();
    let other = stand.host.account("other").await;
    stand.host.hook(&other, "all", URI, json!({})).await;

    let path = format!("/v2/accounts/{}/webhooks", stand.account);
    let listing = stand.host.ask("GET", &path, None).await;

    assert_eq!((listing.status.as_u16(), &listing.json["page_size"]), (200, &json!(2)));
    let mut items = listing.json["data"].as_array().unwrap().clone();
    items.sort_by_key(|item| item["name"].to_string());
    let expected = json!([
        {"id": first, "hook": "misbehaving", "name": "n", "uri": URI, "enabled": true},
        {"id": second, "hook": "all", "name": "second", "uri": URI, "group": "g", "enabled": false},
    ]);
    assert_eq!(Value::Array(items), expected);
}

#[tokio::test]
async fn a_long_listing_comes_in_pages_that_hold_each_hook_once() {
    let stand = stand().await;
    let mut made = std::collections::BTreeSet::new();
    for _ in 0..5 {
        made.insert(stand.hook().await);
    }

    let mut seen = Vec::new();
    let mut query = "page_size=2".to_owned();
    for _ in 0..3 {
        let path = format!("/v2/accounts/{}/webhooks?{query}", stand.account);
        let page = stand.host.ask("GET", &path, None).await.json;
        let items = page["data"].as_array().unwrap();
        seen.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        query = format!("page_size=2&start_key={}", page["next_start_key"].as_str().unwrap_or("none"));
    }

    assert_eq!(seen.len(), 5);
    assert_eq!(seen.into_iter().collect::<std::collections::BTreeSet<_>>(), made);
    assert!(query.ends_with("=none"), "the last page says that it is the last");
}

#[tokio::test]
async fn replacing_puts_the_defaults_back_and_drops_what_is_not_given() {
    let stand = stand().await;
    let hook = stand.hook().await;
    stand.ask("PATCH", &hook, json!({"http_verb": "put", "retries": 4, "group": "g"})).await;

    let replaced = stand.ask("POST", &hook, json!({"name": "n", "hook": "misbehaving", "uri": URI})).await;

    assert_eq!((replaced.status.as_u16(), &replaced.json["data"]), (200, &defaults(&hook)));
    assert_eq!(stand.get(&hook).await.json["data"], defaults(&hook));
}

#[tokio::test]
async fn a_patch_changes_only_what_it_names() {
    let stand = stand().await;
    let hook = stand.hook().await;

    let patched = stand.ask("PATCH", &hook, json!({"retries": 0, "pvt_account_id": "x", "id": "y"})).await;

    let mut expected = defaults(&hook);
    expected["retries"] = json!(0);
    assert_eq!((patched.status.as_u16(), &patched.json["data"]), (200, &expected));
    assert_ne!(patched.json["revision"], stand.get("nothing").await.json["revision"]);
}

#[tokio::test]
async fn a_patch_is_checked_with_what_was_there() {
    let stand = stand().await;
    let hook = stand.hook().await;

    let refused = stand.ask("PATCH", &hook, json!({"uri": null, "retries": 9})).await;

    assert_eq!(refused.status, 400);
    assert!(refused.json["data"]["uri"]["required"].is_object(), "{}", refused.json);
    assert!(refused.json["data"]["retries"]["maximum"].is_object(), "{}", refused.json);
    assert_eq!(stand.get(&hook).await.json["data"], defaults(&hook));
}

#[tokio::test]
async fn a_deleted_hook_is_shown_once_more_and_then_not_found() {
    let stand = stand().await;
    let hook = stand.hook().await;

    let deleted = stand.host.ask("DELETE", &stand.path(&hook), None).await;

    let mut expected = defaults(&hook);
    expected["_read_only"] = json!({"deleted": true});
    assert_eq!((deleted.status.as_u16(), &deleted.json["data"]), (200, &expected));
    let change = json!({"data": {"name": "n", "hook": "misbehaving", "uri": URI}});
    for (method, body) in [("GET", None), ("POST", Some(&change)), ("PATCH", Some(&change)), ("DELETE", None)]
    {
        let answer = stand.host.ask(method, &stand.path(&hook), body.cloned()).await;
        assert_eq!(answer.status, 404, "{method}: {}", answer.json);
    }
    let listing = stand.host.ask("GET", &format!("/v2/accounts/{}/webhooks", stand.account), None).await;
    assert_eq!(listing.json["data"], json!([]));
}

#[tokio::test]
async fn another_accounts_hook_cannot_be_found() {
    let stand = stand().await;
    let hook = stand.hook().await;
    let other = stand.host.account("other").await;
    let path = format!("/v2/accounts/{other}/webhooks/{hook}");

    let change = json!({"data": {"name": "mine"}});
    for (method, body) in [("GET", None), ("PATCH", Some(&change)), ("POST", Some(&change)), ("DELETE", None)]
    {
        let answer = stand.host.ask(method, &path, body.cloned()).await;
        assert_eq!((answer.status.as_u16(), &answer.json["data"]["cause"]), (404, &json!(hook)), "{method}");
    }
    assert_eq!(stand.get(&hook).await.json["data"], defaults(&hook));
}

/// Makes a good hook with one field changed; the field is refused by this rule.
async fn refused(stand: &Stand, field: &str, value: Value, code: &str) -> Value {
    let mut data = json!({"name": "n", "hook": "misbehaving", "uri": URI});
    match &value {
        Value::Null => drop(data.as_object_mut().unwrap().remove(field)),
        value => data[field] = value.clone(),
    }
    let answer = stand.create(data).await;
    assert_eq!(answer.status, 400, "{field} {value}: {}", answer.json);
    assert_eq!(answer.json["message"], "validation error", "{field} {value}");
    let fields = answer.json["data"].as_object().unwrap();
    assert_eq!(fields.keys().collect::<Vec<_>>(), [field], "{field} {value}: {}", answer.json);
    let said = &answer.json["data"][field][code];
    assert!(said["message"].is_string(), "{field} {value}: no {code} in {}", answer.json);
    said.clone()
}

#[tokio::test]
async fn a_bad_hook_is_refused_by_field_and_rule() {
    let stand = stand().await;
    for (field, value, code) in [
        ("name", Value::Null, "required"),
        ("hook", Value::Null, "required"),
        ("uri", Value::Null, "required"),
        ("name", json!(1), "type"),
        ("hook", json!(["misbehaving"]), "type"),
        ("uri", json!({}), "type"),
        ("http_verb", json!(true), "type"),
        ("format", json!(1), "type"),
        ("retries", json!("two"), "type"),
        ("retries", json!(1.5), "type"),
        ("enabled", json!("yes"), "type"),
        ("include_internal_legs", json!(1), "type"),
        ("include_subaccounts", json!("no"), "type"),
        ("custom_data", json!("x"), "type"),
        ("custom_data", json!([1]), "type"),
        ("hook", json!("no_such_event"), "enum"),
        ("http_verb", json!("delete"), "enum"),
        ("http_verb", json!("POST"), "enum"),
        ("format", json!("xml"), "enum"),
        ("retries", json!(-1), "minimum"),
        ("retries", json!(5), "maximum"),
        ("uri", json!("ftp://example.com/"), "error"),
        ("uri", json!("not an address"), "error"),
        ("uri", json!(""), "error"),
        ("uri", json!("http://"), "error"),
    ] {
        refused(&stand, field, value, code).await;
    }
}

#[tokio::test]
async fn a_refusal_names_the_value_and_what_would_be_right() {
    let stand = stand().await;

    let hook = refused(&stand, "hook", json!("no_such_event"), "enum").await;
    let verb = refused(&stand, "http_verb", json!("delete"), "enum").await;
    let uri = refused(&stand, "uri", json!("ftp://example.com/"), "error").await;
    let retries = refused(&stand, "retries", json!(5), "maximum").await;

    assert_eq!((&hook["cause"], &hook["target"]), (&json!("no_such_event"), &json!(["all", "misbehaving"])));
    assert_eq!((&verb["cause"], &verb["target"]), (&json!("delete"), &json!(["get", "post", "put"])));
    assert_eq!(uri, json!({"message": "invalid client URL", "value": "ftp://example.com/"}));
    assert_eq!((&retries["cause"], &retries["target"]), (&json!(5), &json!(4)));
}

#[tokio::test]
async fn everything_that_is_wrong_is_told_at_once() {
    let stand = stand().await;

    let answer = stand.create(json!({"uri": "ftp://x/", "retries": 9, "enabled": 1})).await;

    let mut fields: Vec<&String> = answer.json["data"].as_object().unwrap().keys().collect();
    fields.sort();
    assert_eq!(fields, ["enabled", "hook", "name", "retries", "uri"]);
}

#[tokio::test]
async fn a_value_of_custom_data_that_is_no_text_is_refused_by_its_path() {
    let stand = stand().await;

    let data = json!({"name": "n", "hook": "misbehaving", "uri": URI, "custom_data": {"deep": {"a": 1}}});
    let answer = stand.create(data).await;

    assert_eq!(answer.status, 400);
    assert!(answer.json["data"]["custom_data.deep"]["type"].is_object(), "{}", answer.json);
}

/// Sends a raw body to the account's hooks.
async fn send(stand: &Stand, content_type: &str, body: &'static str) -> Answer {
    let path = format!("/v2/accounts/{}/webhooks", stand.account);
    let request = stand.host.request("PUT", &path).header("x-auth-token", stand.host.token());
    Answer::of(request.header("content-type", content_type).body(body)).await
}

#[tokio::test]
async fn a_body_that_is_not_json_is_told_with_its_place() {
    let stand = stand().await;

    let answer = send(&stand, "application/json", "{\"data\":\n {\"name\": }}").await;

    assert_eq!((answer.status.as_u16(), &answer.json["message"]), (400, &json!("parse_error")));
    assert_eq!((&answer.json["data"]["line"], &answer.json["data"]["column"]), (&json!(2), &json!(11)));
}

#[tokio::test]
async fn a_body_without_data_is_refused() {
    let stand = stand().await;
    for (body, code) in [
        ("{}", "required"),
        ("[]", "required"),
        ("7", "required"),
        ("{\"data\": []}", "type"),
        ("{\"data\": null}", "type"),
    ] {
        let answer = send(&stand, "application/json", body).await;

        assert_eq!(
            (answer.status.as_u16(), &answer.json["message"]),
            (400, &json!("validation error")),
            "{body}"
        );
        assert!(answer.json["data"]["data"][code].is_object(), "{body}: {}", answer.json);
    }
    assert_eq!(send(&stand, "application/json", "").await.status, 400);
    assert_eq!(send(&stand, "text/plain", "{\"data\": {}}").await.status, 415);
}
