//! What arrives from the broker, and what becomes of a message by how it is answered.

use super::*;

#[tokio::test]
async fn messages_of_the_original_come_as_json_and_leave_the_queue_once_accepted() {
    let Some(uri) = broker() else { return };
    for queue_type in [QueueType::Classic, QueueType::Quorum] {
        let mut stand = Stand::with(&uri, |options| options.queue_type = queue_type).await;
        let key = stand.bind_own("callevt").await;
        stand.put_json("callevt", &key, r#"{"n":1}"#).await;
        let packed = kazoo_properties().with_content_encoding(name("gzip"));
        stand.put("callevt", &key, packed, &gzip(br#"{"n":2}"#)).await;
        let term = kazoo_properties().with_content_type(name("application/erlang"));
        stand.put("callevt", &key, term, &[131, 104, 1, 106]).await;
        stand.put("callevt", &key, BasicProperties::default(), br#"{"n":4}"#).await;

        for expected in [r#"{"n":1}"#, r#"{"n":2}"#, "{}", r#"{"n":4}"#] {
            let message = stand.next().await;
            assert_eq!(message.event.text(), expected.as_bytes());
            message.acker.accept();
        }

        assert_eq!(stand.end().await, 0, "{queue_type}");
        let expected = BusCounters { received: 4, accepted: 4, ..Default::default() };
        assert_eq!(stand.bus.counters(), expected);
    }
}

#[tokio::test]
async fn many_messages_are_acknowledged_whatever_the_order_of_answers() {
    let Some(uri) = broker() else { return };
    let mut stand = Stand::with(&uri, |options| options.prefetch = 40).await;
    let key = stand.bind_own("callevt").await;
    let mut slow = Vec::new();
    for n in 0..400 {
        stand.put_json("callevt", &key, &format!("{n}")).await;
        let message = stand.next().await;
        // One of 20 is answered late, so that there always is a gap.
        if n % 20 == 3 {
            slow.push(message.acker)
        } else {
            message.acker.accept()
        }
        if slow.len() == 3 {
            slow.remove(0).accept();
        }
    }
    slow.into_iter().for_each(Acker::accept);

    assert_eq!(stand.end().await, 0);
    assert_eq!(stand.bus.counters().accepted, 400);
}

#[tokio::test]
async fn what_is_refused_or_unreadable_lands_in_the_dead_queue() {
    let Some(uri) = broker() else { return };
    for queue_type in [QueueType::Classic, QueueType::Quorum] {
        let mut stand = Stand::with(&uri, |options| options.queue_type = queue_type).await;
        let key = stand.bind_own("callevt").await;
        let dead = topology::dead_letter_name(&stand.queue);
        let plain = kazoo_properties().with_content_type(name("text/plain"));
        stand.put("callevt", &key, plain, b"unreadable").await;
        stand.put_json("callevt", &key, "malformed").await;
        stand.put_json("callevt", &key, "{}").await;

        stand.next().await.acker.refuse(Refusal::event("it is no object"));
        stand.next().await.acker.accept();

        stand.eventually("two dead letters", async || stand.count(&dead).await == 2).await;
        let mut bodies = Vec::new();
        for _ in 0..2 {
            let got = stand.channel.basic_get(name(&dead), BasicGetOptions { no_ack: true }).await.unwrap();
            bodies.push(String::from_utf8(got.unwrap().delivery.data.clone()).unwrap());
        }
        bodies.sort();
        assert_eq!(bodies, ["malformed", "unreadable"]);
        assert_eq!(stand.end().await, 0);
        let expected = BusCounters { received: 3, accepted: 1, refused: 2, ..Default::default() };
        assert_eq!(stand.bus.counters(), expected, "{queue_type}");
    }
}

#[tokio::test]
async fn what_is_postponed_comes_again_but_not_at_once() {
    let Some(uri) = broker() else { return };
    let mut stand = Stand::start(&uri).await;
    let key = stand.bind_own("callevt").await;
    stand.put_json("callevt", &key, "1").await;
    stand.put_json("callevt", &key, "2").await;

    let begun = Instant::now();
    stand.next().await.acker.postpone();
    stand.next().await.acker.accept();
    let again = stand.next().await;

    assert_eq!(again.event.text(), b"1");
    assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
    again.acker.accept();
    assert_eq!(stand.end().await, 0);
    let expected = BusCounters { received: 3, accepted: 2, postponed: 1, ..Default::default() };
    assert_eq!(stand.bus.counters(), expected);
}

#[tokio::test]
async fn an_unbound_key_brings_nothing() {
    let Some(uri) = broker() else { return };
    let mut stand = Stand::start(&uri).await;
    let key = stand.bind_own("callevt").await;
    let other = format!("{key}-other");
    stand.bus.bind(&[Binding::new("callevt", other.clone())]).await.unwrap();

    stand.bus.unbind(&[Binding::new("callevt", key.clone())]).await.unwrap();
    stand.bus.unbind(&[Binding::new(unique("exchange"), "a")]).await.unwrap();
    stand.put_json("callevt", &key, "unwanted").await;
    stand.put_json("callevt", &other, "wanted").await;

    let message = stand.next().await;
    assert_eq!(message.event.text(), b"wanted");
    message.acker.accept();
    assert_eq!(stand.end().await, 0);
    assert_eq!(stand.bus.counters().received, 1);
}

#[tokio::test]
async fn a_stop_waits_for_what_is_in_flight_and_returns_the_rest() {
    let Some(uri) = broker() else { return };
    let mut stand = Stand::start(&uri).await;
    let key = stand.bind_own("callevt").await;
    for n in 0..3 {
        stand.put_json("callevt", &key, &n.to_string()).await;
    }
    let [late, postponed, dropped] = [stand.next().await, stand.next().await, stand.next().await];

    stand.stop.cancel();
    stand
        .eventually("no consumer", async || {
            let options = QueueDeclareOptions { passive: true, ..Default::default() };
            let channel = stand.connection.create_channel().await.unwrap();
            let found =
                channel.queue_declare(name(&stand.queue), options, FieldTable::default()).await.unwrap();
            found.consumer_count() == 0
        })
        .await;
    postponed.acker.postpone();
    drop(dropped);
    late.acker.accept();

    assert_eq!(stand.end().await, 2);
}
