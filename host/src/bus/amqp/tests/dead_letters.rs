//! What ends with the dead ones, and how it gets there.

use super::*;
use crate::bus::Unhandled;
use crate::memory::EventMemory;
use std::collections::BTreeSet;

/// The headers of a frame end here; a message that has been dead-lettered once more has more.
const LARGEST_HEADER: usize = 130_850;

async fn declare(channel: &Channel, queue: &str, arguments: &[(&str, AMQPValue)]) {
    let mut table = FieldTable::default();
    for (argument, value) in arguments {
        table.insert(name(argument), value.clone());
    }
    channel.queue_declare(name(queue), QueueDeclareOptions::durable(), table).await.unwrap();
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

/// One message that no client can read, with good ones before and behind it, in a queue that nobody has consumed from.
async fn one_among_many(uri: &str, queue_type: QueueType) {
    let queue = unique("queue");
    let dead = topology::dead_letter_name(&queue);
    put_one_among_many(uri, &queue, queue_type).await;

    let mut stand = Stand::with(uri, |options| {
        options.queue = queue.clone();
        options.queue_type = queue_type;
    })
    .await;
    let mut missing: BTreeSet<String> = (0..60).map(|n| format!("{{\"n\":{n}}}")).collect();
    while !missing.is_empty() {
        let message = stand.next().await;
        missing.remove(std::str::from_utf8(message.event.text()).unwrap());
        message.acker.accept();
    }
    // Acks may have been lost with a connection: what comes again is taken again, or nothing more would come.
    let deadline = Instant::now() + 3 * PATIENCE;
    while stand.count(&dead).await < 1 || stand.bus.counters().unreadable < 1 || stand.count(&queue).await > 0
    {
        assert!(Instant::now() < deadline, "the unreadable message is not dead");
        if let Ok(message) = timeout(Duration::from_millis(10), stand.next()).await {
            message.acker.accept();
        }
    }
    while let Ok(message) = timeout(Duration::from_millis(100), stand.next()).await {
        message.acker.accept();
    }
    assert_eq!((stand.count(&dead).await, stand.bus.counters().unreadable), (1, 1));
    assert_eq!(stand.end().await, 0);
}

/// Puts ten messages into a new queue, then one that no client can read, then fifty more.
async fn put_one_among_many(uri: &str, queue: &str, queue_type: QueueType) {
    let connection = Connection::connect(uri, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let (dead, delay) = (topology::dead_letter_name(queue), unique("delay"));
    let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
    let fanout = ExchangeKind::Fanout;
    channel.exchange_declare(name(&dead), fanout, durable, FieldTable::default()).await.unwrap();
    let kind = ("x-queue-type", text(&queue_type.to_string()));
    declare(&channel, queue, &[kind, ("x-dead-letter-exchange", text(&dead))]).await;
    let back = [("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text(queue))];
    let soon = ("x-message-ttl", AMQPValue::LongUInt(1));
    declare(&channel, &delay, &[back[0].clone(), back[1].clone(), soon]).await;
    let put = async |queue: &str, properties: BasicProperties, body: String| {
        let options = BasicPublishOptions::default();
        let sent = channel.basic_publish(name(""), name(queue), options, body.as_bytes(), properties).await;
        sent.unwrap().await.unwrap();
    };
    for n in 0..10 {
        put(queue, kazoo_properties(), format!("{{\"n\":{n}}}")).await;
    }
    let mut headers = FieldTable::default();
    headers.insert(name("x-large"), text(&"x".repeat(LARGEST_HEADER)));
    put(&delay, BasicProperties::default().with_headers(headers), "{\"bad\":true}".to_owned()).await;
    let waiting = async || {
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let found = channel.queue_declare(name(queue), options, FieldTable::default()).await;
        found.unwrap().message_count()
    };
    let deadline = Instant::now() + PATIENCE;
    while waiting().await < 11 {
        assert!(Instant::now() < deadline, "the message did not come back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for n in 10..60 {
        put(queue, kazoo_properties(), format!("{{\"n\":{n}}}")).await;
    }
    channel.queue_delete(name(&delay), Default::default()).await.unwrap();
}

#[tokio::test]
async fn one_message_that_cannot_be_read_costs_a_classic_queue_that_message() {
    let Some(uri) = broker() else { return };
    one_among_many(&uri, QueueType::Classic).await;
}

#[tokio::test]
async fn one_message_that_cannot_be_read_costs_a_quorum_queue_that_message() {
    let Some(uri) = broker() else { return };
    one_among_many(&uri, QueueType::Quorum).await;
}

#[tokio::test]
async fn what_cannot_be_kept_for_a_module_stays_in_the_queue() {
    let Some(uri) = broker() else { return };
    let mut stand = Stand::start(&uri).await;
    let key = stand.bind_own("callevt").await;
    stand.put_json("callevt", &key, "{\"a\":1}").await;
    let (module, reason) = ("webhooks_x".to_owned(), "failed, and there is no room".to_owned());
    stand.next().await.acker.unhandled(Unhandled { module, reason });
    stand.next().await.acker.accept();

    assert_eq!(stand.bus.counters().unhandled, 1);
    assert_eq!(stand.count(&topology::dead_letter_name(&stand.queue)).await, 0);
    assert_eq!(stand.end().await, 0);
}

#[tokio::test]
async fn the_dead_ones_are_counted_whoever_put_them_there() {
    let Some(uri) = broker() else { return };
    let mut stand = Stand::start(&uri).await;
    let dead = topology::dead_letter_name(&stand.queue);
    stand.eventually("they are counted", async || stand.bus.dead_letters() == Some(0)).await;
    stand.put("", &dead, kazoo_properties(), b"{}").await;
    stand.eventually("there is one", async || stand.bus.dead_letters() == Some(1)).await;
    stand.channel.queue_purge(name(&dead), Default::default()).await.unwrap();
    stand.eventually("there is none", async || stand.bus.dead_letters() == Some(0)).await;
    assert_eq!(stand.end().await, 0);
}

#[tokio::test]
async fn large_messages_come_in_small_windows_and_all_of_them_come() {
    let Some(uri) = broker() else { return };
    let mut stand = Stand::with(&uri, |options| {
        // 64 KiB of messages may be handed out.
        options.memory = Arc::new(EventMemory::new(256 * 1024));
    })
    .await;
    let key = stand.bind_own("callevt").await;
    let body = |n: usize| format!("{{\"n\":{n},\"filler\":\"{}\"}}", "x".repeat(20_000));
    for n in 0..40 {
        stand.put_json("callevt", &key, &body(n)).await;
    }
    let mut missing: BTreeSet<String> = (0..40).map(body).collect();
    while !missing.is_empty() {
        let message = stand.next().await;
        missing.remove(std::str::from_utf8(message.event.text()).unwrap());
        message.acker.accept();
    }
    assert!(stand.bus.pace.lock().window() <= 12);
    assert_eq!(stand.end().await, 0);
}
