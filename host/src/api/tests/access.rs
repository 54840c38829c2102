//! Who reaches which route, over the router's own list of them; what tokens are, and what the audit log says.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::extract::ConnectInfo;

use super::*;
use crate::api::rules::{RouteReach, is_known, rows, rule};

mod audit;

/// Clients of a host, each with a token, and accounts around one of them.
struct Family {
    host: Host,
    own: String,
    tokens: BTreeMap<&'static str, String>,
}

impl Family {
    /// grandparent > parent > (own > child, sibling); stranger
    async fn new() -> Self {
        let host = host();
        let mut ids: BTreeMap<&'static str, String> = BTreeMap::new();
        for (name, above) in [
            ("grandparent", None),
            ("parent", Some("grandparent")),
            ("own", Some("parent")),
            ("child", Some("own")),
            ("sibling", Some("parent")),
            ("stranger", None),
        ] {
            let path =
                above.map_or("/v2/accounts".to_owned(), |above| format!("/v2/accounts/{}", ids[above]));
            ids.insert(name, host.data("PUT", &path, json!({"name": name})).await.id());
        }
        let mut tokens = BTreeMap::new();
        for (name, id) in &ids {
            tokens.insert(*name, host.new_token(id, json!({})).await);
        }
        tokens.insert("administrator", host.new_token(&ids["sibling"], json!({"admin": true})).await);
        tokens.insert("admin.token", host.token.reveal().to_owned());
        let revoked = host.new_token(&ids["own"], json!({})).await;
        let id = revoked.split('_').nth(1).unwrap().to_owned();
        host.delete(&format!("/tokens/{id}")).await.expect(StatusCode::OK);
        tokens.insert("revoked", revoked);
        tokens.insert("wrong", format!("hlt_{id}_{}", "0".repeat(64)));
        tokens.insert("another's id", {
            let (stranger, own) = (tokens["stranger"].clone(), tokens["own"].clone());
            let secret = own.rsplit('_').next().unwrap();
            format!("hlt_{}_{secret}", stranger.split('_').nth(1).unwrap())
        });
        Self { host, own: ids["own"].clone(), tokens }
    }

    fn path(&self, route: &str) -> String {
        let filled = route.replace("{account}", &self.own).replace("{id}", "webhooks_sms");
        filled.replace('{', "no-").replace('}', "")
    }

    async fn status(&self, method: &str, path: &str, token: Option<&str>) -> StatusCode {
        self.host.asked(method, path, token).await.status()
    }
}

impl Host {
    async fn new_token(&self, account: &str, data: Value) -> String {
        let path = format!("/v2/accounts/{account}/tokens");
        let made = self.data("PUT", &path, data).await.expect(StatusCode::CREATED);
        made.body["data"]["token"].as_str().unwrap().to_owned()
    }

    /// From an address that nobody else has, so that guesses do not add up.
    async fn asked(&self, method: &str, path: &str, token: Option<&str>) -> axum::response::Response {
        static NEXT: AtomicU32 = AtomicU32::new(0x0a00_0000);
        let address = std::net::Ipv4Addr::from(NEXT.fetch_add(1, Ordering::Relaxed));
        self.asked_from(&address.to_string(), method, path, token).await
    }

