//! What no log shows, however much it says: a whole life of a host at the level that logs everything, with every kind
//! of secret that a host is told or makes.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tests::{Broker, Collector, Home, Program, Proxy, Receiver, eventually, say};

/// A secret, and what it is.
type Secret = (&'static str, String);

const KEY: &str = "c2VjcmV0cy1rZXktb2YtdGhpcy10ZXN0LTMyLWJ5dGU=";
const SIGNING: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Passwords that look otherwise in an address, in JSON and in a header.
const BROKER: &str = "br0ker/p@ss\"word";
const PROXY: &str = "pr0xy/p@ss\"word";
const ADDRESS: &str = "addr/p@ss\"word";
const COLLECTOR: &str = "c0llector/p@ss\"word";

fn in_address(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Every way in which bytes are likely to be written: as they are, in an address, as numbers, and within longer text in
/// base64, where they begin at any of three places.
fn shapes(secret: &[u8]) -> Vec<String> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = |bytes: &[u8]| bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    let mut shapes = vec![hex.to_uppercase(), hex, list(&secret[..secret.len().min(12)])];
    if let Ok(text) = std::str::from_utf8(secret) {
        shapes.extend([text.to_owned(), in_address(text)]);
    }
    for engine in [STANDARD, URL_SAFE] {
        for before in 0..3 {
            let encoded = engine.encode([vec![0; before], secret.to_vec()].concat());
            // The first and the last letters depend on what stands around it.
            let whole = encoded.trim_end_matches('=');
            shapes.push(whole[(before * 8).div_ceil(6)..whole.len() - 1].to_owned());
        }
    }
    shapes
}

/// The id of a token is not secret; the first one has none.
fn secret_part(token: &str) -> String {
    token.rsplit_once('_').map_or(token, |(_, secret)| secret).to_owned()
}

/// Asks as somebody with this token.
async fn ask(program: &Program, method: &str, path: &str, header: (&str, &str), body: Value) -> (u16, Value) {
    let asked = reqwest::Client::new().request(method.parse().unwrap(), format!("{}{path}", program.url()));
    let answer = asked.header(header.0, header.1).json(&body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn command(program: &Program, words: &[&str]) -> String {
    let (url, token) = (program.url().to_owned(), program.token());
    say(&[words, &["--url", &url, "--token", &token]].concat()).await.success()
}

/// Waits until the log has a line with this text.
async fn logged(program: &Program, text: &str) {
    let file = program.folder().join("log");
    eventually("a line of the log", async || {
        std::fs::read_to_string(&file).is_ok_and(|log| log.contains(text)).then_some(())
    })
    .await;
}

/// A life of a host, what it logged, and what it must not have.
async fn life(format: &str) -> (String, Vec<Secret>) {
    let collector = Collector::start().await;
    let mut receiver =
        Receiver::answering_with(&[503, 200], "set-cookie", "session=c00kie-of-the-receiver").await;
    let proxy = Proxy::leading_to(receiver.address()).await;
    let broker = Broker::shared();
    let (_, place) = broker.uri().rsplit_once('@').unwrap();
    let settings = format!(
        "[bus]\nkind = \"amqp\"\nuri = \"amqp://intruder:{}@{place}\"\nqueue = \"q\"\n\
         [delivery]\nretry_schedule_ms = [10]\nproxy = \"http://us:{}@127.0.0.1:{}\"\n\
         [telemetry]\notlp_endpoint = \"{}\"\n[log]\nformat = \"{format}\"\n",
        in_address(BROKER),
        in_address(PROXY),
        proxy.port(),
        collector.url().replace("//", &format!("//us:{}@", in_address(COLLECTOR))),
    );
    let home = Home::new(&settings, &["webhooks_misbehaving"]);
    let mut run = home.run();
    run.env("HOOKLINE_SECRETS_KEY", KEY).env("OTEL_EXPORTER_OTLP_HEADERS", "api-key=k3y-of-the-collector");
    let program = home.start_logging_as("trace", run).await;
    let admin = program.token();
    let account = program.account("acme").await;

    // Tokens: made, used, revoked; and wrong ones.
    let token = command(&program, &["token", "create", "--account", &account, "--name", "pager"]).await;
    let token = token.trim().to_owned();
    let own = format!("/v2/accounts/{account}");
    assert_eq!(ask(&program, "GET", &own, ("x-auth-token", &token), json!({})).await.0, 200);
    let (id, _) = token.rsplit_once('_').unwrap();
    let wrong = format!("{id}_{}", "wr0ng".repeat(8));
    for header in [("x-auth-token", wrong.as_str()), ("authorization", &format!("Bearer {wrong}"))] {
        assert_eq!(ask(&program, "GET", &own, header, json!({})).await.0, 401);
    }

    // A hook with all that can be secret in one; a wrong one; another secret for it.
    let uri = format!(
        "http://hooker:{}@{}/p?access_token=t0ken-in-the-query",
        in_address(ADDRESS),
        receiver.address()
    );
    let more =
        json!({"retries": 1, "secret": SIGNING, "headers": {"Authorization": "Bearer h3ader-of-the-hook"}});
    let hook = program.hook(&account, "misbehaving", &uri, more).await;
    let path = format!("/v2/accounts/{account}/webhooks/{hook}");
    let too_short = ask(
        &program,
        "PATCH",
        &path,
        ("x-auth-token", &admin),
        json!({"data": {"secret": "whsec_t00short"}}),
    );
    assert_eq!(too_short.await.0, 400);
    let rotate = json!({"data": {"secret": "generate"}});
    let (_, rotated) = ask(&program, "PATCH", &path, ("x-auth-token", &admin), rotate).await;
    let generated = rotated["data"]["secret"].as_str().unwrap().to_owned();

    // Events: one that a module fails on, one that is tried twice. And a module that is none.
    for misdeed in ["fail", "speak", "fire"] {
        let event = json!({"Event-Category": "misbehave", "Event-Name": "now", "Account-ID": account,
            "Do": misdeed, "Say": "hello"});
        assert_eq!(program.ask("POST", "/events", Some(event)).await.status, 202);
    }
    let requests = [receiver.next_request().await, receiver.next_request().await];
    assert!(requests.iter().all(|request| request.header("authorization").ends_with("h3ader-of-the-hook")));
    std::fs::write(program.folder().join("plugins/webhooks_none.so"), "no library").unwrap();
    logged(&program, "file refused").await;
    logged(&program, "no connection to the broker").await;
    program.owes_nothing().await;
    command(&program, &["token", "revoke", id.strip_prefix("hlt_").unwrap_or(id)]).await;
    let (said, home) = program.signalled("TERM").await;
    assert_eq!(said.code, Some(0));

    let log = std::fs::read_to_string(home.path("log")).unwrap() + &said.out + &said.err;
    for text in ["TRACE", &account, "delivery failed", "a module speaks", "changed"] {
        assert!(log.contains(text), "the log is not what this test thinks, it has no {text:?}");
    }
    let secrets = [
        ("the administrator's token", secret_part(&admin)),
        ("an account's token", secret_part(&token)),
        ("a wrong token", "wr0ng".repeat(8)),
        ("the key of secrets", KEY.to_owned()),
        ("a hook's secret", SIGNING.trim_start_matches("whsec_").to_owned()),
        ("a hook's new secret", generated.trim_start_matches("whsec_").to_owned()),
        ("a hook's wrong secret", "t00short".to_owned()),
        ("the password in a hook's address", ADDRESS.to_owned()),
        ("the token in a hook's address", "t0ken-in-the-query".to_owned()),
        ("a hook's header", "h3ader-of-the-hook".to_owned()),
        ("the receiver's cookie", "c00kie-of-the-receiver".to_owned()),
        ("the broker's password", BROKER.to_owned()),
        ("the proxy's password", PROXY.to_owned()),
        ("the collector's password", COLLECTOR.to_owned()),
        ("the collector's key", "k3y-of-the-collector".to_owned()),
    ];
    (log, secrets.to_vec())
}

async fn shows_none(format: &str) {
    let (log, secrets) = life(format).await;
    let mut found = Vec::new();
    for (what, secret) in secrets {
        let mut looked_for = shapes(secret.as_bytes());
        // Keys are handed about as what they stand for.
        looked_for.extend(STANDARD.decode(&secret).iter().flat_map(|bytes| shapes(bytes)));
        let shows = |line: &&str| {
            // However often quotes are escaped.
            let line = line.replace('\\', "");
            looked_for.iter().any(|shape| line.contains(shape.as_str()))
        };
        for line in log.lines().filter(shows) {
            found.push(format!("{what}: {}", line.chars().take(600).collect::<String>()));
        }
    }
    assert!(found.is_empty(), "{} lines show secrets: {:#?}", found.len(), &found[..found.len().min(20)]);
}

#[tokio::test]
async fn a_secret_stands_in_no_line_of_text_at_the_level_that_logs_everything() {
    shows_none("text").await;
}

#[tokio::test]
async fn a_secret_stands_in_no_line_of_json_at_the_level_that_logs_everything() {
    shows_none("json").await;
}

#[test]
fn a_secret_is_found_within_others_words() {
    for around in ["", "a", "ab", "abc"] {
        let text = format!("{around}the secret{around}");
        for shown in [
            text.clone(),
            STANDARD.encode(&text),
            URL_SAFE.encode(&text),
            in_address(&text),
            format!("{:?}", text.as_bytes()),
        ] {
            assert!(shapes(b"the secret").iter().any(|shape| shown.contains(shape.as_str())), "{shown}");
        }
    }
}
