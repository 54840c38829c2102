//! A real RabbitMQ, and a publisher that does what KAZOO does.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use lapin::message::Delivery;
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use serde_json::Value;
use tempfile::TempDir;

/// Name of the variable that holds the address of the tests' private broker.
const VARIABLE: &str = "HOOKLINE_TEST_AMQP";

/// A broker.
pub struct Broker {
    uri: String,
    own: Option<TempDir>,
}

/// How a message is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// As JSON.
    Plain,
    /// As JSON, compressed, as KAZOO publishes mms.
    Gzip,
}

impl Broker {
    /// The one that `scripts/test` has started for all tests.
    ///
    /// # Panics
    /// There is none: tests that need it are not skipped.
    #[must_use]
    pub fn shared() -> Self {
        let uri = std::env::var(VARIABLE);
        let uri = uri.unwrap_or_else(|_| {
            panic!("{VARIABLE} is not set: run scripts/test, which starts a private broker")
        });
        Broker { uri, own: None }
    }

    /// One of the test's own, that it may kill.
    ///
    /// # Panics
    /// It does not start.
    pub async fn own() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let uri = script(&["start", &folder.path().display().to_string(), "0"]).await;
        Broker { uri, own: Some(folder) }
    }

    /// `amqp://…`
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// A queue's name that no other test and no earlier run has used.
    #[must_use]
    pub fn queue_of_its_own() -> String {
        let unique = tempfile::Builder::new().prefix("it-").tempdir().expect("a unique name");
        unique.path().file_name().expect("a name").to_string_lossy().into_owned()
    }

    /// Settings for a host on this broker with this queue. The queue is a classic one, as a quorum
    /// queue that is younger than two seconds does not survive a killed broker.
    #[must_use]
    pub fn settings(&self, queue: &str) -> String {
        format!(
            "[bus]\nkind = \"amqp\"\nuri = \"{}\"\nqueue = \"{queue}\"\nqueue_type = \"classic\"\n",
            self.uri
        )
    }

    /// Ends the broker of the test's own as a power cut would.
    ///
    /// # Panics
    /// It is not the test's own.
    pub async fn kill(&self) {
        script(&["kill", &self.folder()]).await;
    }

    /// Starts it again on the same data and the same port.
    ///
    /// # Panics
    /// It is not the test's own, or does not start.
    pub async fn start_again(&self) {
        let uri = script(&["start", &self.folder()]).await;
        assert_eq!(uri, self.uri);
    }

    fn folder(&self) -> String {
        self.own.as_ref().expect("a broker of the test's own").path().display().to_string()
    }

    /// A channel with publisher confirms.
    ///
    /// # Panics
    /// The broker cannot be reached.
    pub async fn channel(&self) -> Channel {
        Self::channel_to(&self.uri).await.expect("a channel")
    }

    /// A channel with publisher confirms to a broker that may not be there.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn channel_to(uri: &str) -> lapin::Result<Channel> {
        let connection = Connection::connect(uri, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        // A channel of lapin's keeps its connection alive.
        Ok(channel)
    }

    /// Publishes an event as KAZOO does: its exchange (declared as KAZOO declares it), properties and header.
    ///
    /// # Panics
    /// The broker does not take it.
    pub async fn publish(&self, exchange: &str, routing_key: &str, event: &Value, how: Published) {
        let channel = self.channel().await;
        declare_as_kazoo(&channel, exchange).await;
        self.publish_raw(&channel, exchange, routing_key, event.to_string().as_bytes(), how).await;
    }

    /// Publishes bytes with KAZOO's properties.
    ///
    /// # Panics
    /// The broker does not take them.
    pub async fn publish_raw(
        &self,
        channel: &Channel,
        exchange: &str,
        key: &str,
        body: &[u8],
        how: Published,
    ) {
        let mut headers = FieldTable::default();
        if let Some(call_id) = key.strip_prefix("call.").and_then(|rest| rest.split_once('.')) {
            headers.insert("call-id".into(), AMQPValue::LongString(LongString::from(call_id.1)));
        }
        const GREGORIAN: u64 = 62_167_219_200;
        let now = u64::try_from(hookline::clock::now().unix_timestamp()).expect("after 1970");
        let mut properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_timestamp((now + GREGORIAN) * 1_000_000)
            .with_headers(headers);
        let mut body = body.to_vec();
        if how == Published::Gzip {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(&body).expect("compressing");
            body = encoder.finish().expect("compressing");
            properties = properties.with_content_encoding("gzip".into());
        }
        let options = BasicPublishOptions::default();
        let confirmed = channel.basic_publish(exchange.into(), key.into(), options, &body, properties).await;
        confirmed.expect("published").await.expect("confirmed");
    }

    /// Takes a message out of a queue, if there is one.
    ///
    /// # Panics
    /// There is no such queue.
    pub async fn take_from(&self, queue: &str) -> Option<Delivery> {
        let options = BasicGetOptions { no_ack: true };
        let taken = self.channel().await.basic_get(queue.into(), options).await.expect("the queue");
        taken.map(|message| message.delivery)
    }

    /// How many messages wait in a queue.
    ///
    /// # Panics
    /// There is no such queue.
    pub async fn waiting_in(&self, queue: &str) -> u32 {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = self.channel().await.queue_declare(queue.into(), options, FieldTable::default()).await;
        declared.expect("the queue").message_count()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.own.is_some() {
            // Nothing is left to be told when this fails.
            Command::new(script_path()).args(["stop", &self.folder()]).output().ok();
        }
    }
}

/// Non-durable, kept when unused, no arguments: `kz_amqp_util:new_exchange`.
async fn declare_as_kazoo(channel: &Channel, exchange: &str) {
    let options = ExchangeDeclareOptions::default();
    let declared =
        channel.exchange_declare(exchange.into(), ExchangeKind::Topic, options, FieldTable::default()).await;
    declared.expect("the exchange");
}

fn script_path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/broker"))
}

async fn script(arguments: &[&str]) -> String {
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    let run = move || Command::new(script_path()).args(arguments).output();
    let output = tokio::task::spawn_blocking(run).await.expect("the script's thread").expect("the script");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}