    async fn asked_from(
        &self,
        address: &str,
        method: &str,
        path: &str,
        token: Option<&str>,
    ) -> axum::response::Response {
        let address = SocketAddr::new(address.parse().unwrap(), 50_000);
        let mut request = Request::builder().method(method).uri(path).extension(ConnectInfo(address));
        if let Some(token) = token {
            request = request.header("x-auth-token", token);
        }
        self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    /// Every route that the router has, by method and path.
    async fn routes(&self) -> Vec<(Method, String)> {
        let mut found = Vec::new();
        let (_, described) = described().split_for_parts();
        for path in described.paths.paths.into_keys() {
            let concrete = path.replace(['{', '}'], "");
            let answer = self.asked("TRACE", &concrete, Some(self.token.reveal())).await;
            assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
            let allowed = answer.headers()["allow"].to_str().unwrap().to_owned();
            let methods = allowed.split(',').map(|method| method.parse().unwrap());
            found.extend(
                methods.filter(|method| *method != Method::HEAD).map(|method| (method, path.clone())),
            );
        }
        found
    }

    async fn audit(&self) -> Vec<Value> {
        let answer = self.get("/audit?paginate=false").await.expect(StatusCode::OK);
        answer.body["data"].as_array().unwrap().clone()
    }
}

#[tokio::test]
async fn every_route_has_a_rule_and_every_rule_a_route() {
    let routes = host().routes().await;

    for (method, path) in &routes {
        assert!(
            is_known(method, path),
            "{method} {path} has no row in api/rules.rs, so it is for administrators only: say who may use it"
        );
    }
    for (method, path, _) in rows() {
        let there = routes.iter().any(|(of, at)| of.as_str() == method && *at == path);
        assert!(there, "api/rules.rs has a row for {method} {path}, which is no route");
    }
}

#[tokio::test]
async fn only_these_routes_want_no_token() {
    let open: Vec<&str> =
        rows().filter(|(_, _, reach)| *reach == RouteReach::Anybody).map(|(_, path, _)| path).collect();
    assert_eq!(
        open,
        [
            "/healthz",
            "/readyz",
            "/metrics",
            "/openapi.json",
            "/docs",
            "/docs/{file}",
            "/v2/webhooks",
            "/v2/webhooks/samples",
            "/v2/webhooks/samples/{id}",
            "/v2/api_auth",
            "/v2/user_auth",
        ]
    );
}

#[tokio::test]
async fn what_is_the_operators_is_for_administrators() {
    for (method, path) in [
        (Method::POST, "/events"),
        (Method::GET, "/modules"),
        (Method::POST, "/modules/{id}/reload"),
        (Method::GET, "/hooks"),
        (Method::GET, "/stream"),
        (Method::GET, "/tokens"),
        (Method::GET, "/audit"),
        (Method::PUT, "/v2/accounts"),
        (Method::GET, "/a/route/of/tomorrow"),
    ] {
        assert_eq!(rule(&method, path).0, RouteReach::Administrators, "{method} {path}");
    }
}

#[tokio::test]
async fn each_route_lets_in_whom_its_rule_names_and_nobody_else() {
    let family = Family::new().await;
    let passes = StatusCode::OK;
    let (unknown, forbidden) = (StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN);
    // Who asks, and what comes of it: on a route without a token, on one of the account, on an administrator's.
    let callers = [
        (None, [passes, unknown, unknown]),
        (Some("wrong"), [passes, unknown, unknown]),
        (Some("another's id"), [passes, unknown, unknown]),
        (Some("revoked"), [passes, unknown, unknown]),
        (Some("own"), [passes, passes, forbidden]),
        (Some("parent"), [passes, passes, forbidden]),
        (Some("grandparent"), [passes, passes, forbidden]),
        (Some("child"), [passes, forbidden, forbidden]),
        (Some("sibling"), [passes, forbidden, forbidden]),
        (Some("stranger"), [passes, forbidden, forbidden]),
        (Some("administrator"), [passes, passes, passes]),
        (Some("admin.token"), [passes, passes, passes]),
    ];

    // It refuses everybody, whatever they show.
    let routes = family.host.routes().await.into_iter().filter(|(_, route)| route != "/v2/user_auth");
    for (method, route) in routes {
        let reach = rule(&method, &route).0;
        for (caller, outcomes) in &callers {
            let expected = match reach {
                RouteReach::Anybody => outcomes[0],
                RouteReach::Known => {
                    if outcomes[1] == unknown {
                        unknown
                    } else {
                        passes
                    }
                }
                RouteReach::Account => outcomes[1],
                RouteReach::Administrators => outcomes[2],
            };
            let token = caller.map(|name| family.tokens[name].as_str());
            let status = family.status(method.as_str(), &family.path(&route), token).await;
            let turned_away = [unknown, forbidden, StatusCode::TOO_MANY_REQUESTS].contains(&status);
            match expected {
                StatusCode::OK => assert!(!turned_away, "{caller:?} {method} {route}: {status}"),
                expected => assert_eq!(status, expected, "{caller:?} {method} {route}"),
            }
        }
    }
}

#[tokio::test]
async fn a_refusal_says_why_and_not_what_is_there() {
    let family = Family::new().await;
    let (own, nobody) = (format!("/v2/accounts/{}", family.own), "/v2/accounts/nobody");

    let unknown = family.host.anonymous("GET", &own).await;
    assert_eq!(unknown.headers["www-authenticate"], "Bearer");
    unknown.expect_error(StatusCode::UNAUTHORIZED, "invalid_credentials");
    let sibling = [("x-auth-token", family.tokens["sibling"].as_str())];
    let there = family.host.raw("GET", &own, &sibling, Body::empty()).await;
    let not_there = family.host.raw("GET", nobody, &sibling, Body::empty()).await;
    let there = there.expect_error(StatusCode::FORBIDDEN, "forbidden");
    let not_there = not_there.expect_error(StatusCode::FORBIDDEN, "forbidden");
    assert_eq!(there.body["data"], not_there.body["data"]);
    family.host.get(nobody).await.expect_error(StatusCode::NOT_FOUND, "bad_identifier");
}

#[tokio::test]
async fn a_token_is_shown_once_and_stored_as_a_hash() {
    let host = host();
    let account = host.account().await;
    let path = format!("/v2/accounts/{account}/tokens");

    let made = host.data("PUT", &path, json!({"name": "pager"})).await.expect(StatusCode::CREATED);
    let data = &made.body["data"];
    let (id, token) = (data["id"].as_str().unwrap(), data["token"].as_str().unwrap());
    assert_eq!(made.headers["location"], id);
    assert_eq!(
        (&data["name"], &data["admin"], &data["last_used"]),
        (&json!("pager"), &json!(false), &Value::Null)
    );
    assert_eq!(data["created_by"], "admin.token");
    assert_eq!(host.asked("GET", &path, Some(token)).await.status(), StatusCode::OK);

    let listed = host.get(&path).await.expect(StatusCode::OK);
    assert_eq!(listed.body["data"][0]["id"], id);
    assert!(listed.body["data"][0]["last_used"].is_string(), "{}", listed.body);
    let secret = token.rsplit('_').next().unwrap();
    assert!(!listed.body.to_string().contains(secret));
    assert!(!format!("{:?}", host.audit().await).contains(secret));
    for file in std::fs::read_dir(host._dir.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "the token is stored in clear");
    }
}

