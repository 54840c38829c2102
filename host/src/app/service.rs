//! What a service manager is told: when events are taken, that the host still runs, and when it stops.
//!
//! systemd asks for it through `NOTIFY_SOCKET` and `WATCHDOG_USEC`; without them nothing is said.

use std::net::SocketAddr;

use sd_notify::NotifyState;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Says that the host takes events, then from time to time that it runs, and at last that it stops.
pub(super) async fn tell(address: SocketAddr, stop: CancellationToken) {
    say(&[NotifyState::Ready, NotifyState::Status(&format!("listening on http://{address}"))]);
    tokio::select! {
        () = stop.cancelled() => {}
        () = show_life() => {}
    }
    say(&[NotifyState::Stopping]);
}

/// Twice as often as is asked for, from the runtime that everything shares: where that hangs, nothing is said.
async fn show_life() {
    let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) else {
        return std::future::pending().await;
    };
    let mut ticks = tokio::time::interval(limit / 2);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        say(&[NotifyState::Watchdog]);
    }
}

fn say(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::warn!(%error, "the service manager was not told");
    }
}
