//! Against a real RabbitMQ, whose address is in `HOOKLINE_TEST_AMQP`. Each test has queues and, where it
//! breaks something, exchanges of its own.

use super::names::name;
use super::*;
use crate::bus::{Acker, IncomingMessage, Refusal};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use std::io::Write as _;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

mod answers;
mod dead_letters;
mod publishing;
mod setting_up;

const PATIENCE: Duration = Duration::from_secs(20);

/// The broker's address; without one the test is skipped, and says so. `.ci/run` says by `TESTS_SKIP_NOTHING` that none may be.
fn broker() -> Option<String> {
    let uri = std::env::var("HOOKLINE_TEST_AMQP").ok();
    if uri.is_none() {
        assert!(std::env::var_os("TESTS_SKIP_NOTHING").is_none(), "HOOKLINE_TEST_AMQP names no RabbitMQ");
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
        running.spawn(async move { run.run(intake.into(), ready, token).await });
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

    let (ended, ()) = tokio::join!(bus.run(intake.into(), ready, stop.clone()), async {
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