#[tokio::test]
async fn a_token_and_its_last_use_outlive_the_host() {
    let host = host();
    let account = host.account().await;
    let token = host.new_token(&account, json!({})).await;
    host.asked("GET", &format!("/v2/accounts/{account}"), Some(&token)).await;
    host.access.close().await;

    let keep = AuditKeep { entries: 1, age_ms: 1 };
    let again =
        Access::open(host.store.clone(), host.store.clone(), host.token.hash(), keep, log_ins(), |_| true)
            .await
            .unwrap();
    let orphaned =
        Access::open(host.store.clone(), host.store.clone(), host.token.hash(), keep, log_ins(), |_| false)
            .await
            .unwrap();

    assert!(again.tokens.holder(&token).is_some());
    assert!(again.tokens.show(&again.tokens.ids(None)[0]).unwrap().used_ms.is_some());
    assert!(orphaned.tokens.holder(&token).is_none());
}

#[tokio::test]
async fn only_administrators_make_see_and_revoke_administrators() {
    let family = Family::new().await;
    let host = &family.host;
    let path = format!("/v2/accounts/{}/tokens", family.own);
    let administrators = host.data("PUT", &path, json!({"admin": true})).await.id();
    let own = [("x-auth-token", family.tokens["own"].as_str()), ("content-type", "application/json")];

    let refused = host.raw("PUT", &path, &own, json!({"data": {"admin": true}}).to_string()).await;
    refused.expect_error(StatusCode::FORBIDDEN, "forbidden");
    host.raw("PUT", &path, &own, json!({"data": {}}).to_string()).await.expect(StatusCode::CREATED);
    let listed = host.raw("GET", &path, &own, Body::empty()).await;
    assert!(!listed.body["data"].to_string().contains(&administrators));
    let of_theirs = format!("{path}/{administrators}");
    host.raw("DELETE", &of_theirs, &own, Body::empty())
        .await
        .expect_error(StatusCode::NOT_FOUND, "bad_identifier");
    let siblings = family.tokens["sibling"].split('_').nth(1).unwrap();
    let of_siblings = format!("{path}/{siblings}");
    host.raw("DELETE", &of_siblings, &own, Body::empty()).await.expect(StatusCode::NOT_FOUND);
    host.delete(&of_siblings).await.expect(StatusCode::NOT_FOUND);
    host.delete(&of_theirs).await.expect(StatusCode::OK);
    host.delete(&of_theirs).await.expect(StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn tokens_go_with_their_account_and_rest_while_it_is_disabled() {
    let host = host();
    let account = host.account().await;
    let path = format!("/v2/accounts/{account}");
    let token = host.new_token(&account, json!({})).await;
    let administrator = host.new_token(&account, json!({"admin": true})).await;

    host.data("PATCH", &path, json!({"enabled": false})).await.expect(StatusCode::OK);
    assert_eq!(host.asked("GET", &path, Some(&token)).await.status(), StatusCode::FORBIDDEN);
    host.data("PATCH", &path, json!({"enabled": true})).await.expect(StatusCode::OK);
    assert_eq!(host.asked("GET", &path, Some(&token)).await.status(), StatusCode::OK);
    host.delete(&path).await.expect(StatusCode::OK);

    for token in [token, administrator] {
        assert_eq!(host.asked("GET", "/modules", Some(&token)).await.status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(host.get("/tokens").await.body["data"], json!([]));
}

#[tokio::test]
async fn an_account_has_so_many_tokens_and_no_more() {
    let host = host();
    let (account, other) = (host.account().await, host.account().await);
    let path = format!("/v2/accounts/{account}/tokens");
    for _ in 0..100 {
        host.new_token(&account, json!({})).await;
    }

    host.data("PUT", &path, json!({})).await.expect_error(StatusCode::CONFLICT, "too_many_tokens");
    host.new_token(&other, json!({})).await;
    let wrong = host.data("PUT", &path, json!({"admin": "yes"})).await;
    wrong.expect_error(StatusCode::BAD_REQUEST, "validation error");
}

#[tokio::test]
async fn whoever_guesses_has_to_wait_and_whoever_is_known_there_does_not() {
    let host = host();
    let account = host.account().await;
    let never_here = host.new_token(&account, json!({"admin": true})).await;
    let known = host.token.reveal().to_owned();
    let from = "192.0.2.1";
    let ask = async |token: &str| host.asked_from(from, "GET", "/modules", Some(token)).await;
    assert_eq!(ask(&known).await.status(), StatusCode::OK);

    for _ in 0..100 {
        assert_eq!(ask("guessed").await.status(), StatusCode::UNAUTHORIZED);
    }

    for token in ["guessed", &never_here] {
        let answer = ask(token).await;
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(answer.headers()["retry-after"], "1");
    }
    let open = host.asked_from(from, "GET", "/v2/webhooks", Some(&never_here)).await;
    let body = to_bytes(open.into_body(), usize::MAX).await.unwrap();
    assert!(
        !String::from_utf8(body.to_vec()).unwrap().contains("auth_token"),
        "an open route tells a good guess"
    );
    assert_eq!(ask(&known).await.status(), StatusCode::OK);
    assert_eq!(host.asked("GET", "/modules", Some(&never_here)).await.status(), StatusCode::OK);
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(2)).await;
    tokio::time::resume();
    assert_eq!(ask(&never_here).await.status(), StatusCode::OK);
}
