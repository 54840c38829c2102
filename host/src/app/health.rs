//! Whether the host can do its work: what is looked at again and again for that, and what people are told.

use std::convert::Infallible;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::kept_files::KeptFiles;
use super::parts::modules::ModuleParts;
use super::store_watch;
use crate::api::{DegradedPart, HostHealth};
use crate::bus::{Bus, BusState};
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
        parts.extend(self.kept_files.lost_files().map(|file| DegradedPart {
            module: None,
            queue: None,
            file: Some(file),
            reason: "the next start needs it, and it is gone or changed: put it back".to_owned(),
        }));
        parts
    }
}

/// What does not work although the host takes events.
fn degraded(modules: &ModuleSnapshot, dead_letters: Option<u64>, queue: &str) -> Vec<DegradedPart> {
    let mut degraded = Vec::new();
    for module in modules.modules() {
        let figures = module.figures();
        let reason = match module.process() {
            _ if figures.quarantined => format!(
                "it is quarantined after {} calls that never ended; events for it are not accepted",
                figures.hung
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
