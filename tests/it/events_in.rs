//! How events come in by HTTP: one, many, as CloudEvents; all of a request or nothing of it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tests::{Answer, Receiver, TestHost};

const MODULE: &[&str] = &["webhooks_misbehaving"];

/// The default of `api.max_event_bytes`.
const EVENT_LIMIT: usize = 1 << 20;

fn fire(account: &str, say: &str) -> Value {
    json!({"Event-Category": "misbehave", "Event-Name": "now", "Account-ID": account, "Do": "fire", "Say": say})
}

/// A host with an account whose hook goes to a receiver.
struct Stand {
    host: TestHost,
    receiver: Receiver,
    account: String,
}

async fn stand() -> Stand {
    let receiver = Receiver::answering(200).await;
    let host = TestHost::with_modules(MODULE).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;
    Stand { host, receiver, account }
}

impl Stand {
    fn event(&self, say: &str) -> Value {
        fire(&self.account, say)
    }

    async fn post(&self, content_type: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.post_to("/events", content_type, body).await
    }

    async fn post_to(&self, path: &str, content_type: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.host.request("POST", path).header("x-auth-token", self.host.token());
        Answer::of(request.header("content-type", content_type).body(body)).await
    }

    /// What was said to the receiver by everything posted so far, sorted.
    async fn said(&mut self) -> Vec<String> {
        self.host.settled().await;
        let requests = self.receiver.waiting();
        let said = |request: &tests::Request| request.json()["said"].as_str().unwrap_or_default().to_owned();
        let mut said: Vec<String> = requests.iter().map(said).collect();
        said.sort();
        said
    }
}

#[track_caller]
fn accepted(answer: &Answer, count: usize) {
    assert_eq!(
        (answer.status.as_u16(), &answer.json["data"]),
        (202, &json!({"accepted": count})),
        "{}",
        answer.json
    );
}

#[tokio::test]
async fn one_event_is_an_object() {
    let mut stand = stand().await;

    let answer = stand.post("application/json", stand.event("hello").to_string()).await;

    accepted(&answer, 1);
    assert_eq!(stand.said().await, ["hello"]);
}

#[tokio::test]
async fn many_events_are_an_array_or_lines() {
    let mut stand = stand().await;
    let array = json!([stand.event("a"), stand.event("b"), stand.event("c")]);
    let lines = format!("{}\r\n\n{}\n", stand.event("d"), stand.event("e"));

    accepted(&stand.post("application/json", array.to_string()).await, 3);
    accepted(&stand.post("application/x-ndjson", lines).await, 2);

    assert_eq!(stand.said().await, ["a", "b", "c", "d", "e"]);
}

#[tokio::test]
async fn an_empty_array_is_no_event_and_no_mistake() {
    let stand = stand().await;

    accepted(&stand.post("application/json", "[]").await, 0);
}

#[tokio::test]
async fn a_structured_cloud_event_carries_the_event_as_its_data() {
    let mut stand = stand().await;
    let cloud = |id: &str, say: &str| json!({"specversion": "1.0", "type": "t", "source": "/switch", "id": id, "data": stand.event(say)});

    let one = stand.post("application/cloudevents+json; charset=utf-8", cloud("1", "one").to_string()).await;
    let again = stand.post("application/cloudevents+json", cloud("1", "one again").to_string()).await;
    let batch = json!([cloud("2", "two"), cloud("3", "three")]).to_string();
    let batch = stand.post("application/cloudevents-batch+json", batch).await;
    let mut encoded = cloud("4", "encoded");
    let data = encoded.as_object_mut().unwrap().remove("data").unwrap();
    encoded["data_base64"] = BASE64_STANDARD.encode(data.to_string()).into();
    let encoded = stand.post("application/cloudevents+json", encoded.to_string()).await;

    accepted(&one, 1);
    accepted(&again, 1);
    accepted(&batch, 2);
    accepted(&encoded, 1);
    assert_eq!(stand.said().await, ["encoded", "one", "three", "two"], "source and id are the identity");
}

#[tokio::test]
async fn a_binary_cloud_event_is_named_by_its_headers() {
    let mut stand = stand().await;
    for _ in 0..2 {
        let request = stand.host.request("POST", "/events").header("x-auth-token", stand.host.token());
        let request = request.header("ce-specversion", "1.0").header("ce-type", "t");
        let request = request.header("ce-source", "/switch").header("ce-id", "7");

        accepted(&Answer::of(request.json(&stand.event("once"))).await, 1);
    }

    assert_eq!(stand.said().await, ["once"]);
}

