//! Accounts over HTTP.

use super::*;

#[tokio::test]
async fn an_account_is_made_read_changed_and_deleted() {
    let host = host();

    let made =
        host.data("PUT", "/v2/accounts", json!({"name": "acme", "realm": "a.example", "id": "mine"})).await;
    let made = made.expect(StatusCode::CREATED);
    let path = format!("/v2/accounts/{}", made.id());
    assert_eq!(made.id().len(), 32);
    assert_eq!(made.headers["location"], made.id().as_str());
    assert!(made.body["revision"].as_str().unwrap().starts_with("1-"));
    assert_eq!(made.body["data"], json!({"id": made.id(), "name": "acme", "realm": "a.example"}));
    assert_eq!(host.get(&path).await.expect(StatusCode::OK).body["data"], made.body["data"]);

    let patched = host.data("PATCH", &path, json!({"name": "apex"})).await.expect(StatusCode::OK);
    assert_eq!(patched.body["data"]["realm"], "a.example");
    let replaced = host.data("POST", &path, json!({"name": "zenith"})).await.expect(StatusCode::OK);
    assert_eq!(replaced.body["data"], json!({"id": made.id(), "name": "zenith"}));

    let deleted = host.delete(&path).await.expect(StatusCode::OK);
    assert_eq!(deleted.body["data"]["_read_only"], json!({"deleted": true}));
    let gone = host.get(&path).await.expect_error(StatusCode::NOT_FOUND, "bad_identifier");
    assert_eq!(gone.body["data"]["cause"], made.id());
}

#[tokio::test]
async fn children_and_descendants_are_listed() {
    let host = host();
    let root = host.account().await;
    let below = |parent: &str| format!("/v2/accounts/{parent}");
    let child =
        host.data("PUT", &below(&root), json!({"name": "child"})).await.expect(StatusCode::CREATED).id();
    host.data("PUT", &below(&child), json!({"name": "grandchild"})).await.expect(StatusCode::CREATED);

    let children = host.get(&format!("/v2/accounts/{root}/children")).await.expect(StatusCode::OK);
    let descendants = host.get(&format!("/v2/accounts/{root}/descendants")).await.expect(StatusCode::OK);

    assert_eq!(children.body["data"], json!([{"id": child, "tree": [root], "name": "child"}]));
    assert_eq!(descendants.body["page_size"], 2);
    let refused = host.delete(&below(&root)).await;
    refused.expect_error(StatusCode::CONFLICT, "account_has_descendants");
    host.get("/v2/accounts/nobody/children").await.expect_error(StatusCode::NOT_FOUND, "bad_identifier");
    let orphan = host.data("PUT", "/v2/accounts/nobody", json!({"name": "orphan"})).await;
    orphan.expect_error(StatusCode::NOT_FOUND, "bad_identifier");
}

#[tokio::test]
async fn what_is_wrong_with_an_account_is_named() {
    let host = host();
    for (data, field, code) in [
        (json!({}), "name", "required"),
        (json!({"name": ""}), "name", "minLength"),
        (json!({"name": 7}), "name", "type"),
        (json!({"name": "x".repeat(129)}), "name", "maxLength"),
        (json!({"name": "acme", "enabled": "no"}), "enabled", "type"),
    ] {
        let answer = host.data("PUT", "/v2/accounts", data).await;
        let answer = answer.expect_error(StatusCode::BAD_REQUEST, "validation error");
        assert!(answer.body["data"][field][code]["message"].is_string(), "{}", answer.body);
    }
}

#[tokio::test]
async fn a_body_that_is_no_data_is_refused() {
    let host = host();
    let too_long = format!(r#"{{"data":{{"name":"{}"}}}}"#, "x".repeat(1_000));
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    for (body, content_type, status, message) in [
        ("{\"data\":\n {\"name\" 1}}", "application/json", StatusCode::BAD_REQUEST, "parse_error"),
        ("", "application/json", StatusCode::BAD_REQUEST, "parse_error"),
        (&deep, "application/json", StatusCode::BAD_REQUEST, "parse_error"),
        ("[]", "application/json", StatusCode::BAD_REQUEST, "validation error"),
        ("{\"name\":\"acme\"}", "application/json", StatusCode::BAD_REQUEST, "validation error"),
        (
            "{\"data\":\"acme\"}",
            "application/json; charset=utf-8",
            StatusCode::BAD_REQUEST,
            "validation error",
        ),
        ("name=acme", "application/x-www-form-urlencoded", StatusCode::BAD_REQUEST, "parse_error"),
        ("{}", "text/plain", StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
        (&too_long, "application/json", StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large"),
    ] {
        let headers = [("x-auth-token", host.token.reveal()), ("content-type", content_type)];
        let answer = host.raw("PUT", "/v2/accounts", &headers, body.to_owned()).await;
        answer.expect_error(status, message);
    }
    let headers = [("x-auth-token", host.token.reveal())];
    let answer = host.raw("PUT", "/v2/accounts", &headers, "{\"data\":\n {\"name\" 1}}").await;
    assert_eq!((&answer.body["data"]["line"], &answer.body["data"]["column"]), (&json!(2), &json!(10)));
}
