//! What the host's own machine lacks says nothing of endpoints: nobody is blamed, and all arrives once it is there.

use serde_json::{Value, json};
use tests::{Authority, Home, Receiver, Scripted, Step, TestHost, eventually};

const MODULE: &[&str] = &["webhooks_misbehaving"];

fn fire(account: &str, say: &str) -> Value {
    json!({"Event-Category": "misbehave", "Event-Name": "now", "Account-ID": account, "Do": "fire", "Say": say})
}

async fn owed(host: &TestHost) -> (u64, u64) {
    let counts = host.inside().parts.stores.ledger.counts().await.unwrap();
    (counts.pending, counts.dead)
}

#[tokio::test]
async fn a_proxy_that_is_down_counts_against_nobody_and_all_arrives_when_it_is_up() {
    let mut receiver = Receiver::answering(200).await;
    let proxy = Receiver::closed();
    let settings = format!("delivery.proxy = '{}'\ndelivery.retry_schedule_ms = [1]\n", proxy.url(""));
    let host = TestHost::configured(&settings, MODULE).await;
    let account = host.account("acme").await;
    let mut hooks = Vec::new();
    for scheme in ["http", "https"] {
        let url = receiver.url("/").replace("http", scheme);
        hooks.push(host.hook(&account, "misbehaving", &url, json!({"retries": 1})).await);
    }

    for n in 0..10 {
        host.publish(fire(&account, &n.to_string())).await;
    }

    let text = async || host.request("GET", "/metrics").send().await.unwrap().text().await.unwrap();
    let postponed = || async {
        let text = text().await;
        let count = text
            .lines()
            .find_map(|line| line.strip_prefix("hookline_local_troubles_total{kind=\"proxy\"} "))?;
        (count.parse::<f64>().ok()? > 40.0).then_some(())
    };
    eventually("each was postponed twice", postponed).await;
    assert_eq!(owed(&host).await, (20, 0));
    host.figure("hookline_deliveries_total{outcome=\"retried\"}", 0).await;
    host.figure("hookline_hooks_paused", 0).await;

    // It makes no tunnels: who wants one is taken away.
    host.ask("DELETE", &format!("/v2/accounts/{account}/webhooks/{}", hooks[1]), None).await;
    let mut proxy = proxy.open(200);
    for _ in 0..10 {
        assert_eq!(proxy.next_request().await.header("host"), receiver.address().to_string());
    }
    host.settled().await;
    assert_eq!(owed(&host).await, (0, 10), "what is dead was for the hook that was taken away");
    assert!(receiver.waiting().is_empty());
}

#[tokio::test]
async fn without_authorities_the_host_starts_and_https_says_what_is_missing() {
    let authority = Authority::new();
    let (mut plain, safe) =
        (Receiver::answering(200).await, Receiver::with_certificate(&authority, "127.0.0.1", 200).await);
    let home = Home::new("[delivery]\nretry_schedule_ms = [3600000]\n", MODULE);
    let mut run = home.run();
    run.env("SSL_CERT_FILE", "/nonexistent/file.pem").env("SSL_CERT_DIR", "/nonexistent");
    let program = home.start_as(run).await;
    let account = program.account("acme").await;
    program.hook(&account, "misbehaving", &plain.url("/"), json!({})).await;
    program.hook(&account, "misbehaving", &safe.url("/").replace("http", "https"), json!({})).await;

    let answer = program.ask("POST", "/events", Some(fire(&account, "x"))).await;

    assert_eq!(answer.status, 202, "{}", answer.json);
    plain.next_request().await;
    let path = format!("/v2/accounts/{account}/webhooks/attempts");
    let listed = || async { program.ask("GET", &path, None).await.json["data"].as_array()?.first().cloned() };
    let attempt = eventually("the attempt over https is listed", listed).await;
    assert_eq!(attempt["class"], "tls");
    let reason = attempt["reason"].as_str().unwrap();
    for part in ["CA store", "SSL_CERT_FILE=/nonexistent/file.pem", "delivery.extra_ca"] {
        assert!(reason.contains(part), "{reason}");
    }
}