#[tokio::test]
async fn a_malformed_cloud_event_is_refused_by_what_is_missing() {
    let mut stand = stand().await;
    let whole =
        json!({"specversion": "1.0", "type": "t", "source": "/s", "id": "1", "data": stand.event("no")});
    for field in ["specversion", "source", "id", "data"] {
        let mut lacking = whole.clone();
        lacking.as_object_mut().unwrap().remove(field);

        let answer = stand.post("application/cloudevents+json", lacking.to_string()).await;

        assert_eq!(
            (answer.status.as_u16(), &answer.json["message"]),
            (400, &json!("malformed_event")),
            "{field}"
        );
        assert!(answer.json["data"]["reason"].as_str().unwrap().contains(field), "{field}: {}", answer.json);
    }
    assert!(stand.said().await.is_empty());
}

#[tokio::test]
async fn nothing_of_a_request_is_taken_when_one_of_its_events_is_malformed() {
    let mut stand = stand().await;
    let nameless = json!({"Event-Category": "misbehave"});
    let array = json!([stand.event("a"), stand.event("b"), nameless, stand.event("c")]);
    let lines = format!("{}\n\n{}\n{{oops\n", stand.event("d"), stand.event("e"));

    let of_array = stand.post("application/json", array.to_string()).await;
    let of_lines = stand.post("application/x-ndjson", lines).await;

    assert_eq!(
        (of_array.status.as_u16(), &of_array.json["data"]["index"]),
        (400, &json!(2)),
        "{}",
        of_array.json
    );
    assert!(of_array.json["data"]["message"].as_str().unwrap().contains("Event-Name is missing"));
    assert_eq!(
        (of_lines.status.as_u16(), &of_lines.json["data"]["line"]),
        (400, &json!(4)),
        "{}",
        of_lines.json
    );
    accepted(&stand.post("application/json", stand.event("after").to_string()).await, 1);
    assert_eq!(stand.said().await, ["after"]);
}

#[tokio::test]
async fn what_is_no_event_is_refused_with_the_reason() {
    let mut stand = stand().await;
    for (body, reason) in [
        (json!({"Event-Name": "now"}), "Event-Category is missing"),
        (json!({"Event-Category": "misbehave"}), "Event-Name is missing"),
        (json!({"Event-Category": "", "Event-Name": "now"}), "Event-Category is empty"),
        (json!({"Event-Category": "misbehave", "Event-Name": 7}), "Event-Name must be a string, not 7"),
        (json!("text"), "an event must be a JSON object"),
        (json!([[]]), "an event must be a JSON object"),
    ] {
        let answer = stand.post("application/json", body.to_string()).await;

        assert_eq!(
            (answer.status.as_u16(), &answer.json["message"]),
            (400, &json!("malformed_event")),
            "{body}"
        );
        assert_eq!(answer.json["data"]["reason"], reason, "{body}");
    }
    assert!(stand.said().await.is_empty());
}

#[tokio::test]
async fn a_body_that_is_not_json_is_told_with_its_place() {
    let mut stand = stand().await;
    for body in ["{\"Event-Category\": \"misbehave\",", "", "nonsense", "{} {}", "[{}, ", "\u{feff}{}"] {
        let answer = stand.post("application/json", body).await;

        assert_eq!(
            (answer.status.as_u16(), &answer.json["message"]),
            (400, &json!("parse_error")),
            "{body:?}"
        );
        assert!(answer.json["data"]["line"].is_number(), "{body:?}: {}", answer.json);
    }
    let not_text = stand.post("application/json", &b"{\"Event-Category\": \"\xff\"}"[..]).await;
    assert_eq!(not_text.status, 400, "{}", not_text.json);
    assert!(stand.said().await.is_empty());
}

/// An event whose text has exactly so many bytes.
fn event_of(account: &str, bytes: usize) -> String {
    let bare = fire(account, "").to_string().len();
    fire(account, &"x".repeat(bytes - bare)).to_string()
}

#[tokio::test]
async fn an_event_may_have_a_megabyte_and_no_byte_more() {
    let mut stand = stand().await;

    let largest = stand.post("application/json", event_of(&stand.account, EVENT_LIMIT)).await;
    let too_large = stand.post("application/json", event_of(&stand.account, EVENT_LIMIT + 1)).await;

    accepted(&largest, 1);
    assert_eq!((too_large.status.as_u16(), &too_large.json["message"]), (413, &json!("event_too_large")));
    assert_eq!(too_large.json["data"]["limit_bytes"], EVENT_LIMIT);
    let said = stand.said().await;
    assert_eq!(said.len(), 1);
    assert!(said[0].len() > EVENT_LIMIT - 1000);
}

