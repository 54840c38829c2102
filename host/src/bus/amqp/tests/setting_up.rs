//! What is declared and bound on the broker, again after it was lost, and what is said where that cannot be.

use super::*;
use std::collections::BTreeSet;

#[tokio::test]
async fn exchanges_stand_as_the_original_declares_them() {
    let Some(uri) = broker() else { return };
    let mut stand = Stand::start(&uri).await;
    for exchange in ["callevt", "configuration", "notifications", "im"] {
        stand.bind_own(exchange).await;
        // What KAZOO would declare; another property would close the channel.
        let (kind, options) = (ExchangeKind::Topic, ExchangeDeclareOptions::default());
        stand.channel.exchange_declare(name(exchange), kind, options, FieldTable::default()).await.unwrap();
    }
    let passive = ExchangeDeclareOptions { passive: true, ..Default::default() };
    let dead = topology::dead_letter_name(&stand.queue);
    stand
        .channel
        .exchange_declare(name(&dead), ExchangeKind::Fanout, passive, FieldTable::default())
        .await
        .unwrap();
    assert_eq!(stand.count(&dead).await, 0);
    assert_eq!(stand.end().await, 0);
}

#[tokio::test]
async fn an_exchange_that_differs_is_named_and_disturbs_nothing_else() {
    let Some(uri) = broker() else { return };
    let mut stand = Stand::start(&uri).await;
    let key = stand.bind_own("callevt").await;
    // A broker of its own would be needed to spoil one of KAZOO's; `targeted` is nobody's in these tests.
    let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
    let declared = stand.channel.exchange_declare(
        name("targeted"),
        ExchangeKind::Direct,
        durable,
        FieldTable::default(),
    );
    declared.await.unwrap();

    let refused = stand.bus.bind(&[Binding::new("targeted", "a"), Binding::new("im", "b")]).await;

    let words = refused.unwrap_err().to_string();
    assert!(words.contains("\"targeted\"") && words.contains("not durable"), "{words}");
    assert!(words.contains("inequivalent arg 'durable'"), "{words}");
    assert_eq!(stand.bus.wanted(), BTreeSet::from([Binding::new("callevt", key.clone())]));
    let published = stand.bus.publish("targeted", "a", Bytes::from_static(b"{}")).await;
    assert!(matches!(published, Err(PublishError::Exchange(BusError::Exchange { .. }))), "{published:?}");

    stand.put_json("callevt", &key, "1").await;
    stand.next().await.acker.accept();
    stand.channel.exchange_delete(name("targeted"), Default::default()).await.unwrap();
    assert_eq!(stand.end().await, 0);
    assert_eq!(stand.bus.counters().reconnects, 0);
}

#[tokio::test]
async fn a_wish_that_cannot_be_restored_is_a_problem_and_not_an_end() {
    let Some(uri) = broker() else { return };
    let mut stand = Stand::start(&uri).await;
    let key = stand.bind_own("callevt").await;
    // Names of this kind are the broker's own; it lets nobody declare one.
    stand.bus.wishes.lock().bindings.insert(Binding::new("amq.nobody", "a"));

    stand.channel.queue_delete(name(&stand.queue), Default::default()).await.unwrap();
    stand.eventually("a reconnect", async || stand.bus.counters().reconnects == 1).await;

    assert_eq!(stand.bus.state(), BusState::Connected);
    let problems = stand.bus.problems();
    assert!(problems.len() == 1 && problems[0].contains("\"amq.nobody\""), "{problems:?}");
    stand.put_json("callevt", &key, "1").await;
    stand.next().await.acker.accept();
    assert_eq!(stand.end().await, 0);
}

#[tokio::test]
async fn a_deleted_queue_is_declared_and_bound_again() {
    let Some(uri) = broker() else { return };
    let mut stand = Stand::start(&uri).await;
    let key = stand.bind_own("callevt").await;
    stand.put_json("callevt", &key, "1").await;
    let old = stand.next().await;

    stand.channel.queue_delete(name(&stand.queue), Default::default()).await.unwrap();
    stand.eventually("a reconnect", async || stand.bus.counters().reconnects == 1).await;
    old.acker.accept();
    stand.put_json("callevt", &key, "2").await;

    let message = stand.next().await;
    assert_eq!(message.event.text(), b"2");
    message.acker.accept();
    assert_eq!(stand.end().await, 0);
    assert_eq!(stand.bus.counters().accepted, 1, "an answer to a connection that has gone does not count");
}

#[tokio::test]
async fn a_queue_of_another_type_is_reported_with_what_would_be_right() {
    let Some(uri) = broker() else { return };
    let mut owner = Stand::start(&uri).await;
    let queue = owner.queue.clone();

    let mut options = AmqpOptions::new(&uri, queue.clone());
    options.queue_type = QueueType::Quorum;
    let bus = AmqpBus::new(options).unwrap();
    let (intake, _incoming) = mpsc::channel(1);
    let (ready, is_ready) = oneshot::channel();
    let stop = CancellationToken::new();
    let (ended, ()) = tokio::join!(bus.run(intake.into(), ready, stop.clone()), async {
        timeout(PATIENCE, is_ready).await.unwrap().unwrap();
        let BusState::Lost { reason, .. } = bus.state() else { panic!("{:?}", bus.state()) };
        assert!(reason.contains(&queue) && reason.contains("quorum"), "{reason}");
        assert!(reason.contains("x-queue-type"), "{reason}");
        stop.cancel();
    });
    ended.unwrap();
    assert_eq!(owner.end().await, 0);
}
