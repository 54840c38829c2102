//! Posted events: all of a request or none.

use bytes::Bytes;

use super::*;

const CALL: &str =
    r#"{"Event-Category":"call_event","Event-Name":"CHANNEL_CREATE","Call-ID":"1", "n": 1.50}"#;
const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";
const CLOUD: &str = "application/cloudevents+json";

impl Host {
    async fn post(&self, path: &str, content_type: &str, body: &str) -> Answer {
        let headers = [("x-auth-token", self.token.reveal()), ("content-type", content_type)];
        self.raw("POST", path, &headers, body.to_owned()).await
    }

    fn taken(&self) -> Vec<String> {
        self.basket.taken.lock().iter().map(|(event, _)| event.clone()).collect()
    }
}

async fn check_taken(content_type: &str, body: &str, expected: &[&str]) {
    let host = host();
    let answer = host.post("/events", content_type, body).await.expect(StatusCode::ACCEPTED);
    assert_eq!(answer.body["data"], json!({"accepted": expected.len()}));
    assert_eq!(host.taken(), expected);
}

async fn check_refused(content_type: &str, body: &str, status: StatusCode, place: (&str, u64), words: &str) {
    let host = host();
    let answer = host.post("/events", content_type, body).await.expect(status);
    assert_eq!(answer.body["data"][place.0], place.1, "{}", answer.body);
    let message = answer.body["data"]["message"].as_str().unwrap();
    assert!(message.contains(words), "{message}");
    assert!(host.taken().is_empty());
}

#[tokio::test]
async fn an_event_is_taken_byte_for_byte() {
    check_taken(JSON, &format!(" {CALL}\n"), &[CALL]).await;
}

#[tokio::test]
async fn an_array_is_many_events() {
    check_taken(JSON, &format!("[{CALL}, {CALL}]"), &[CALL, CALL]).await;
    check_taken(JSON, "[]", &[]).await;
}

#[tokio::test]
async fn each_line_is_an_event() {
    check_taken(LINES, &format!("{CALL}\r\n\n{CALL}\n"), &[CALL, CALL]).await;
    check_taken(LINES, "", &[]).await;
}

#[tokio::test]
async fn one_malformed_event_refuses_the_whole_request_by_its_place() {
    let bad = StatusCode::BAD_REQUEST;
    check_refused(JSON, "{oops", bad, ("line", 1), "the body is not JSON").await;
    check_refused(JSON, "", bad, ("line", 1), "the body is not JSON").await;
    check_refused(JSON, "7", bad, ("index", 0), "must be a JSON object").await;
    check_refused(JSON, &format!("{CALL} {CALL}"), bad, ("line", 1), "trailing characters").await;
    check_refused(JSON, &format!("[{CALL},\n{{oops}}]"), bad, ("index", 1), "line 2").await;
    check_refused(JSON, &format!("[{CALL}, null]"), bad, ("index", 1), "must be a JSON object").await;
    check_refused(JSON, &format!("[{CALL}, {{}}]"), bad, ("index", 1), "Event-Category is missing").await;
    let no_name = r#"{"Event-Category":"call_event"}"#;
    check_refused(LINES, &format!("{CALL}\n\n{no_name}"), bad, ("line", 3), "Event-Name is missing").await;
    check_refused(LINES, &format!("{CALL}\n{{oops"), bad, ("line", 2), "is not JSON").await;
    let number = r#"{"Event-Category":1,"Event-Name":"x"}"#;
    check_refused(JSON, number, bad, ("index", 0), "Event-Category must be a string, not 1").await;
    let empty = r#"{"Event-Category":"x","Event-Name":""}"#;
    check_refused(JSON, empty, bad, ("index", 0), "Event-Name is empty").await;
}

#[tokio::test]
async fn an_event_or_a_request_that_is_too_large_is_refused() {
    let large = format!(r#"{{"Event-Category":"x","Event-Name":"y","pad":"{}"}}"#, "x".repeat(1_000));
    let status = StatusCode::PAYLOAD_TOO_LARGE;
    check_refused(JSON, &format!("[{CALL},{large}]"), status, ("index", 1), "1000 are allowed").await;
    let many = format!("[{}{CALL}]", format!("{CALL},").repeat(60));
    check_refused(JSON, &many, status, ("limit_bytes", 3_000), "may have 3000 bytes").await;

    let host = host();
    let stream = futures_util::stream::iter(
        (0..60).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(CALL.as_bytes()))),
    );
    let headers = [("x-auth-token", host.token.reveal()), ("content-type", JSON)];
    let answer = host.raw("POST", "/events", &headers, Body::from_stream(stream)).await;
    answer.expect_error(status, "payload_too_large");
}

