//! Against a real RabbitMQ, whose address is in `HOOKLINE_TEST_AMQP`. Each test has queues and, where it
//! breaks something, exchanges of its own.

use super::*;
use crate::bus::{Acker, PublishError, Refusal};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use std::io::Write;
use tokio::task::JoinSet;
use tokio::time::timeout;

mod dead_letters;

mod publishing;

const PATIENCE: Duration = Duration::from_secs(20);

/// The broker's address; without one the test is skipped, and says so.
fn broker() -> Option<String> {
    let uri = std::env::var("HOOKLINE_TEST_AMQP").ok();
    if uri.is_none() {
        eprintln!("skipped: set HOOKLINE_TEST_AMQP to the address of a RabbitMQ to run this test");
    }
    uri
}

fn unique(what: &str) -> String {
    format!("hookline-test-{what}-{:08x}", rand::random::<u32>())
}

/// A running bus with a queue of its own, and a second connection to look at the broker with.
struct Stand {
    bus: Arc<AmqpBus>,
    queue: String,
    incoming: mpsc::Receiver<IncomingMessage>,
    stop: CancellationToken,
    running: JoinSet<anyhow::Result<()>>,
    connection: Connection,
    channel: Channel,
}

impl Stand {
    async fn with(uri: &str, adjust: impl FnOnce(&mut AmqpOptions)) -> Self {
        let mut options = AmqpOptions::new(uri, unique("queue"));
        options.queue_type = QueueType::Classic;
        adjust(&mut options);
        let queue = options.queue.clone();
        let bus = Arc::new(AmqpBus::new(options).unwrap());
        let connection = Connection::connect(uri, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let (intake, incoming) = mpsc::channel(64);
        let stop = CancellationToken::new();
        let (ready, is_ready) = oneshot::channel();
        let mut running = JoinSet::new();
        let (run, token) = (bus.clone(), stop.clone());
        running.spawn(async move { run.run(intake, ready, token).await });
        timeout(PATIENCE, is_ready).await.unwrap().unwrap();
        Self { bus, queue, incoming, stop, running, connection, channel }
    }

    async fn start(uri: &str) -> Self {
        let stand = Self::with(uri, |_| {}).await;
        assert_eq!(stand.bus.state(), BusState::Connected);
        stand
    }

    /// Binds a routing key that only this test uses, and answers it.
    async fn bind_own(&self, exchange: &str) -> String {
        let key = format!("call.TEST.{}", self.queue);
        self.bus.bind(&[Binding::new(exchange, key.clone())]).await.unwrap();
        key
    }

    async fn put(&self, exchange: &str, key: &str, properties: BasicProperties, body: &[u8]) {
        let options = BasicPublishOptions::default();
        let sent = self.channel.basic_publish(name(exchange), name(key), options, body, properties).await;
        sent.unwrap().await.unwrap();
    }

    async fn put_json(&self, exchange: &str, key: &str, body: &str) {
        self.put(exchange, key, kazoo_properties(), body.as_bytes()).await;
    }

    async fn next(&mut self) -> IncomingMessage {
        timeout(PATIENCE, self.incoming.recv()).await.expect("no message came").expect("the bus ended")
    }

    /// How many messages a queue holds ready; the passive declare does not wait for statistics.
    async fn count(&self, queue: &str) -> u32 {
        let options = QueueDeclareOptions { passive: true, durable: true, ..Default::default() };
        let channel = self.connection.create_channel().await.unwrap();
        let found = channel.queue_declare(name(queue), options, FieldTable::default()).await;
        found.unwrap().message_count()
    }

    async fn eventually(&self, what: &str, mut fact: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !fact().await {
            assert!(Instant::now() < deadline, "never came true: {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends the bus and answers what is left in its queue, unacknowledged messages included.
    async fn end(&mut self) -> u32 {
        self.stop.cancel();
        let ended = timeout(PATIENCE, self.running.join_next()).await.expect("the bus does not stop");
        ended.unwrap().unwrap().unwrap();
        assert_eq!(self.bus.state(), BusState::Stopped);
        let left = self.count(&self.queue).await;
        for queue in [self.queue.clone(), topology::dead_letter_name(&self.queue)] {
            self.channel.queue_delete(name(&queue), Default::default()).await.unwrap();
        }
        let dead = topology::dead_letter_name(&self.queue);
        self.channel.exchange_delete(name(&dead), Default::default()).await.unwrap();
        left
    }
}

fn kazoo_properties() -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert(name("call-id"), AMQPValue::ByteArray(b"NDlk@10.0.0.1".to_vec().into()));
    BasicProperties::default()
        .with_content_type(name("application/json"))
        .with_timestamp(63_871_286_400_000_000)
        .with_headers(headers)
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn options_that_cannot_work_are_named() {
    #[track_caller]
    fn check(options: AmqpOptions, part: &str) {
        let found = AmqpBus::new(options).unwrap_err().to_string();
        assert!(found.contains(part), "{found}");
        assert!(!found.contains("secret"), "{found}");
    }
    check(AmqpOptions::new("http://user:secret@x", "q"), "bus.uri");
    check(AmqpOptions::new("amqp://x", ""), "bus.queue");
    check(AmqpOptions::new("amqp://x", "q".repeat(251)), "bus.queue");
    check(AmqpOptions { prefetch: 0, ..AmqpOptions::new("amqp://x", "q") }, "bus.prefetch");
}

#[test]
fn the_password_is_not_shown() {
    let bus = AmqpBus::new(AmqpOptions::new("amqp://user:secret@broker:5673/%2f", "q")).unwrap();
    assert_eq!(format!("{bus:?}"), r#"AmqpBus { broker: "broker:5673/", queue: "q" }"#);
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_a_state() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("amqp://guest:guest@{}", listener.local_addr().unwrap());
    drop(listener);
    let bus = AmqpBus::new(AmqpOptions::new(uri, "q")).unwrap();
    assert_eq!(bus.state(), BusState::Starting);
    let (intake, _incoming) = mpsc::channel(1);
    let (ready, is_ready) = oneshot::channel();
    let stop = CancellationToken::new();

    let (ended, ()) = tokio::join!(bus.run(intake, ready, stop.clone()), async {
        timeout(PATIENCE, is_ready).await.unwrap().unwrap();
        let state = bus.state();
        assert!(matches!(&state, BusState::Lost { reason, .. } if reason.contains("refused")), "{state:?}");
        bus.bind(&[Binding::new("callevt", "#")]).await.unwrap();
        let published = bus.publish("callevt", "a", Bytes::from_static(b"{}")).await;
        assert!(matches!(published, Err(PublishError::Unavailable(_))), "{published:?}");
        stop.cancel();
    });
    ended.unwrap();
    assert_eq!(bus.state(), BusState::Stopped);
}

#[tokio::test]
async fn names_that_do_not_fit_are_errors() {
    let bus = AmqpBus::new(AmqpOptions::new("amqp://x", "q")).unwrap();
    let long = Binding::new("callevt", "k".repeat(256));
    assert!(matches!(bus.bind(&[long]).await, Err(BusError::NameTooLong { .. })));
    let found = bus.publish(&"e".repeat(256), "k", Bytes::new()).await;
    assert!(matches!(found, Err(PublishError::Exchange(BusError::NameTooLong { .. }))), "{found:?}");
}

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
            assert_eq!(message.event.body, expected);
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

    assert_eq!(again.event.body, "1");
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
    assert_eq!(message.event.body, "wanted");
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
    assert_eq!(message.event.body, "2");
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
    let (ended, ()) = tokio::join!(bus.run(intake, ready, stop.clone()), async {
        timeout(PATIENCE, is_ready).await.unwrap().unwrap();
        let BusState::Lost { reason, .. } = bus.state() else { panic!("{:?}", bus.state()) };
        assert!(reason.contains(&queue) && reason.contains("quorum"), "{reason}");
        assert!(reason.contains("x-queue-type"), "{reason}");
        stop.cancel();
    });
    ended.unwrap();
    assert_eq!(owner.end().await, 0);
}
