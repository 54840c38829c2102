//! Every figure with its name and its meaning, by those who count it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::exposition::{MetricFamily, Value};
use super::process::ProcessFigures;
use crate::access::Access;
use crate::api::connections::Connections;
use crate::attempts::log as attempts;
use crate::attempts::trace::AttemptClass;
use crate::bus::{Bus, BusState};
use crate::delivery::dispatch::{DeliveryCounters, Dispatch};
use crate::delivery::http::trouble::LocalTrouble;
use crate::delivery::scheduler::Scheduler;
use crate::delivery::work::PendingDelivery;
use crate::disabler::Disabler;
use crate::listener::shared::{ListenerCounters, SharedListener};
use crate::replays;
use crate::store::DeliveryCounts;

mod machine;
mod modules;

pub(super) use machine::{machine, room};
pub(super) use modules::{failed_events, module_changes, modules};
pub(super) mod memory;

const MODULE: &str = "module";
const OUTCOME: &str = "outcome";
const REASON: &str = "reason";

fn read(counter: &AtomicU64) -> Value {
    counter.load(Ordering::Relaxed).into()
}

pub(super) fn host(ready: bool, started: f64) -> Vec<MetricFamily> {
    vec![
        MetricFamily::gauge("hookline_build_info", "Always 1; the label is the version of the program.")
            .with("version", env!("CARGO_PKG_VERSION"), 1_u64),
        MetricFamily::gauge("hookline_ready", "1 while the host takes events, as /readyz says it.")
            .is(Value::from(ready)),
        MetricFamily::gauge("hookline_process_start_time_seconds", "When the host started, in Unix seconds.")
            .is(Value::from(started)),
    ]
}

pub(super) fn events(counters: &ListenerCounters) -> Vec<MetricFamily> {
    vec![
        MetricFamily::counter("hookline_events_total", "Messages taken, by what became of them.")
            .with(OUTCOME, "accepted", read(&counters.accepted))
            .with(OUTCOME, "unanswered", read(&counters.unanswered))
            .with(OUTCOME, "malformed", read(&counters.malformed))
            .with(OUTCOME, "unhandled", read(&counters.unhandled))
            .with(OUTCOME, "postponed", read(&counters.postponed)),
        MetricFamily::counter(
            "hookline_events_recognised_total",
            "Accepted events that had come before and caused nothing again.",
        )
        .is(read(&counters.recognised)),
        MetricFamily::counter(
            "hookline_deliveries_accepted_total",
            "Deliveries that accepted events caused.",
        )
        .is(read(&counters.deliveries)),
    ]
}

/// Of all shards together.
pub(super) fn deliveries(dispatch: &[Arc<Dispatch>], owed: Option<DeliveryCounts>) -> Vec<MetricFamily> {
    let sum = |look: fn(&Scheduler<PendingDelivery>) -> usize| {
        Value::from(dispatch.iter().map(|shard| shard.due.with(|scheduler| look(scheduler))).sum::<usize>())
    };
    let tries = |counter: fn(&DeliveryCounters) -> &AtomicU64| {
        let counted = dispatch.iter().map(|shard| counter(&shard.counters).load(Ordering::Relaxed));
        Value::from(counted.sum::<u64>())
    };
    let changes = dispatch.iter().map(|shard| shard.due.with(|scheduler| scheduler.limit_changes()));
    let (raised, lowered) = changes.fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
    vec![
        MetricFamily::counter(
            "hookline_deliveries_total",
            "Tries of deliveries, by what became of the delivery.",
        )
        .with(OUTCOME, "delivered", tries(|counters| &counters.delivered))
        .with(OUTCOME, "retried", tries(|counters| &counters.retried))
        .with(OUTCOME, "postponed", tries(|counters| &counters.postponed))
        .with(OUTCOME, "dead", tries(|counters| &counters.dead)),
        MetricFamily::gauge("hookline_in_flight", "Requests that wait for their answer.")
            .is(sum(Scheduler::in_flight)),
        MetricFamily::counter(
            "hookline_in_flight_limit_changes_total",
            "How often a hook's limit of requests in flight was changed, by which way.",
        )
        .with("way", "raised", Value::from(raised))
        .with("way", "lowered", Value::from(lowered)),
        MetricFamily::gauge(
            "hookline_deliveries_in_memory",
            "Deliveries that wait for their turn or are in flight.",
        )
        .is(sum(Scheduler::in_memory)),
        MetricFamily::gauge(
            "hookline_deliveries_memory_bytes",
            "Bytes of payloads of these deliveries that count against delivery.memory_bytes.",
        )
        .is(sum(Scheduler::bytes)),
        MetricFamily::gauge("hookline_deliveries_held", "Deliveries that are due and wait, by what for.")
            .with("for", "hook", sum(Scheduler::blocked))
            .with("for", "call", sum(Scheduler::in_line)),
        MetricFamily::gauge(
            "hookline_deliveries_parked",
            "Deliveries that are due and wait in the store, not in memory.",
        )
        .is(sum(Scheduler::in_store)),
        MetricFamily::gauge("hookline_retries_waiting", "Deliveries that are due later.")
            .is(Value::from(due_later(dispatch, owed))),
    ]
}