#[tokio::test]
async fn a_certificate_of_an_authority_as_a_servers_says_how_it_is_to_be_reissued() {
    let (receiver, certificate) = Receiver::with_certificate_of_an_authority("127.0.0.1").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("own.pem");
    std::fs::write(&file, certificate).unwrap();
    let host = TestHost::configured(&format!("delivery.extra_ca = '{}'\n", file.display()), MODULE).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &receiver.url("/").replace("http", "https"), json!({})).await;

    host.publish(fire(&account, "x")).await;

    let path = format!("/v2/accounts/{account}/webhooks/attempts");
    let listed = || async { host.ask("GET", &path, None).await.json["data"].as_array()?.first().cloned() };
    let attempt = eventually("an attempt is listed", listed).await;
    let reason = attempt["reason"].as_str().unwrap();
    assert!(reason.contains("reissue it with CA:FALSE") && !reason.contains("OtherError"), "{reason}");
}

#[tokio::test]
async fn few_files_for_many_endpoints_are_shared_out_and_nobody_is_blamed() {
    const HOOKS: usize = 400;
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let keeping = vec![Step::ReadHead, Step::ReadBody, Step::write(answer), Step::Again];
    let mut endpoint = Scripted::at("0.0.0.0:0", vec![keeping]).await;
    let port = endpoint.address().port();
    let home = Home::new("[delivery]\nretry_schedule_ms = [1]\n[log]\nlevel = \"off\"\n", MODULE);
    let run = home.run_with_files(256);
    let program = home.start_as(run).await;
    let account = program.account("acme").await;
    for n in 0..HOOKS {
        let url = format!("http://127.1.{}.{}:{port}/", n / 200, n % 200 + 1);
        program.hook(&account, "misbehaving", &url, json!({"retries": 3})).await;
    }

    for n in 0..3 {
        let answer = program.ask("POST", "/events", Some(fire(&account, &n.to_string()))).await;
        assert_eq!(answer.status, 202, "{}", answer.json);
        // A client without a connection of its own finds a place all the same.
        assert_eq!(reqwest::get(format!("{}/healthz", program.url())).await.unwrap().status(), 200);
    }
    program.owes_nothing().await;

    assert_eq!(endpoint.waiting().len(), 3 * HOOKS);
    let text = program.request("GET", "/metrics").send().await.unwrap().text().await.unwrap();
    for line in [
        "hookline_deliveries_total{outcome=\"retried\"} 0",
        "hookline_deliveries_total{outcome=\"dead\"} 0",
        "hookline_hooks_paused 0",
    ] {
        assert!(text.lines().any(|said| said == line), "{line} is missing in {text}");
    }
}

#[tokio::test]
async fn where_few_files_may_be_open_endpoints_that_hang_do_not_have_every_connection() {
    let mut prompt = Receiver::answering(200).await;
    let hanging = Receiver::hanging().await;
    let settings = "stop_timeout_ms = 0\n[delivery]\nrequest_timeout_ms = 3600000\n[log]\nlevel = \"off\"\n";
    let home = Home::new(settings, MODULE);
    let run = home.run_with_files(256);
    let program = home.start_as(run).await;
    let account = program.account("prompt").await;
    program.hook(&account, "misbehaving", &prompt.url("/"), json!({})).await;
    let other = program.account("hanging").await;
    for n in 0..20 {
        program.hook(&other, "misbehaving", &hanging.url(&format!("/{n}")), json!({})).await;
    }

    for n in 0..10 {
        for account in [&other, &account] {
            let answer = program.ask("POST", "/events", Some(fire(account, &n.to_string()))).await;
            assert_eq!(answer.status, 202, "{}", answer.json);
        }
        prompt.next_request().await;
    }

    assert!(hanging.is_running());
}
