//! The API's description: it is served, its examples work, and its reader has all that it needs.

use std::collections::HashSet;

use serde_json::{Value, json};
use tests::{Answer, Home, Operation, Receiver, TestHost, described, valid};

const ANYWHERE: &str = "[delivery]\nallow_targets = [\"127.0.0.0/8\"]\n";

#[tokio::test]
async fn the_description_is_served_to_everybody_and_names_what_the_loaded_modules_offer() {
    let host = TestHost::with_modules(&["webhooks_channel_create", "webhooks_object"]).await;

    let answer = Answer::of(host.request("GET", "/openapi.json")).await;

    assert_eq!(answer.json["openapi"], "3.1.0");
    let hook = &answer.json["components"]["schemas"]["NewWebhook"];
    assert_eq!(hook["properties"]["hook"]["enum"], json!(["all", "channel_create", "object"]));
    let new = |fields: Value| {
        let mut new = json!({"name": "n", "hook": "object", "uri": "https://example.com"});
        new.as_object_mut().unwrap().extend(fields.as_object().cloned().unwrap());
        new
    };
    let schema =
        jsonschema::validator_for(&json!({"allOf": [hook], "components": answer.json["components"]}))
            .unwrap();
    assert!(schema.is_valid(&new(json!({"custom_data": {"type": "user", "action": "all"}}))));
    assert!(schema.is_valid(&new(json!({"hook": "channel_create"}))));
    for wrong in [
        json!({}),
        json!({"custom_data": {"type": "user"}}),
        json!({"custom_data": {"type": "nonsense", "action": "all"}}),
        json!({"hook": "sms"}),
        json!({"hook": "channel_create", "legacy_signature": true}),
    ] {
        let wrong = new(wrong);
        assert!(!schema.is_valid(&wrong), "{wrong}");
        // What the description refuses, the host refuses.
        let account = host.account("a").await;
        let path = format!("/v2/accounts/{account}/webhooks");
        let answer = host.ask("PUT", &path, Some(json!({"data": wrong}))).await;
        assert_eq!(answer.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn operations_have_names_of_their_own_and_say_what_they_do() {
    let mut names = HashSet::new();
    for Operation { method, path, says } in described() {
        assert!(
            names.insert(says["operationId"].as_str().unwrap()),
            "{method} {path}: its name is another\'s"
        );
        assert!(says["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{method} {path}");
        assert_eq!(says["tags"].as_array().map(Vec::len), Some(1), "{method} {path}");
        for parameter in says["parameters"].as_array().into_iter().flatten() {
            assert!(parameter["description"].is_string(), "{method} {path}: {parameter}");
            let examples = parameter["schema"]["examples"].as_array().into_iter().flatten();
            for example in examples {
                valid(&parameter["schema"], example).unwrap();
            }
        }
    }
}

#[tokio::test]
async fn whatever_the_description_speaks_of_is_in_it() {
    let description = hookline::api::description();
    let mut open = vec![&description];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(place)) = fields.get("$ref") {
                    let pointer = place.strip_prefix('#').unwrap();
                    assert!(description.pointer(pointer).is_some(), "there is no {place}");
                }
                open.extend(fields.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
}

/// Every example is sent as it stands, to things that are there.
#[tokio::test]
async fn every_example_of_a_request_is_taken() {
    let host = TestHost::configured(ANYWHERE, &["webhooks_channel_create"]).await;
    let receiver = Receiver::answering(200).await;
    let mut sent = 0;
    // No example is a key of this host.
    for operation in described().filter(|operation| operation.path != "/v2/api_auth") {
        let Some(content) = operation.says["requestBody"]["content"].as_object() else { continue };
        for (kind, content) in content {
            let Some(example) = example(&content["schema"]) else {
                assert!(
                    kind.contains("ndjson") || kind.contains("batch"),
                    "{} has no example",
                    operation.path
                );
                continue;
            };
            valid(&content["schema"], &example).unwrap();
            let account = host.account("Acme").await;
            let hook = host.hook(&account, "channel_create", &receiver.url("/"), json!({})).await;
            let path = operation.path.replace("{account}", &account).replace("{hook}", &hook);
            let path = path.replace("{id}", "webhooks_channel_create");
            let request = host.request(&operation.method.to_uppercase(), &path);
            let request = request.header("x-auth-token", host.token()).header("content-type", kind.as_str());
            let answer = Answer::of(request.body(example.to_string())).await;
            assert!(answer.status.is_success(), "{} {}: {}", operation.method, operation.path, answer.json);
            sent += 1;
        }
    }
    assert!(sent > 10, "only {sent} examples were found");
}

/// Each answers as it is described: `Answer` holds every answer against the description.
#[tokio::test]
async fn the_program_answers_on_every_route_that_it_describes() {
    let receiver = Receiver::answering(200).await;
    let host = Home::new(ANYWHERE, &["webhooks_channel_create"]).start().await;
    for Operation { method, path, says } in described().filter(|operation| operation.path != "/stream") {
        let account = host.account("Acme").await;
        let hook = host.hook(&account, "channel_create", &receiver.url("/"), json!({})).await;
        let tokens = format!("/v2/accounts/{account}/tokens");
        let token = host.ask("PUT", &tokens, Some(json!({"data": {}}))).await;
        let token = token.json["data"]["id"].as_str().unwrap().to_owned();
        let id = match path.split('/').nth(1) {
            Some("modules" | "v2") => "webhooks_channel_create",
            _ => "1",
        };
        let mut asked =
            path.replace("{account}", &account).replace("{hook}", &hook).replace("{token}", &token);
        asked = asked.replace("{id}", id).replace("{file}", "start.js");
        asked = asked.replace("{event}", "1").replace("{replay}", "1");
        let needed = says["parameters"].as_array().into_iter().flatten();
        if needed.into_iter().any(|parameter| parameter["in"] == "query" && parameter["required"] == true) {
            asked = format!("{asked}?account={account}");
        }
        let request = host.request(&method.to_uppercase(), &asked).header("x-auth-token", host.token());
        let body = example(&says["requestBody"]["content"]["application/json"]["schema"]);
        let answer = Answer::of(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await;
        // There is no delivery and no failed event of this number, and a replay has ended before it can be cancelled.
        let unknown = asked.starts_with("/deliveries/1") || asked.ends_with("/failed/1");
        let refused = (unknown && answer.status == 404)
            || (asked.ends_with("/replays/1/cancel") && answer.status == 409)
            || (path.ends_with("_auth") && method == "put" && answer.status == 401);
        let as_it_should = answer.status.is_success() || refused;
        assert!(as_it_should, "{method} {asked}: {} {}", answer.status, answer.json);
    }
}

/// The example of a schema, or of what it speaks of.
fn example(schema: &Value) -> Option<Value> {
    if let Some(example) = schema.get("example") {
        return Some(example.clone());
    }
    if let Some(place) = schema["$ref"].as_str() {
        return example(hookline::api::description().pointer(&place[1..])?);
    }
    if let Some(data) = schema["properties"].get("data") {
        return Some(json!({"data": example(data)?}));
    }
    schema["oneOf"].as_array()?.iter().find_map(example)
}

#[tokio::test]
async fn the_reader_has_all_that_it_needs_on_this_host() {
    let host = TestHost::with_modules(&[]).await;

    let page = host.request("GET", "/docs").send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.headers()["content-security-policy"].to_str().unwrap().contains("script-src 'self'"));
    let page = page.text().await.unwrap();
    let quoted: Vec<&str> = page.split('"').filter(|part| part.starts_with("docs/")).collect();
    assert_eq!(quoted.len(), 4, "{page}");
    for file in quoted {
        let answer = host.request("GET", &format!("/{file}")).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{file}");
        assert!(!answer.bytes().await.unwrap().is_empty(), "{file}");
    }
    assert!(!page.contains("://"), "it goes elsewhere: {page}");
    let other = Answer::of(host.request("GET", "/docs/index.html")).await;
    assert_eq!(other.status, 404);
}
