//! The supervision tree, on one screen: who starts after whom, and who works with what.
//!
//! KAZOO's `webhooks_sup` has a cache, the heir of the hook table, an initialiser, the disabler and two
//! listeners. Here the hook table is owned by [`HostParts`] and only lent, so no crash of a child can take it along.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use super::{HostParts, store_watch, views};
use crate::disabler::DisablerDeps;
use crate::module::watcher::watch;
use crate::supervision::{ChildContext, ChildSpec, Restart, RestartIntensity, RestartStrategy, Supervisor};

/// The children in the order of their start; they stop in reverse.
pub(super) fn supervisor(parts: &Arc<HostParts>, listener: TcpListener) -> Supervisor {
    let request = parts.config.delivery.request_timeout();
    Supervisor::new(RestartStrategy::OneForOne, RestartIntensity::default())
        // The first to start, so that readiness can say no, and the last to stop, so that it still can.
        .child(child("api", parts, move |parts, context| {
            let listener = listener.try_clone();
            async move { views::serve(parts, listener?, context).await }
        }))
        .child(
            child("outcomes", parts, |parts, context| async move {
                context.ready.ready();
                let mut outcomes = parts.outcomes.lock().await;
                let writing = outcomes.write(&*parts.ledger, &parts.retries, context.stop.clone());
                tokio::select! {
                    written = writing => written,
                    never = store_watch::run(&parts.backends) => match never {},
                    never = parts.kept_files.watch() => match never {},
                }
            })
            .with_crew(&parts.sending),
        )
        .child(child("disabler", parts, |parts, context| async move {
            context.ready.ready();
            let means = DisablerDeps { ledger: &*parts.ledger, editor: &parts.editor, bus: &*parts.bus };
            parts.disabler.run(means, context.stop).await
        }))
        .child(
            child("attempts", parts, |parts, context| async move {
                context.ready.ready();
                let mut log = parts.attempts.lock().await;
                let (attempts, stop) = (&*parts.dispatch.attempts, &context.stop);
                futures_util::join!(
                    log.write(attempts, parts.ledger.clone(), stop),
                    attempts.clean(&*parts.ledger, stop)
                );
                Ok(())
            })
            .with_crew(&parts.sending),
        )
        .child(
            child("dispatch", parts, |parts, context| async move {
                context.ready.ready();
                Arc::clone(&parts.dispatch).run(context.stop).await
            })
            .stop_within(request + Duration::from_secs(1))
            .with_crew(&parts.sending),
        )
        .child(
            child("retries", parts, |parts, context| async move {
                let (ledger, due, gate) = (parts.ledger.clone(), &parts.dispatch.due, &parts.dispatch.gate);
                let (longest, ready) = (&parts.longest_waits, context.ready.into_sender());
                parts.retries.run(ledger, due, gate, longest, ready, context.stop).await
            })
            .with_crew(&parts.sending),
        )
        .child(child("replays", parts, |parts, context| async move {
            context.ready.ready();
            futures_util::join!(parts.replays.run(&context.stop), parts.replays.clean(&context.stop));
            Ok(())
        }))
        // Before the bus, so that no event finds no module.
        .child(child("modules", parts, |parts, context| async move {
            parts.load_modules().await?;
            context.ready.ready();
            let hangs = parts.registry.watch_hangs(parts.config.modules.call_timeout(), context.stop.clone());
            if parts.config.modules.hot_reload {
                futures_util::join!(hangs, watch(&parts.reloader, &context.stop));
            } else {
                hangs.await;
            }
            Ok(())
        }))
        .child(
            child("shared_listener", parts, |parts, context| async move {
                context.ready.ready();
                parts.listener.run(Arc::clone(&parts.arriving), context.stop).await
            })
            .with_crew(&parts.taking),
        )
        .child(
            child("bus", parts, |parts, context| async move {
                parts.inlet.attach(parts.intake.clone());
                let ran =
                    parts.bus.run(parts.intake.clone(), context.ready.into_sender(), context.stop).await;
                parts.inlet.detach();
                ran
            })
            .stop_within(Duration::from_secs(10))
            .with_crew(&parts.taking),
        )
}

/// A child that works with the parts.
pub(super) fn child<F, R>(name: &str, parts: &Arc<HostParts>, run: F) -> ChildSpec
where
    F: Fn(Arc<HostParts>, ChildContext) -> R + Send + Sync + 'static,
    R: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let parts = Arc::clone(parts);
    ChildSpec::new(name, Restart::Permanent, move |context| run(Arc::clone(&parts), context))
}
