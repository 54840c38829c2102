//! The whole way that a customer of a KAZOO system takes through the API, as the original's own test of it does: what
//! can be hooked, a hook, the changes that it is told of, and its end.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{Answer, Home, Program, Receiver, Request};

const MODULES: &[&str] = &["webhooks_object", "webhooks_channel_create"];

/// The sink is on this machine.
const ALLOWED: &str = "[delivery]\nallow_targets = [\"127.0.0.1/32\"]\n";

/// Within this time a change must have arrived.
const SOON: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_customer_finds_makes_uses_and_deletes_a_hook() {
    let host = Home::new(ALLOWED, MODULES).start().await;
    let mut sink = Receiver::answering(200).await;
    what_can_be_hooked_is_shown_with_samples(&host).await;
    let account = host.account("pqc").await;
    let token = account_token(&host, &account).await;
    let customer = Customer { host: &host, account: &account, token: &token };
    assert_eq!(customer.hooks().await, json!([]));

    for verb in ["post", "put"] {
        let hook = customer.hook(verb, &sink.url(&format!("/{verb}"))).await;
        let listed = customer.hooks().await;
        assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
        assert_eq!((&listed[0]["id"], &listed[0]["enabled"]), (&json!(hook), &json!(true)));

        let user = format!("{:032x}", 7);
        for change in ["doc_created", "doc_edited", "doc_deleted"] {
            publish(&host, &account, &user, change).await;
            let told = tokio::time::timeout(SOON, sink.next_request()).await.expect("it is told soon");
            let expected = [("action", change), ("type", "user"), ("id", &user)];
            assert_eq!(told.method, verb.to_uppercase());
            assert_eq!(told.header("content-type"), "application/x-www-form-urlencoded");
            for (field, value) in expected {
                assert!(has(&told, field, value), "{change}: {field} is not {value}: {}", told.text());
            }
        }

        customer.delete(&hook).await;
        assert_eq!(customer.hooks().await, json!([]));
        let served = host.ask("GET", &format!("/hooks?account={account}"), None).await;
        assert_eq!(served.json["data"], json!([]), "it is still served");
    }

    assert!(sink.waiting().is_empty());
}

#[tokio::test]
async fn a_host_as_it_comes_takes_no_hook_to_itself() {
    let host = Home::new("[delivery]\nallow_targets = []\n", MODULES).start().await;
    let account = host.account("pqc").await;
    let token = account_token(&host, &account).await;
    let customer = Customer { host: &host, account: &account, token: &token };

    let refused = customer.ask("PUT", "", Some(object("post", "https://localhost:345/mine"))).await;

    assert_eq!(refused.status, 400);
    let said = refused.json["data"]["uri"]["error"]["message"].as_str().unwrap();
    assert!(said.starts_with("invalid client URL"), "{said}");
    assert_eq!(customer.hooks().await, json!([]));
}

async fn what_can_be_hooked_is_shown_with_samples(host: &Program) {
    let anybody = |path: &str| Answer::of(host.request("GET", path));
    let available = anybody("/v2/webhooks").await;
    assert!(available.json["data"].as_array().is_some_and(|hooks| hooks.len() == 2), "{}", available.json);
    assert!(available.json.get("version").is_none(), "it is for those with a token");
    let known = host.ask("GET", "/v2/webhooks", None).await;
    assert!(known.json["version"].is_string());

    let samples = anybody("/v2/webhooks/samples").await;
    let samples = samples.json["data"].as_array().expect("ids").clone();
    assert!(!samples.is_empty());
    for id in samples {
        let sample = anybody(&format!("/v2/webhooks/samples/{}", id.as_str().unwrap())).await;
        assert_eq!(sample.status, 200);
        assert!(sample.json["data"].as_array().is_some_and(|samples| !samples.is_empty()), "{id}");
    }
}

async fn account_token(host: &Program, account: &str) -> String {
    let path = format!("/v2/accounts/{account}/tokens");
    let made = host.ask("PUT", &path, Some(json!({"data": {"name": "customer"}}))).await;
    made.json["data"]["token"].as_str().expect("a token").to_owned()
}

struct Customer<'h> {
    host: &'h Program,
    account: &'h str,
    token: &'h str,
}

impl Customer<'_> {
    async fn ask(&self, method: &str, rest: &str, body: Option<Value>) -> Answer {
        let path = format!("/v2/accounts/{}/webhooks{rest}", self.account);
        let request = self.host.request(method, &path).header("x-auth-token", self.token);
        Answer::of(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
    }

    async fn hooks(&self) -> Value {
        let listed = self.ask("GET", "", None).await;
        assert_eq!(listed.status, 200);
        listed.json["data"].clone()
    }

    async fn hook(&self, verb: &str, uri: &str) -> String {
        let made = self.ask("PUT", "", Some(object(verb, uri))).await;
        assert_eq!(made.status, 201, "{}", made.json);
        assert_eq!(made.headers["location"].to_str().unwrap(), made.json["data"]["id"]);
        made.json["data"]["id"].as_str().expect("an id").to_owned()
    }

    async fn delete(&self, hook: &str) {
        let gone = self.ask("DELETE", &format!("/{hook}"), None).await;
        assert_eq!((gone.status.as_u16(), &gone.json["data"]["_read_only"]["deleted"]), (200, &json!(true)));
    }
}

fn object(verb: &str, uri: &str) -> Value {
    json!({"data": {
        "name": "Users", "hook": "object", "http_verb": verb, "uri": uri, "format": "form-data",
        "custom_data": {"type": "user", "action": "all"},
    }})
}

/// What another application says when a document of the account has changed.
async fn publish(host: &Program, account: &str, id: &str, change: &str) {
    let database = format!("account/{}/{}/{}", &account[..2], &account[2..4], &account[4..]);
    let event = json!({
        "Event-Category": "configuration", "Event-Name": change, "App-Name": "crossbar", "App-Version": "4.3",
        "Node": "kazoo_apps@example.com", "Msg-ID": format!("{change}-{account}-{id}-{}", rand::random::<u64>()),
        "ID": id, "Type": "user", "Database": database, "Rev": "1-a", "Account-ID": account, "Date-Created": 63_900_000_000_i64,
    });
    let answer = host.ask("POST", "/events", Some(event)).await;
    assert_eq!(answer.status, 202, "{}", answer.json);
}

/// Whether a form has this field.
fn has(request: &Request, field: &str, value: &str) -> bool {
    request.text().split('&').any(|pair| pair == format!("{field}={value}"))
}
