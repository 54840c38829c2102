//! What holds for every route: envelopes, tokens, limits.

use bytes::Bytes;

use super::*;

#[tokio::test]
async fn an_answer_to_the_administrator_is_a_whole_envelope() {
    let host = host();

    let answer = host.get("/modules/webhooks_sms").await.expect(StatusCode::OK);

    let body = &answer.body;
    assert_eq!((&body["data"]["id"], &body["data"]["generation"]), (&json!("webhooks_sms"), &json!(1)));
    assert_eq!(body["status"], "success");
    assert_eq!(body["node"], "test@host");
    assert_eq!(body["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(body["auth_token"], Value::Null, "it is repeated where KAZOO's clients look for it");
    let of_crossbar = host.get("/v2/webhooks").await.expect(StatusCode::OK);
    assert_eq!(of_crossbar.body["auth_token"], host.token.reveal());
    assert_eq!(body["request_id"].as_str().unwrap(), answer.headers["x-request-id"]);
    let timestamp = body["timestamp"].as_str().unwrap();
    assert!(timestamp.len() == 20 && timestamp.ends_with('Z'), "{timestamp}");
    assert!(body["revision"].is_string());
    assert_eq!(answer.headers["content-type"], "application/json");
}

#[tokio::test]
async fn only_the_administrator_learns_the_version() {
    let host = host();

    let answer = host.anonymous("GET", "/v2/webhooks").await.expect(StatusCode::OK);

    assert!(answer.body.get("version").is_none());
    assert!(answer.body.get("auth_token").is_none());
}

#[tokio::test]
async fn a_token_is_taken_from_either_header() {
    let host = host();
    let token = host.token.reveal();
    let bearer = format!("bearer {token}");

    for header in [("x-auth-token", token), ("authorization", bearer.as_str())] {
        host.raw("GET", "/modules", &[header], Body::empty()).await.expect(StatusCode::OK);
    }
    let basic = ("authorization", "Basic YTpi");
    host.raw("GET", "/modules", &[basic], Body::empty()).await.expect(StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_unknown_path_is_named() {
    let answer = host().anonymous("GET", "/nowhere").await;
    let answer = answer.expect_error(StatusCode::NOT_FOUND, "not_found");
    assert_eq!(answer.body["data"]["cause"], "/nowhere");
}

#[tokio::test]
async fn below_the_public_routes_of_crossbar_nothing_is_missing_and_everything_refused() {
    let host = host();
    for path in ["/v2/webhooks/nonsense", "/v2/webhooks/samples/a/b"] {
        host.anonymous("GET", path).await.expect_error(StatusCode::UNAUTHORIZED, "invalid_credentials");
        host.get(path).await.expect_error(StatusCode::FORBIDDEN, "forbidden");
    }
}

#[tokio::test]
async fn a_wrong_method_names_the_right_ones() {
    let host = host();
    for (method, path, allowed) in [
        ("DELETE", "/v2/webhooks", "GET,HEAD"),
        ("GET", "/events", "POST"),
        ("GET", "/v2/accounts", "PUT"),
        ("POST", "/v2/accounts/a/webhooks", "GET,HEAD,PUT,PATCH"),
    ] {
        let answer = host.raw(method, path, &[("x-auth-token", host.token.reveal())], Body::empty()).await;
        let answer = answer.expect_error(StatusCode::METHOD_NOT_ALLOWED, "invalid_method");
        assert_eq!(answer.headers["allow"], allowed, "{method} {path}");
    }
}

#[tokio::test]
async fn a_panic_says_nothing_of_the_inside() {
    let host = host();

    let token = [("x-auth-token", host.token.reveal())];
    for (method, path) in [("GET", "/modules/webhooks_panic"), ("POST", "/modules/webhooks_panic/reload")] {
        let answer = host.raw(method, path, &token, Body::empty()).await;

        let answer = answer.expect_error(StatusCode::INTERNAL_SERVER_ERROR, "unspecified_fault");
        assert!(!answer.body.to_string().contains("secret"), "{method} {path}");
    }
    host.get("/modules").await.expect(StatusCode::OK);
}

#[tokio::test]
async fn headers_beyond_the_limit_are_refused() {
    let long = "x".repeat(40_000);
    let answer = host().raw("GET", "/healthz", &[("x-long", &long)], Body::empty()).await;
    answer.expect_error(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large");
}

#[tokio::test]
async fn a_harmless_request_id_is_repeated_and_another_is_not() {
    let host = host();
    for (given, repeated) in [("call-42", true), ("with space", false)] {
        let answer = host.raw("GET", "/healthz", &[("x-request-id", given)], Body::empty()).await;
        assert_eq!(answer.body["request_id"] == given, repeated, "{given}");
    }
}

#[tokio::test]
async fn a_body_that_never_comes_is_given_up() {
    tokio::time::pause();
    let host = host();
    let silence = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());

    let answer = host.raw("POST", "/events", &[("x-auth-token", host.token.reveal())], silence).await;

    answer.expect_error(StatusCode::REQUEST_TIMEOUT, "timeout");
}

#[tokio::test]
async fn health_and_readiness_are_told_apart() {
    let host = host();
    host.anonymous("GET", "/healthz").await.expect(StatusCode::OK);
    assert_eq!(host.anonymous("GET", "/readyz").await.expect(StatusCode::OK).body["data"]["ready"], true);

    host.pulse.0.lock().push("bus: connecting".to_owned());

    let answer = host.anonymous("GET", "/readyz").await;
    let answer = answer.expect_error(StatusCode::SERVICE_UNAVAILABLE, "not_ready");
    assert_eq!(answer.body["data"]["not_ready"], json!(["bus: connecting"]));
    host.anonymous("GET", "/healthz").await.expect(StatusCode::OK);
}

#[tokio::test]
async fn modules_are_listed_with_the_files_that_were_refused() {
    let host = host();

    let answer = host.get("/modules").await.expect(StatusCode::OK);

    assert_eq!(answer.body["data"][0]["id"], "webhooks_sms");
    assert_eq!(answer.body["refused"][0]["file"], "readme.so");
    let missing =
        host.get("/modules/webhooks_fax").await.expect_error(StatusCode::NOT_FOUND, "bad_identifier");
    assert_eq!(missing.body["data"], json!({"message": "bad identifier", "cause": "webhooks_fax"}));
}

#[tokio::test]
async fn a_store_that_fails_is_a_state_and_not_a_crash() {
    let host = host();
    let account = host.account().await;
    crate::store::StoreBackend::close(&*host.store).await.unwrap();

    let answer = host.get(&format!("/v2/accounts/{account}")).await;

    let answer = answer.expect_error(StatusCode::SERVICE_UNAVAILABLE, "datastore_fault");
    assert_eq!(answer.headers["retry-after"], "1");
}

#[tokio::test]
async fn every_answer_tells_browsers_to_keep_nothing_and_let_nobody_else_read_it() {
    let host = host();
    for path in ["/healthz", "/metrics", "/nowhere", "/modules"] {
        let request = Request::builder().uri(path).header("origin", "https://elsewhere.example");
        let answer = host.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();

        let headers = answer.headers();
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ] {
            assert_eq!(headers[name], value, "{path}");
        }
        assert!(headers.contains_key("x-request-id"), "{path}");
        assert!(!headers.keys().any(|name| name.as_str().starts_with("access-control")), "{path}");
    }
}

#[tokio::test]
async fn only_pages_of_listed_origins_may_read_answers() {
    let host = host();
    let router = with_cors(host.router.clone(), &["https://pbx.example.com".to_owned()]);
    let ask = async |method: &str, origin: &str| {
        let request = Request::builder().method(method).uri("/modules").header("origin", origin);
        let request = request.header("access-control-request-method", "GET");
        router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    };

    let preflight = ask("OPTIONS", "https://pbx.example.com").await;
    assert_eq!(preflight.headers()["access-control-allow-origin"], "https://pbx.example.com");
    assert!(preflight.headers()["access-control-allow-headers"].to_str().unwrap().contains("x-auth-token"));
    let answer = ask("GET", "https://pbx.example.com").await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(answer.headers()["access-control-allow-origin"], "https://pbx.example.com");
    let stranger = ask("GET", "https://elsewhere.example").await;
    assert!(!stranger.headers().contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn a_mistyped_key_of_a_query_is_refused_by_name_and_crossbars_routes_pass_over_it() {
    let host = host();
    for (method, path, known) in [
        ("GET", "/deliveries", "status, account, hook, since, until, page_size, start_key"),
        ("GET", "/hooks", "account, page_size, paginate, ascending, start_key"),
        ("POST", "/hooks/enable", "account, descendants"),
        ("GET", "/failures", "account, hook, page_size, start_key"),
        ("DELETE", "/failures", "account, hook"),
        ("GET", "/replays", "page_size, start_key"),
        ("GET", "/stream", "account, kinds, last_event_id"),
        ("GET", "/tokens", "account, page_size, paginate, ascending, start_key"),
        ("GET", "/audit", "account, page_size, paginate, start_key"),
        ("POST", "/metadata/reset", "id"),
        ("POST", "/events", "exchange, routing_key"),
    ] {
        let token = [("x-auth-token", host.token.reveal())];
        let answer = host.raw(method, &format!("{path}?dead"), &token, Body::empty()).await;
        let answer = answer.expect_error(StatusCode::BAD_REQUEST, "validation error");
        let message = answer.body["data"]["dead"]["unknown"]["message"].as_str().unwrap();
        assert!(message.ends_with(&format!(": {known}")), "{method} {path}: {message}");
    }
    let own = format!("/v2/accounts/{}", host.account().await);
    for path in ["/webhooks", "/webhooks/attempts", "/audit", "/tokens", "/children", "/descendants"] {
        host.get(&format!("{own}{path}?dead")).await.expect(StatusCode::OK);
    }
}
