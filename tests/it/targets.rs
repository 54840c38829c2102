//! Where requests may go: by address, by name, by name that changes its mind, through a proxy, over TLS.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use hookline::attempts::trace::ExchangeTrace;
use hookline::delivery::client::{ClientLimits, EndpointClient};
use hookline::delivery::names::NameCache;
use hookline::delivery::resolve::NameResolver;
use hookline::model::EndpointAnswer;
use hookline::model::HttpExchange;
use hookline::model::OutgoingRequest;
use hookline::model::Verb;
use hookline::model::guard::Guard;
use serde_json::{Value, json};
use tests::{Authority, Home, Proxy, Receiver, TestHost, call_event, eventually};

const CREATE: &[&str] = &["webhooks_channel_create"];
const AT_ONCE: &str = "delivery.retry_schedule_ms = [1]\ndelivery.allow_targets = []\n";

fn create(account: &str, call_id: &str) -> Value {
    call_event("CHANNEL_CREATE", account, call_id)
}

/// Answers these addresses in turn, the last one for ever, whatever the name.
struct Answers {
    addresses: Vec<IpAddr>,
    asked: AtomicUsize,
}

impl Answers {
    fn new(addresses: &[&str]) -> Arc<Self> {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        Arc::new(Answers { addresses, asked: AtomicUsize::new(0) })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl NameResolver for Answers {
    async fn resolve(&self, _: &str) -> std::io::Result<Vec<IpAddr>> {
        let nth = self.asked.fetch_add(1, Ordering::SeqCst);
        let found = self.addresses.get(nth).or(self.addresses.last());
        found.map(|address| vec![*address]).ok_or_else(|| std::io::Error::other("no such name"))
    }
}

async fn refused_uri(host: &TestHost, account: &str, uri: &str) -> String {
    let hook = json!({"name": "n", "hook": "channel_create", "uri": uri});
    let answer =
        host.ask("PUT", &format!("/v2/accounts/{account}/webhooks"), Some(json!({"data": hook}))).await;
    assert_eq!(answer.status, 400, "{uri}: {}", answer.json);
    let said = &answer.json["data"]["uri"]["error"];
    assert!(said["message"].as_str().unwrap().starts_with("invalid client URL: "), "{said}");
    assert_eq!(said["value"], uri);
    said["cause"].as_str().unwrap().to_owned()
}

async fn owed(host: &TestHost) -> (u64, u64) {
    let counts = host.inside().parts.stores.ledger.counts().await.unwrap();
    (counts.pending, counts.dead)
}

#[tokio::test]
async fn a_hook_at_an_address_that_is_not_public_is_not_saved_and_the_answer_says_why() {
    let host = TestHost::configured("delivery.allow_targets = [\"10.1.0.0/16\"]\n", CREATE).await;
    let account = host.account("acme").await;

    for (uri, cause) in [
        (
            "http://127.0.0.1:9000/",
            "127.0.0.1 is a loopback address; delivery.allow_targets would have to list it, such as \"127.0.0.1/32\"",
        ),
        ("http://2130706433/", "127.0.0.1 is a loopback address"),
        ("http://user:pass@0x7f.1/", "127.0.0.1 is a loopback address"),
        ("http://localhost/", "localhost leads to 127.0.0.1, which is a loopback address"),
        ("https://169.254.169.254/latest/", "169.254.169.254 is the address of a metadata service"),
        ("http://[::ffff:10.2.0.1]/", "::ffff:10.2.0.1 carries 10.2.0.1 (IPv4-mapped), a private address"),
        ("http://[64:ff9b::7f00:1]/", "64:ff9b::7f00:1 carries 127.0.0.1 (NAT64), a loopback address"),
    ] {
        let said = refused_uri(&host, &account, uri).await;
        assert!(said.starts_with(cause), "{said}");
    }
    host.hook(&account, "channel_create", "http://10.1.2.3/listed", json!({})).await;
    host.hook(&account, "channel_create", "http://some.name.example/", json!({})).await;
}

#[tokio::test]
async fn a_stored_hook_at_a_refused_address_fails_for_good_and_nothing_is_sent() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::with_modules(CREATE).await;
    let account = host.account("acme").await;
    host.hook(&account, "channel_create", &receiver.url("/"), json!({"retries": 4})).await;
    let slow = "delivery.allow_targets = []\ndelivery.retry_schedule_ms = [3600000]\n";
    let host = host.stopped().await.start_configured(slow).await.unwrap();

    host.publish(create(&account, "call-1")).await;

    host.settled().await;
    assert_eq!(owed(&host).await, (0, 1));
    assert!(receiver.waiting().is_empty());
}

#[tokio::test]
async fn a_name_that_leads_to_this_machine_is_refused_when_it_is_resolved_and_tried_again() {
    let mut receiver = Receiver::answering(200).await;
    let names = Answers::new(&["127.0.0.1"]);
    let host = TestHost::resolving(AT_ONCE, CREATE, names.clone()).await;
    let account = host.account("acme").await;
    let uri = format!("http://rebind.example:{}/", receiver.address().port());
    host.hook(&account, "channel_create", &uri, json!({"retries": 2})).await;

    host.publish(create(&account, "call-1")).await;

    host.settled().await;
    assert_eq!((owed(&host).await, names.asked()), ((0, 1), 3));
    assert!(receiver.waiting().is_empty());
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_vetted_at_every_connection_and_looked_up_once_for_each() {
    let mut receiver = Receiver::answering_with(&[200], "connection", "close").await;
    let names = Answers::new(&["127.0.0.1", "127.0.0.2"]);
    let settings = "delivery.allow_targets = [\"127.0.0.1/32\"]\n";
    let host = TestHost::resolving(settings, CREATE, names.clone()).await;
    let account = host.account("acme").await;
    let uri = format!("http://rebind.example:{}/", receiver.address().port());
    host.hook(&account, "channel_create", &uri, json!({})).await;

    host.publish(create(&account, "vetted")).await;
    let request = receiver.next_request().await;
    host.settled().await;
    let after_first = (names.asked(), owed(&host).await);
    host.publish(create(&account, "rebound")).await;
    host.settled().await;

    assert_eq!(request.header("host"), uri.trim_start_matches("http://").trim_end_matches('/'));
    assert_eq!(after_first, (1, (0, 0)));
    assert_eq!((names.asked(), owed(&host).await), (2, (0, 1)));
    assert!(receiver.waiting().is_empty());
}

#[tokio::test]
async fn the_demo_reaches_its_own_receiver_and_nothing_else_on_this_machine() {
    let modules = ["webhooks_channel_create", "webhooks_channel_answer", "webhooks_channel_destroy"];
    let settings = "delivery.allow_targets = []\n";
    let program = Home::new(settings, &modules).start_logging("info", &["--demo"]).await;

    let log = program.folder().join("log");
    let delivered = async || {
        let text = std::fs::read_to_string(&log).unwrap();
        text.contains("the demo's receiver got a webhook").then_some(())
    };
    eventually("a webhook of the demo arrives", delivered).await;
    let accounts = reqwest::Client::new().put(format!("{}/v2/accounts", program.url()));
    let made = accounts.header("x-auth-token", program.token()).json(&json!({"data": {"name": "mine"}}));
    let made: Value = made.send().await.unwrap().json().await.unwrap();
    let hooks = format!("{}/v2/accounts/{}/webhooks", program.url(), made["data"]["id"].as_str().unwrap());
    let hook = json!({"data": {"name": "n", "hook": "channel_create", "uri": "http://127.0.0.1:1/"}});
    let put = reqwest::Client::new().put(hooks).header("x-auth-token", program.token()).json(&hook);

    assert_eq!(put.send().await.unwrap().status(), 400);
}

fn limits(proxy: &str, extra_ca: Option<&Authority>) -> ClientLimits {
    ClientLimits {
        connect_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(10),
        response_body_limit: 1000,
        proxy: proxy.to_owned(),
        extra_ca: extra_ca.map(Authority::file),
        connections: 100,
    }
}

/// Sends one request as the host does, with this guard and resolver.
async fn send(
    limits: &ClientLimits,
    allowed: &[&str],
    resolver: Arc<dyn NameResolver>,
    url: &str,
) -> HttpExchange {
    let guard = Guard::allowing(allowed.iter().map(|net| net.parse().unwrap()).collect());
    let client = EndpointClient::new(limits, Arc::new(guard), resolver).unwrap();
    let body = "{}".into();
    let request = OutgoingRequest { method: Verb::Post, url: url.to_owned(), headers: Vec::new(), body };
    client.send(&request, None, &mut ExchangeTrace::default()).await
}

const LOCAL: &[&str] = &["127.0.0.0/8"];

#[tokio::test]
async fn the_reason_of_a_refusal_names_address_and_setting() {
    let names = Answers::new(&["10.0.0.7"]);
    let literal = send(&limits("", None), &[], Arc::new(NameCache::of_system()), "http://[::1]:1/").await;
    let named = send(&limits("", None), &[], names, "http://inner.example/").await;

    assert_eq!(literal.answer, EndpointAnswer::Refused);
    assert_eq!(
        literal.told,
        "refused by the target guard: ::1 is a loopback address; \
        delivery.allow_targets would have to list it, such as \"::1/128\""
    );
    assert_eq!(named.answer, EndpointAnswer::ClientError);
    assert_eq!(
        named.told,
        "refused by the target guard: inner.example leads to 10.0.0.7, which is a private address; \
        delivery.allow_targets would have to list it, such as \"10.0.0.7/32\""
    );
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused_until_extra_ca_names_it() {
    let authority = Authority::new();
    let mut receiver = Receiver::with_certificate(&authority, "secure.example", 200).await;
    let names = Answers::new(&["127.0.0.1"]);
    let url = format!("https://secure.example:{}/", receiver.address().port());

    let unknown = send(&limits("", None), LOCAL, names.clone(), &url).await;
    let other = send(&limits("", Some(&Authority::new())), LOCAL, names.clone(), &url).await;
    let known = send(&limits("", Some(&authority)), LOCAL, names.clone(), &url).await;
    let misnamed = url.replace("secure.example", "other.example");
    let misnamed = send(&limits("", Some(&authority)), LOCAL, names, &misnamed).await;

    for refused in [unknown, other] {
        assert_eq!(refused.answer, EndpointAnswer::ClientError);
        assert!(refused.told.contains("invalid peer certificate: UnknownIssuer"), "{}", refused.told);
    }
    assert_eq!(known.answer, EndpointAnswer::Status { code: 200, retry_after: None }, "{}", known.told);
    assert!(misnamed.told.contains("certificate not valid for name"), "{}", misnamed.told);
    receiver.next_request().await;
    assert!(receiver.waiting().is_empty());
}

#[tokio::test]
async fn a_whole_host_trusts_the_authorities_of_its_setting() {
    let authority = Authority::new();
    let mut receiver = Receiver::with_certificate(&authority, "127.0.0.1", 200).await;
    let host =
        TestHost::configured(&format!("delivery.extra_ca = '{}'\n", authority.file().display()), CREATE)
            .await;
    let account = host.account("acme").await;
    host.hook(&account, "channel_create", &receiver.url("/").replace("http:", "https:"), json!({})).await;

    host.publish(create(&account, "call-1")).await;

    assert_eq!(receiver.next_request().await.json()["call_id"], "call-1");
}

#[tokio::test]
async fn a_file_without_certificates_keeps_the_host_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("empty.pem");
    for content in [None, Some("nothing of the kind")] {
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        let refusal =
            TestHost::refusal_to_start(&format!("delivery.extra_ca = '{}'\n", file.display())).await;
        assert!(refusal.contains("delivery.extra_ca: ") && refusal.contains("empty.pem"), "{refusal}");
    }
}

#[tokio::test]
async fn a_proxy_may_be_local_and_is_asked_for_what_the_guard_lets_through_only() {
    let mut receiver = Receiver::answering(200).await;
    let mut proxy = Proxy::leading_to(receiver.address()).await;
    let settings = format!(
        "delivery.allow_targets = []\ndelivery.retry_schedule_ms = [1]\ndelivery.proxy = 'http://127.0.0.1:{}'\n",
        proxy.port()
    );
    let names = Answers::new(&["93.184.216.34", "10.0.0.1", "10.0.0.1"]);
    let host = TestHost::resolving(&settings, CREATE, names.clone()).await;
    let account = host.account("acme").await;
    host.hook(&account, "channel_create", "http://hooks.example/path", json!({"retries": 1})).await;

    host.publish(create(&account, "through")).await;
    let asked = proxy.asked().await;
    let request = receiver.next_request().await;
    host.settled().await;
    host.publish(create(&account, "inside")).await;
    host.settled().await;

    assert_eq!(asked, "POST http://hooks.example/path HTTP/1.1");
    assert_eq!((request.header("host"), &request.json()["call_id"]), ("hooks.example", &json!("through")));
    assert_eq!((names.asked(), owed(&host).await), (3, (0, 1)));
    assert!(proxy.is_idle() && receiver.waiting().is_empty());
}

#[tokio::test]
async fn a_proxy_may_be_a_name_tunnels_tls_and_knows_names_that_we_do_not() {
    let authority = Authority::new();
    let mut receiver = Receiver::with_certificate(&authority, "secure.example", 200).await;
    let mut proxy = Proxy::leading_to(receiver.address()).await;
    let through = |allowed| limits(&format!("http://proxy.example:{}", proxy.port()), allowed);

    /// Knows the proxy only.
    struct ProxyOnly;
    #[async_trait]
    impl NameResolver for ProxyOnly {
        async fn resolve(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
            let known = name == "proxy.example";
            known
                .then(|| vec![IpAddr::from([127, 0, 0, 1])])
                .ok_or_else(|| std::io::Error::other("no such name"))
        }
    }
    let sent = send(&through(Some(&authority)), &[], Arc::new(ProxyOnly), "https://secure.example/").await;
    let untrusted = send(&through(None), &[], Arc::new(ProxyOnly), "https://secure.example/").await;
    let literal = send(&through(None), &[], Arc::new(ProxyOnly), "https://192.168.0.1/").await;

    assert_eq!(sent.answer, EndpointAnswer::Status { code: 200, retry_after: None }, "{}", sent.told);
    assert_eq!(proxy.asked().await, "CONNECT secure.example:443 HTTP/1.1");
    assert!(untrusted.told.contains("UnknownIssuer"), "{}", untrusted.told);
    assert_eq!(literal.answer, EndpointAnswer::Refused);
    proxy.asked().await;
    assert!(proxy.is_idle());
    receiver.next_request().await;
}
