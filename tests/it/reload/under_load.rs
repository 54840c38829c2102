//! Modules that are replaced while events come.

use super::*;

/// Replaces the module again and again while events come, and counts what arrives.
async fn replaced_under_load(settings: &str, generations: u32, events: u32) {
    let (host, account, mut receiver) = host_with_the_first(settings).await;
    let versions = [versioned(1), versioned(2)];
    let replacing = async {
        for generation in 2..=generations {
            host.install(FILE, &versions[(generation as usize + 1) % 2]);
            host.module_with(ID, move |module| module["generation"].as_u64() >= Some(generation.into()))
                .await;
        }
    };
    let publishing = async {
        for n in (1..=events).step_by(10) {
            let batch: Vec<Value> = (n..n + 10).map(|n| event(&account, n)).collect();
            host.publish(batch.into()).await;
        }
    };

    tokio::join!(replacing, publishing);
    host.settled().await;

    let mut arrived: Vec<u64> = Vec::new();
    while arrived.len() < events as usize {
        arrived.push(receiver.next_request().await.json()["n"].as_u64().unwrap());
    }
    assert!(receiver.waiting().is_empty(), "something arrived twice");
    arrived.sort_unstable();
    assert_eq!(arrived, (1..=u64::from(events)).collect::<Vec<_>>());
    let module = host.module(ID).await;
    assert_eq!((&module["failures"], &module["pinned"]), (&json!(0), &json!([])));
}

#[tokio::test]
async fn replacing_under_load_loses_no_event_and_sends_none_twice() {
    replaced_under_load("", 25, 2000).await;
}

#[tokio::test]
async fn replacing_under_load_loses_no_event_of_a_broker_and_sends_none_twice() {
    let settings = Broker::shared().settings(&Broker::queue_of_its_own());
    replaced_under_load(&settings, 25, 2000).await;
}
