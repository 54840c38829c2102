//! Whether the host can do its work: what is looked at again and again for that, and what people are told.

use std::convert::Infallible;
use std::sync::Arc;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_util::sync::CancellationToken;

use super::kept_files::KeptFiles;
use super::parts::modules::ModuleParts;
use super::store_watch;
use crate::api::{DegradedPart, HostHealth};
use crate::bus::{Bus, BusState};
use crate::config::FailedOverflow;
use crate::listener::failed_events::{FailedEventKeeping, FailedEventRules};
use crate::module::isolated::IsolatedFigures;
use crate::module::registry::ModuleSnapshot;
use crate::store::StoreBackend;

/// Everything that can keep the host from its work.
pub(super) struct HostCondition {
    /// Cancelled when the host is to stop.
    pub(super) stop: CancellationToken,
    /// The modules, which must have been loaded once.
    pub(super) modules: Arc<ModuleParts>,
    /// Where events come from.
    pub(super) bus: Arc<dyn Bus>,
    /// The name of the host's queue on it.
    pub(super) queue: String,
    /// What must be able to write.
    pub(super) backends: Vec<Arc<dyn StoreBackend>>,
    /// Files that the next start needs.
    pub(super) kept_files: KeptFiles,
}

impl HostCondition {
    /// Looks after the store and the files for as long as it is awaited.
    pub(super) async fn watch(&self) -> Infallible {
        tokio::select! {
            never = store_watch::run(&self.backends) => never,
            never = self.kept_files.watch() => never,
        }
    }
}

impl HostHealth for HostCondition {
    fn ready(&self) -> Result<(), Vec<String>> {
        let mut reasons = Vec::new();
        if self.stop.is_cancelled() {
            reasons.push("the host is stopping".to_owned());
        }
        if !self.modules.are_loaded() {
            reasons.push("the modules are not loaded yet".to_owned());
        }
        match self.bus.state() {
            BusState::Connected => {}
            BusState::Starting => reasons.push("the bus is not connected yet".to_owned()),
            BusState::Lost { since, reason } => {
                reasons.push(format!("the bus is lost since {since}: {reason}"));
            }
            BusState::Stopped => reasons.push("the bus has stopped".to_owned()),
        }
        reasons.extend(self.bus.problems());
        let troubles = self.backends.iter().filter_map(|backend| backend.trouble());
        reasons.extend(troubles.map(|trouble| format!("the store cannot be written: {trouble}")));
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }

    fn degraded(&self) -> Vec<DegradedPart> {
        let mut parts = degraded(&self.modules.registry.current(), self.bus.dead_letters(), &self.queue);
        parts.extend(full_modules(&self.modules.failures));
        parts.extend(self.kept_files.lost_files().map(|file| DegradedPart {
            module: None,
            queue: None,
            file: Some(file),
            reason: "the next start needs it, and it is gone or changed: put it back".to_owned(),
        }));
        parts
    }
}

/// What is said of a quarantined module.
fn quarantined(hung: usize, tried_again_at: Option<OffsetDateTime>) -> String {
    let next = match tried_again_at.and_then(|at| at.format(&Rfc3339).ok()) {
        Some(at) => format!("it is tried again at {at}"),
        None => {
            "it serves again once its file is replaced or reloaded, or when it is tried again soon".to_owned()
        }
    };
    format!(
        "it is quarantined after {hung} calls that never ended or ended its process; its events are kept as failed; {next}"
    )
}

/// What does not work although the host takes events.
fn degraded(modules: &ModuleSnapshot, dead_letters: Option<u64>, queue: &str) -> Vec<DegradedPart> {
    let mut degraded = Vec::new();
    for module in modules.modules() {
        let figures = module.figures();
        let reason = match module.process() {
            _ if figures.quarantined => quarantined(figures.hung, figures.tried_again_at),
            Some(IsolatedFigures { pid: Some(pid), halted: Some(halt), .. }) => format!(
                "its process is {halt}; events for it wait until it goes on ({}) or the module is reloaded",
                halt.way_on(pid)
            ),
            Some(process) if process.pid.is_none() => "it has no process; events for it wait".to_owned(),
            _ => continue,
        };
        degraded.push(DegradedPart { module: Some(module.id.to_string()), queue: None, file: None, reason });
    }
    if let Some(messages) = dead_letters.filter(|messages| *messages > 0) {
        let reason = format!("{messages} messages were dead-lettered; their headers say why");
        degraded.push(DegradedPart {
            module: None,
            queue: Some(format!("{queue}.dead")),
            file: None,
            reason,
        });
    }
    degraded
}

/// Modules of whose failed events as many are kept as may be.
fn full_modules(failures: &FailedEventKeeping) -> Vec<DegradedPart> {
    let FailedEventRules { limits, overflow } = failures.rules();
    let beyond = match overflow {
        FailedOverflow::Refuse => "are not accepted",
        FailedOverflow::Drop => "are dropped for it",
    };
    let full = failures.figures().into_iter().filter(|(_, figures)| figures.is_full(limits));
    full.map(|(module, _)| DegradedPart {
        module: Some(module.to_string()),
        queue: None,
        file: None,
        reason: format!(
            "as many of its failed events are kept as may be (modules.failed_max_events, modules.failed_max_bytes); \
             further ones {beyond}"
        ),
    })
    .collect()
}