/// Those that are known to be due later, and those that the store alone knows: of what it owes all that is not known at all.
fn due_later(dispatch: &[Arc<Dispatch>], owed: Option<DeliveryCounts>) -> u64 {
    let sum = |look: fn(&Scheduler<PendingDelivery>) -> usize| {
        dispatch.iter().map(|shard| shard.due.with(|scheduler| look(scheduler))).sum::<usize>() as u64
    };
    let later = sum(Scheduler::waiting_for_their_time);
    let some_left = dispatch.iter().any(|shard| shard.due.with(|scheduler| scheduler.leaves_some_to_store()));
    match owed.filter(|_| some_left) {
        Some(owed) => later + owed.pending.saturating_sub(sum(Scheduler::known)),
        None => later,
    }
}

/// Of the connections to endpoints.
pub(super) fn endpoints(dispatch: &[Arc<Dispatch>]) -> Vec<MetricFamily> {
    let connections = dispatch.iter().map(|shard| shard.client.connections());
    let (open, idle) = connections.fold((0, 0), |(open, idle), of| (open + of.0, idle + of.1));
    let repeated: u64 = dispatch.iter().map(|shard| shard.client.repeated()).sum();
    let troubles = MetricFamily::counter(
        "hookline_local_troubles_total",
        "Requests that something of this machine kept from being sent, by what.",
    );
    let by_kind = |family: MetricFamily, (trouble, count): (LocalTrouble, u64)| {
        family.with("kind", trouble.as_str(), Value::from(count))
    };
    vec![
        // All shards count them together.
        dispatch.iter().take(1).flat_map(|shard| shard.client.troubles()).fold(troubles, by_kind),
        MetricFamily::gauge("hookline_endpoint_connections", "Connections to endpoints, by what they do.")
            .with("state", "used", Value::from(open.saturating_sub(idle)))
            .with("state", "idle", Value::from(idle)),
        MetricFamily::counter(
            "hookline_requests_resent_total",
            "Requests sent again at once, as the connection ended before anything of an answer came.",
        )
        .is(Value::from(repeated)),
    ]
}

/// What the store said last; nothing when it could not say.
pub(super) fn backlog(owed: Option<DeliveryCounts>, now: f64) -> Vec<MetricFamily> {
    let oldest = |counts: DeliveryCounts| match counts.oldest_ms {
        Some(accepted_ms) => (now - accepted_ms as f64 / 1e3).max(0.0),
        None => 0.0,
    };
    vec![
        MetricFamily::gauge(
            "hookline_deliveries_pending",
            "Deliveries that wait for their first or next try.",
        )
        .is(owed.map(|counts| counts.pending.into())),
        MetricFamily::gauge("hookline_deliveries_dead", "Deliveries that were given up and are kept.")
            .is(owed.map(|counts| counts.dead.into())),
        MetricFamily::gauge(
            "hookline_deliveries_oldest_age_seconds",
            "Age of the oldest pending delivery; 0 without any.",
        )
        .is(owed.map(|counts| oldest(counts).into())),
    ]
}

