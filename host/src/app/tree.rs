//! The supervision tree, on one screen: who starts after whom.
//!
//! KAZOO's `webhooks_sup` has a cache, the heir of the hook table, an initialiser, the disabler and two
//! listeners. Here the hook table is owned by [`HostParts`] and only lent, so no crash of a child can take it along.

use std::net::TcpListener;

use super::HostParts;
use crate::supervision::{RestartIntensity, RestartStrategy, Supervisor};

/// The children in the order of their start; they stop in reverse.
pub(super) fn supervisor(parts: &HostParts, socket: TcpListener) -> Supervisor {
    let HostParts { hooks, delivery, listener, modules, api, .. } = parts;
    Supervisor::new(RestartStrategy::OneForOne, RestartIntensity::default())
        // The first to start, so that readiness can say no, and the last to stop, so that it still can.
        .child(api.api_child(socket))
        .child(hooks.disabler_child(&listener.bus))
        .child(delivery.delivery_child(&api.condition))
        .child(delivery.replays_child())
        // Before the bus, so that no event finds no module.
        .child(modules.modules_child())
        .child(listener.module_replays_child())
        .child(listener.shared_listener_child())
        .child(listener.bus_child())
}