#[tokio::test]
async fn one_event_that_is_too_large_keeps_the_others_of_its_request_out() {
    let mut stand = stand().await;
    let lines = format!("{}\n{}\n", stand.event("small"), event_of(&stand.account, EVENT_LIMIT + 1));

    let answer = stand.post("application/x-ndjson", lines).await;

    assert_eq!((answer.status.as_u16(), &answer.json["data"]["line"]), (413, &json!(2)), "{}", answer.json);
    assert!(stand.said().await.is_empty());
}

#[tokio::test]
async fn the_limits_are_settings() {
    let host =
        TestHost::configured("[api]\nmax_event_bytes = 1024\nmax_request_bytes = 4096\n", MODULE).await;
    let post = |body: String| {
        let request = host.request("POST", "/events").header("x-auth-token", host.token());
        Answer::of(request.header("content-type", "application/json").body(body))
    };

    assert_eq!(post(event_of("a", 1024)).await.status, 202);
    assert_eq!(post(event_of("a", 1025)).await.status, 413);
    let many = vec![event_of("a", 1000); 5].join(",");
    let answer = post(format!("[{many}]")).await;
    assert_eq!((answer.status.as_u16(), &answer.json["data"]["limit_bytes"]), (413, &json!(4096)));
}

#[tokio::test]
async fn another_content_type_is_refused_by_those_that_are_taken() {
    let mut stand = stand().await;
    for given in
        ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "multipart/form-data"]
    {
        let answer = stand.post(given, stand.event("no").to_string()).await;

        assert_eq!(answer.status, 415, "{given}");
        assert_eq!(answer.json["data"]["cause"], given);
        assert!(answer.json["data"]["message"].as_str().unwrap().contains("application/x-ndjson"));
    }
    assert!(stand.said().await.is_empty());
}

#[tokio::test]
async fn an_event_of_an_unknown_account_or_of_no_module_is_taken_and_fires_nothing() {
    let mut stand = stand().await;
    let other = json!({"Event-Category": "nobodys", "Event-Name": "business", "Account-ID": stand.account});

    accepted(&stand.post("application/json", fire("nobody", "unheard").to_string()).await, 1);
    accepted(&stand.post("application/json", other.to_string()).await, 1);
    accepted(&stand.post("application/json", stand.event("heard").to_string()).await, 1);

    assert_eq!(stand.said().await, ["heard"]);
}

#[tokio::test]
async fn without_a_token_no_event_is_taken() {
    let mut stand = stand().await;

    let without = Answer::of(stand.host.request("POST", "/events").json(&stand.event("no"))).await;
    let wrong = stand.host.request("POST", "/events").bearer_auth("wrong").json(&stand.event("no"));

    assert_eq!(without.status, 401);
    assert_eq!(Answer::of(wrong).await.status, 401);
    assert!(stand.said().await.is_empty());
}

#[tokio::test]
async fn a_routed_event_is_taken_where_a_module_is_bound() {
    let mut stand = stand().await;
    let post = async |query: &str| {
        let path = format!("/events?{query}");
        stand.post_to(&path, "application/json", stand.event("routed").to_string()).await
    };

    let bound = post("exchange=tests&routing_key=misbehave.x").await;
    let wrong_key = post("exchange=tests&routing_key=other.x").await;
    let wrong_exchange = post("exchange=nowhere&routing_key=misbehave.x").await;

    accepted(&bound, 1);
    for (answer, named) in [(wrong_key, "other.x"), (wrong_exchange, "nowhere")] {
        assert_eq!((answer.status.as_u16(), &answer.json["message"]), (422, &json!("unroutable")));
        let said = answer.json["data"].to_string();
        assert!(said.contains(named), "it does not name {named}: {said}");
    }
    assert_eq!(stand.said().await, ["routed"]);
}

#[tokio::test]
async fn an_exchange_needs_a_routing_key_and_a_routing_key_an_exchange() {
    let mut stand = stand().await;
    for (query, missing) in [("exchange=tests", "routing_key"), ("routing_key=misbehave.x", "exchange")] {
        let path = format!("/events?{query}");
        let answer = stand.post_to(&path, "application/json", stand.event("no").to_string()).await;

        assert_eq!(answer.status, 400, "{query}: {}", answer.json);
        assert!(answer.json["data"][missing]["required"].is_object(), "{query}: {}", answer.json);
    }
    assert!(stand.said().await.is_empty());
}
