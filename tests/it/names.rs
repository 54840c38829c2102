//! Names of endpoints: servers that stall or lie about nothing, the hosts file, and addresses that are dead.

use std::net::Ipv4Addr;
use std::sync::Arc;

use hookline::delivery::names::NameCache;
use serde_json::{Value, json};
use tests::{NameAnswer, NameServer, Receiver, Scripted, Step, TestHost, eventually};

const MODULE: &[&str] = &["webhooks_misbehaving"];
const LOCAL: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn fire(account: &str, say: &str) -> Value {
    json!({"Event-Category": "misbehave", "Event-Name": "now", "Account-ID": account, "Do": "fire", "Say": say})
}

async fn owed(host: &TestHost) -> (u64, u64) {
    let counts = host.inside().parts.stores.ledger.counts().await.unwrap();
    (counts.pending, counts.dead)
}

async fn host_asking(server: &NameServer, settings: &str) -> TestHost {
    TestHost::resolving(settings, MODULE, Arc::new(NameCache::set_up_by(server.folder()))).await
}

fn at(name: &str, receiver: &Receiver) -> String {
    format!("http://{name}:{}/", receiver.address().port())
}

#[tokio::test]
async fn a_name_server_that_never_answers_holds_up_no_address_and_no_hosts_file_and_blames_nobody() {
    const NAMES: usize = 300;
    let server = NameServer::answering(NameAnswer::Silence).await;
    std::fs::write(server.folder().join("hosts"), "127.0.0.1 listed.example\n").unwrap();
    let (mut named, mut listed) = (Receiver::answering(200).await, Receiver::answering(200).await);
    let mut failing = Receiver::answering_in_turn(&[500, 500, 200]).await;
    let host = host_asking(&server, "delivery.retry_schedule_ms = [100]\n").await;
    let account = host.account("acme").await;
    for n in 0..NAMES {
        host.hook(&account, "misbehaving", &at(&format!("n{n}.example"), &named), json!({})).await;
    }
    host.hook(&account, "misbehaving", &at("listed.example", &listed), json!({})).await;
    host.hook(&account, "misbehaving", &failing.url("/"), json!({"retries": 3})).await;

    host.publish(fire(&account, "x")).await;

    listed.next_request().await;
    for _ in 0..3 {
        failing.next_request().await;
    }
    let all_wait = || async { (owed(&host).await == (NAMES as u64, 0)).then_some(()) };
    eventually("only those with names wait", all_wait).await;
    assert!(named.waiting().is_empty());
    host.figure("hookline_deliveries_total{outcome=\"retried\"}", 2).await;
    host.figure("hookline_hooks_paused", 0).await;

    server.answer_others(NameAnswer::Addresses(vec![LOCAL], 60));
    for _ in 0..NAMES {
        named.next_request().await;
    }
    host.settled().await;
    assert_eq!(owed(&host).await, (0, 0));
    host.figure("hookline_deliveries_total{outcome=\"retried\"}", 2).await;
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_its_owners_failure_and_a_server_that_cannot_say_is_nobodys() {
    let server = NameServer::answering(NameAnswer::None).await;
    server.answer("odd.example", NameAnswer::Failed);
    let mut receiver = Receiver::answering(200).await;
    let host = host_asking(&server, "delivery.retry_schedule_ms = [100]\n").await;
    let account = host.account("acme").await;
    for name in ["nowhere.example", "odd.example"] {
        host.hook(&account, "misbehaving", &at(name, &receiver), json!({"retries": 1})).await;
    }

    host.publish(fire(&account, "x")).await;

    let half = || async { (owed(&host).await == (1, 1)).then_some(()) };
    eventually("the one that does not exist is given up", half).await;
    server.answer("odd.example", NameAnswer::Addresses(vec![LOCAL], 60));
    receiver.next_request().await;
    host.settled().await;
    assert_eq!(owed(&host).await, (0, 1));
}

#[tokio::test]
async fn an_answer_is_kept_for_its_time_and_longer_where_the_server_falls_silent() {
    let server = NameServer::answering(NameAnswer::Silence).await;
    server.answer("kept.example", NameAnswer::Addresses(vec![LOCAL], 3600));
    server.answer("short.example", NameAnswer::Addresses(vec![LOCAL], 0));
    let mut receiver = Receiver::answering_with(&[200], "connection", "close").await;
    let host = host_asking(&server, "").await;
    let account = host.account("acme").await;
    for name in ["kept.example", "short.example"] {
        host.hook(&account, "misbehaving", &at(name, &receiver), json!({})).await;
    }
    host.publish(fire(&account, "first")).await;
    host.settled().await;
    let before = server.asked("short.example");
    server.answer("short.example", NameAnswer::Silence);

    // Until the short answer is out of date, and the server was asked in vain.
    let asked_again = || async {
        host.publish(fire(&account, "again")).await;
        host.settled().await;
        (server.asked("short.example") > before).then_some(())
    };
    eventually("the server is asked again", asked_again).await;

    assert_eq!(server.asked("kept.example"), 1);
    assert_eq!(owed(&host).await, (0, 0));
    host.figure("hookline_deliveries_total{outcome=\"postponed\"}", 0).await;
    assert!(receiver.waiting().len() >= 4);
}

#[tokio::test]
async fn a_dead_address_among_several_is_passed_over_and_the_working_one_goes_first_the_next_time() {
    // Its first address takes no connection: a backlog that is full answers nothing.
    let receiver = Receiver::answering_with(&[200], "connection", "close").await;
    let port = receiver.address().port();
    let full = tokio::net::TcpSocket::new_v4().unwrap();
    full.set_reuseaddr(true).unwrap();
    full.bind(format!("127.0.0.2:{port}").parse().unwrap()).unwrap();
    let full = full.listen(0).unwrap();
    let mut fillers = Vec::new();
    for _ in 0..4 {
        let filling = tokio::net::TcpStream::connect(full.local_addr().unwrap());
        fillers.push(tokio::time::timeout(std::time::Duration::from_millis(100), filling).await);
    }
    let server = NameServer::answering(NameAnswer::None).await;
    let addresses = vec![Ipv4Addr::new(127, 0, 0, 2), LOCAL];
    server.answer("two.example", NameAnswer::Addresses(addresses, 3600));
    // To wait for the dead one is to wait longer than any test does.
    let settings = "[delivery]\nlog_successful_attempts = true\nconnect_timeout_ms = 3600000\n";
    let host = host_asking(&server, settings).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &at("two.example", &receiver), json!({})).await;

    for say in ["first", "second"] {
        host.publish(fire(&account, say)).await;
        host.settled().await;
    }

    let path = format!("/v2/accounts/{account}/webhooks/attempts");
    let both = || async {
        let attempts = host.ask("GET", &path, None).await.json["data"].as_array().cloned()?;
        (attempts.len() == 2).then_some(attempts)
    };
    let attempts = eventually("both attempts are listed", both).await;
    let connect = |n: usize| attempts[n]["timing_ms"]["connect"].as_f64().unwrap();
    // The newest one stands first. How long the next address is waited for is a fact, not a speed.
    assert!(connect(1) >= 250.0 && connect(0) < 250.0, "{} {}", connect(1), connect(0));
    assert_eq!(attempts[0]["address"], receiver.address().to_string());
    drop(fillers);
}

#[tokio::test]
async fn every_address_of_a_name_is_vetted_also_one_that_is_tried_later() {
    let endpoint = Scripted::at("127.0.0.3:0", vec![vec![Step::Hang]]).await;
    let port = endpoint.address().port();
    let server = NameServer::answering(NameAnswer::None).await;
    let addresses = vec![Ipv4Addr::new(127, 0, 0, 9), Ipv4Addr::new(127, 0, 0, 3)];
    server.answer("rebind.example", NameAnswer::Addresses(addresses, 3600));
    let host = host_asking(&server, "delivery.allow_targets = [\"127.0.0.9/32\"]\n").await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &format!("http://rebind.example:{port}/"), json!({})).await;

    host.publish(fire(&account, "x")).await;
    host.settled().await;

    assert_eq!((owed(&host).await, endpoint.connections()), ((0, 1), 0));
}
