//! What the parts of the load have in common: events, a broker, and how a load is measured that comes at once.

use std::time::Duration;

use tests::Broker;
use tokio::time::Instant;

use crate::bus::BusHost;
use crate::events::Events;
use crate::host::Host;
use crate::plan::LoadPlan;
use crate::process::ThreadUses;
use crate::receiver::LoadReceiver;
use crate::sender::{LINES, PostingClient, SINGLE, post_all};

/// Accounts with one hook each that sustained load is spread over.
const ACCOUNTS: usize = 20;

/// Events in one post of many.
pub(crate) const BATCH: usize = 200;

/// What the parts work with.
pub(crate) struct LoadBench {
    pub(crate) plan: LoadPlan,
    pub(crate) events: Events,
    broker: Option<Broker>,
}

/// What came of a load.
pub(crate) struct LoadFigures {
    /// Deliveries a second, from the first byte sent to the last delivery.
    pub(crate) rate: f64,
    /// Microseconds of processor time of the host for each.
    pub(crate) cpu_us: f64,
    /// The share of that which the busiest thread has.
    pub(crate) busiest: f64,
}

impl LoadBench {
    /// Of this plan.
    pub(crate) fn new(plan: LoadPlan) -> Self {
        LoadBench { plan, events: Events::default(), broker: None }
    }

    /// The broker of the environment, or one of our own.
    pub(crate) async fn broker(&mut self) -> &Broker {
        if self.broker.is_none() {
            let shared = std::env::var_os("HOOKLINE_TEST_AMQP").is_some();
            self.broker = Some(if shared { Broker::shared() } else { Broker::own().await });
        }
        self.broker.get_or_insert_with(Broker::shared)
    }

    /// Accounts with a hook each at this receiver.
    pub(crate) async fn accounts(&self, host: &Host, receiver: &LoadReceiver) -> anyhow::Result<Vec<String>> {
        host.accounts((0..ACCOUNTS).map(|n| receiver.url(&format!("/hook/{n}"))).collect(), 0).await
    }

    /// Single events, posted by so many clients at once.
    pub(crate) async fn post_single(
        &mut self,
        host: &Host,
        receiver: &LoadReceiver,
        clients: usize,
    ) -> anyhow::Result<LoadFigures> {
        let accounts = self.accounts(host, receiver).await?;
        let events = self.events.of(&accounts, self.plan.events);
        let count = events.len() as u64;
        let mut clients = PostingClient::several(host, clients).await?;
        let mut events = events.into_iter();
        let sending = async { post_all(&mut clients, SINGLE, || events.next()).await.map(|_| ()) };
        measured(host, count, sent(receiver, count, sending)).await
    }

    /// Events by the [`BATCH`], posted by four clients.
    pub(crate) async fn post_batches(
        &mut self,
        host: &Host,
        receiver: &LoadReceiver,
        accounts: &[String],
        count: usize,
    ) -> anyhow::Result<LoadFigures> {
        let events = self.events.of(accounts, count);
        let bodies: Vec<String> = events.chunks(BATCH).map(|chunk| chunk.join("\n")).collect();
        drop(events);
        let mut clients = PostingClient::several(host, 4).await?;
        let mut bodies = bodies.into_iter();
        let sending = async { post_all(&mut clients, LINES, || bodies.next()).await.map(|_| ()) };
        measured(host, count as u64, sent(receiver, count as u64, sending)).await
    }

    /// Events from RabbitMQ.
    pub(crate) async fn publish(
        &mut self,
        bus: &BusHost,
        receiver: &LoadReceiver,
    ) -> anyhow::Result<LoadFigures> {
        let accounts = self.accounts(&bus.host, receiver).await?;
        let events = self.events.of(&accounts, self.plan.events);
        let count = events.len() as u64;
        measured(&bus.host, count, sent(receiver, count, bus.publish(&events))).await
    }
}

/// Sends all at once; answers when the last of so many deliveries came.
async fn sent(
    receiver: &LoadReceiver,
    deliveries: u64,
    sending: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<Instant> {
    let expected = receiver.expect(deliveries)?;
    sending.await?;
    expected.all_came(receiver).await
}

/// What so many deliveries cost, of which `load` tells when the last one came.
pub(crate) async fn measured(
    host: &Host,
    deliveries: u64,
    load: impl Future<Output = anyhow::Result<Instant>>,
) -> anyhow::Result<LoadFigures> {
    let cpu = host.cpu().await?;
    let threads = ThreadUses::of(host.process())?;
    let begun = Instant::now();
    let ended = load.await?;
    let cpu: Duration = host.cpu().await? - cpu;
    let busiest = ThreadUses::of(host.process())?.busiest_since(&threads);
    Ok(LoadFigures {
        rate: deliveries as f64 / (ended - begun).as_secs_f64(),
        cpu_us: cpu.as_secs_f64() * 1e6 / deliveries as f64,
        busiest,
    })
}