pub(super) fn attempts(counters: &attempts::AttemptCounters) -> Vec<MetricFamily> {
    let tries = MetricFamily::counter("hookline_attempts_total", "Requests tried, by how they ended.");
    let by_class = |family: MetricFamily, class: &AttemptClass| {
        family.with("class", class.as_str(), read(counters.of(*class)))
    };
    vec![
        AttemptClass::ALL.iter().fold(tries, by_class),
        MetricFamily::counter("hookline_attempts_kept_total", "Attempts written to the attempts log.")
            .is(read(&counters.kept)),
        MetricFamily::counter(
            "hookline_attempts_dropped_total",
            "Attempts that the attempts log should have and has not, as the store did not keep up.",
        )
        .is(read(&counters.dropped)),
    ]
}

pub(super) fn replays(counters: &replays::ReplayCounters) -> Vec<MetricFamily> {
    vec![
        MetricFamily::counter(
            "hookline_deliveries_replayed_total",
            "Dead deliveries brought back to be sent again.",
        )
        .is(read(&counters.replayed)),
        MetricFamily::counter(
            "hookline_deliveries_expired_total",
            "Dead deliveries forgotten after delivery.dead_retention_ms.",
        )
        .is(read(&counters.expired)),
    ]
}

pub(super) fn hooks(listener: &SharedListener) -> Vec<MetricFamily> {
    vec![
        MetricFamily::gauge("hookline_hooks", "Hooks of all accounts, disabled ones too.")
            .is(Value::from(listener.table.len())),
        MetricFamily::gauge("hookline_accounts", "Accounts.").is(Value::from(listener.accounts.len())),
    ]
}

/// Of hooks that fail.
pub(super) fn disabler(disabler: &Disabler) -> Vec<MetricFamily> {
    let counters = &disabler.counters;
    vec![
        MetricFamily::gauge("hookline_hooks_paused", "Hooks that are paused because their requests fail.")
            .is(Value::from(disabler.paused())),
        MetricFamily::counter(
            "hookline_hook_changes_total",
            "Changes that the host made to hooks, by which.",
        )
        .with("change", "paused", read(&counters.paused))
        .with("change", "resumed", read(&counters.resumed))
        .with("change", "disabled", read(&counters.disabled)),
        MetricFamily::counter(
            "hookline_notices_total",
            "Messages on the bus to owners of hooks, by who took them.",
        )
        .with(OUTCOME, "told", read(&counters.told))
        .with(OUTCOME, "unheard", read(&counters.unheard))
        .with(OUTCOME, "failed", read(&counters.untold)),
    ]
}

pub(super) fn bus(bus: &dyn Bus) -> Vec<MetricFamily> {
    let counters = bus.counters();
    vec![
        MetricFamily::gauge("hookline_bus_connected", "1 while messages flow from the bus.")
            .is(Value::from(bus.state() == BusState::Connected)),
        MetricFamily::gauge(
            "hookline_bus_problems",
            "Exchanges that cannot be used although the bus is connected.",
        )
        .is(Value::from(bus.problems().len())),
        MetricFamily::counter(
            "hookline_bus_received_total",
            "Messages that the bus delivered, redeliveries included.",
        )
        .is(Value::from(counters.received)),
        MetricFamily::counter(
            "hookline_bus_messages_total",
            "Messages of the bus, by how they were answered.",
        )
        .with(OUTCOME, "accepted", counters.accepted)
        .with(OUTCOME, "refused", counters.refused)
        .with(OUTCOME, "unhandled", counters.unhandled)
        .with(OUTCOME, "postponed", counters.postponed),
        MetricFamily::counter(
            "hookline_bus_unreadable_total",
            "Messages that broke the connection and were dead-lettered unread.",
        )
        .is(Value::from(counters.unreadable)),
        MetricFamily::gauge(
            "hookline_bus_dead_letters",
            "Messages in the dead-letter queue, whoever put them there.",
        )
        .is(Value::from(bus.dead_letters().unwrap_or_default())),
        MetricFamily::counter(
            "hookline_bus_reconnects_total",
            "Connections to the bus made after the first.",
        )
        .is(Value::from(counters.reconnects)),
    ]
}