#[tokio::test]
async fn another_content_type_is_refused_with_those_that_are_taken() {
    let answer = host().post("/events", "application/x-www-form-urlencoded", CALL).await;
    let answer = answer.expect_error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type");
    assert!(answer.body["data"]["message"].as_str().unwrap().contains("application/x-ndjson"));
}

#[tokio::test]
async fn a_structured_cloud_event_gives_its_data_an_identity() {
    let event = format!(r#"{{"specversion":"1.0","id":"7","source":"/pbx","type":"call","data":{CALL}}}"#);
    let identified = format!(r#"{},"Msg-ID":"/pbx#7"}}"#, CALL.strip_suffix('}').unwrap());
    check_taken(CLOUD, &event, &[&identified]).await;
    check_taken("application/cloudevents-batch+json", &format!("[{event}]"), &[&identified]).await;
    let own = r#"{"Msg-ID":"m1","Event-Category":"x","Event-Name":"y"}"#;
    check_taken(CLOUD, &format!(r#"{{"specversion":"1.0","id":"7","source":"/pbx","data":{own}}}"#), &[own])
        .await;
}

#[tokio::test]
async fn no_two_cloud_events_become_one_and_an_identity_that_cannot_be_used_is_replaced() {
    let host = host();
    let post = async |source: &str, id: &str, own: &str| {
        let data = format!(r#"{{{own}"Event-Category":"x","Event-Name":"y"}}"#);
        let event =
            format!(r#"{{"specversion":"1.0","id":"{id}","source":"{source}","type":"t","data":{data}}}"#);
        let headers = [("x-auth-token", host.token.reveal()), ("content-type", CLOUD)];
        host.raw("POST", "/events", &headers, event).await.expect(StatusCode::ACCEPTED);
    };
    post("/a#b", "c", "").await;
    post("/a", "b#c", "").await;
    post("/a", "b%23c", "").await;
    for unusable in [r#""Msg-ID":null,"#, r#""Msg-ID":7,"#, r#""Msg-ID":"","#] {
        post("/a", "1", unusable).await;
    }

    let named = |source: &str, id: &str| CloudEventId::new(source, id).ok();
    let expected = [named("/a#b", "c"), named("/a", "b#c"), named("/a", "b%23c"), named("/a", "1")];
    let found = host.basket.named.lock().clone();
    assert_eq!(found[..4], expected);
    assert!(found[4..].iter().all(|name| *name == expected[3]), "{found:?}");
    let with_id = |text: &String| text.contains(r#""Msg-ID":"/a#1""#);
    assert_eq!(host.taken().iter().filter(|text| with_id(text)).count(), 3);
}

#[tokio::test]
async fn the_data_of_a_cloud_event_may_be_base64() {
    use base64::Engine as _;
    let encode = |text: &str| base64::prelude::BASE64_STANDARD.encode(text);
    let event =
        |data: &str| format!(r#"{{"specversion":"1.0","id":"7","source":"/pbx","data_base64":"{data}"}}"#);
    let own = r#"{"Msg-ID":"m1","Event-Category":"x","Event-Name":"y"}"#;
    check_taken(CLOUD, &event(&encode(own)), &[own]).await;
    let bad = StatusCode::BAD_REQUEST;
    check_refused(CLOUD, &event("?"), bad, ("index", 0), "data_base64 cannot be used").await;
    check_refused(CLOUD, &event(&encode("7 8")), bad, ("index", 0), "data_base64 cannot be used").await;
    check_refused(CLOUD, &event(&encode("7")), bad, ("index", 0), "must be a JSON object").await;
    let both = r#"{"specversion":"1.0","id":"7","source":"/pbx","data":{},"data_base64":"e30="}"#;
    check_refused(CLOUD, both, bad, ("index", 0), "both data and data_base64").await;
}

#[tokio::test]
async fn a_cloud_event_without_what_it_needs_is_refused() {
    let bad = StatusCode::BAD_REQUEST;
    for (event, words) in [
        (r#"{"id":"7","source":"/pbx","data":{}}"#, "no specversion"),
        (r#"{"specversion":"0.3","id":"7","source":"/pbx","data":{}}"#, "specversion 0.3"),
        (r#"{"specversion":"1.0","source":"/pbx","data":{}}"#, "id is empty"),
        (r#"{"specversion":"1.0","id":"7","source":"/pbx"}"#, "no data"),
        (r#"{"specversion":"1.0","id":"7","source":"/pbx","data":"text"}"#, "must be a JSON object"),
        (r#"{"specversion":"1.0","id":"7","source":"/pbx","data":{}}"#, "Event-Category is missing"),
        ("[1]", "is not a CloudEvent"),
    ] {
        check_refused(CLOUD, event, bad, ("index", 0), words).await;
    }
}

#[tokio::test]
async fn a_binary_cloud_event_has_its_identity_in_headers() {
    let host = host();
    let headers = [
        ("x-auth-token", host.token.reveal()),
        ("content-type", JSON),
        ("ce-specversion", "1.0"),
        ("ce-source", "/pbx"),
        ("ce-id", "8"),
    ];
    let event = r#"{"Event-Category":"x","Event-Name":"y"}"#;

    host.raw("POST", "/events", &headers, event).await.expect(StatusCode::ACCEPTED);
    let two = host.raw("POST", "/events", &headers, format!("[{event},{event}]")).await;
    let no_id = host.raw("POST", "/events", &headers[..4], event).await;

    two.expect_error(StatusCode::BAD_REQUEST, "malformed_event");
    no_id.expect_error(StatusCode::BAD_REQUEST, "malformed_event");
    assert_eq!(host.taken(), [r#"{"Event-Category":"x","Event-Name":"y","Msg-ID":"/pbx#8"}"#]);
    assert_eq!(*host.basket.named.lock(), [CloudEventId::new("/pbx", "8").ok()]);
}

#[tokio::test]
async fn a_mistyped_key_publishes_nothing_anywhere_else() {
    let host = host();
    for (query, key) in [("exchage=x", "exchage"), ("exchange=x&routing-key=y", "routing-key"), ("x", "x")] {
        let answer = host.post(&format!("/events?{query}"), JSON, CALL).await;
        let answer = answer.expect_error(StatusCode::BAD_REQUEST, "validation error");
        let message = answer.body["data"][key]["unknown"]["message"].as_str().unwrap();
        assert!(message.ends_with("it knows: exchange, routing_key"), "{query}: {message}");
    }
    assert!(host.taken().is_empty());
}

#[tokio::test]
async fn a_route_is_an_exchange_and_a_routing_key() {
    let host = host();

    let path = "/events?exchange=callevt&routing_key=call.CHANNEL_CREATE.%2A";
    host.post(path, JSON, CALL).await.expect(StatusCode::ACCEPTED);

    let expected = Some(("callevt".to_owned(), "call.CHANNEL_CREATE.*".to_owned()));
    assert_eq!(host.basket.taken.lock()[0].1, expected);
    for (half, missing) in [("exchange=x", "routing_key"), ("routing_key=x", "exchange")] {
        let answer = host.post(&format!("/events?{half}"), JSON, CALL).await;
        let answer = answer.expect_error(StatusCode::BAD_REQUEST, "validation error");
        assert!(answer.body["data"][missing]["required"].is_object());
    }
}

#[tokio::test]
async fn what_the_intake_refuses_is_told_apart() {
    let host = host();
    let malformed = IntakeError::Malformed { index: 1, reason: "Event-Name is odd".into() };
    for (refusal, status, message) in [
        (malformed, StatusCode::BAD_REQUEST, "malformed_event"),
        (
            IntakeError::Unavailable("the disk is full".into()),
            StatusCode::SERVICE_UNAVAILABLE,
            "intake_unavailable",
        ),
        (
            IntakeError::Unroutable { exchange: "callevt".into(), routing_key: "nobody".into() },
            StatusCode::UNPROCESSABLE_ENTITY,
            "unroutable",
        ),
    ] {
        *host.basket.refuses.lock() = Some(refusal);
        host.post("/events", JSON, CALL).await.expect_error(status, message);
    }
}