pub(super) fn store(commits: u64, flushes: u64, readable: bool) -> Vec<MetricFamily> {
    vec![
        MetricFamily::counter("hookline_store_commits_total", "Commits of the store.")
            .is(Value::from(commits)),
        MetricFamily::counter("hookline_store_fsyncs_total", "Flushes of the store's files to the disk.")
            .is(Value::from(flushes)),
        MetricFamily::gauge("hookline_store_readable", "1 when the store could say what is owed.")
            .is(Value::from(readable)),
    ]
}

pub(super) fn clients(connections: &Connections) -> Vec<MetricFamily> {
    vec![
        MetricFamily::gauge("hookline_api_connections", "Connections of clients of the API.")
            .is(Value::from(connections.open())),
        MetricFamily::gauge("hookline_api_connections_max", "Connections that clients may have at once.")
            .is(Value::from(connections.most())),
        MetricFamily::counter("hookline_api_evictions_total", "Idle connections that made room for others.")
            .is(Value::from(connections.evicted())),
    ]
}

pub(super) fn access(access: &Access) -> Vec<MetricFamily> {
    let counters = &access.counters;
    vec![
        MetricFamily::gauge("hookline_tokens", "Access tokens, without the one in admin.token.")
            .is(Value::from(access.tokens.len())),
        MetricFamily::counter("hookline_api_refusals_total", "Requests that were not let in, by the reason.")
            .with(REASON, "credentials", read(&counters.credentials))
            .with(REASON, "forbidden", read(&counters.forbidden))
            .with(REASON, "throttled", read(&counters.throttled)),
        MetricFamily::counter("hookline_audit_failures_total", "Changes that are missing in the audit log.")
            .is(Value::from(access.audit.failures())),
    ]
}

pub(super) fn process(process: &ProcessFigures) -> Vec<MetricFamily> {
    vec![
        MetricFamily::counter(
            "hookline_process_cpu_seconds_total",
            "Processor time in user and kernel mode.",
        )
        .is(process.cpu_seconds.map(Value::from)),
        MetricFamily::gauge("hookline_process_resident_memory_bytes", "Resident memory.")
            .is(process.resident_bytes.map(Value::from)),
        MetricFamily::gauge("hookline_process_open_fds", "Open file descriptors.")
            .is(process.open_files.map(Value::from)),
        MetricFamily::gauge("hookline_process_max_fds", "File descriptors that may be open.")
            .is(process.max_files.map(Value::from)),
        MetricFamily::gauge("hookline_process_threads", "Threads.").is(process.threads.map(Value::from)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::exposition::text;

    #[test]
    fn the_oldest_delivery_has_an_age_that_is_never_below_zero() {
        let age = |oldest_ms| {
            let counts = DeliveryCounts { oldest_ms, ..DeliveryCounts::default() };
            let text = text(backlog(Some(counts), 100.0)).unwrap();
            text.lines().last().unwrap().to_owned()
        };
        assert_eq!(age(Some(97_500)), "hookline_deliveries_oldest_age_seconds 2.5");
        assert_eq!(age(Some(100_001)), "hookline_deliveries_oldest_age_seconds 0.0");
        assert_eq!(age(None), "hookline_deliveries_oldest_age_seconds 0.0");
    }

    #[test]
    fn what_a_store_that_fails_owes_is_not_said() {
        let text = text(backlog(None, 100.0)).unwrap();
        assert!(text.lines().all(|line| line.starts_with('#')), "{text}");
    }
}
