//! When the plugins folder is looked at: soon after something was said to have changed, and every few seconds in
//! case nothing was said.
//!
//! Notifications are hints only. They do not come for the target of a link, for a file that is written under
//! another name, over a network, or when there are too many.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::reload::ModuleReloader;

/// How long the folder must be quiet before it is looked at.
const QUIET: Duration = Duration::from_millis(20);

/// How long a folder that is never quiet is waited for.
const NEVER_QUIET: Duration = Duration::from_millis(500);

/// How often the folder is looked at although nothing was said.
const RESCAN: Duration = Duration::from_secs(2);

/// When a file that somebody writes is looked at again.
const UNFINISHED: Duration = Duration::from_millis(100);

/// Looks at the folder until `stop`.
pub async fn watch(reloader: &ModuleReloader, stop: &CancellationToken) {
    let hints = Arc::new(Notify::new());
    let mut ear = FolderNotifier::default();
    let mut pause = RESCAN;
    let mut complaint = None;
    loop {
        ear.listen(reloader.folder(), &hints);
        let hinted = tokio::select! {
            () = stop.cancelled() => return,
            hinted = tokio::time::timeout(pause, hints.notified()) => hinted.is_ok(),
        };
        if hinted {
            quiet(&hints).await;
        }
        // A transaction that has begun is not broken off: a stop waits for it.
        match reloader.scan().await {
            Ok(soon) => {
                complaint = None;
                pause = if soon { UNFINISHED } else { RESCAN };
            }
            Err(error) => {
                let reason = format!("{error:#}");
                if complaint.as_ref() != Some(&reason) {
                    warn!(reason, "the plugins folder cannot be used, what is loaded stays");
                }
                complaint = Some(reason);
                pause = RESCAN;
            }
        }
    }
}

async fn quiet(hints: &Notify) {
    let at_last = Instant::now() + NEVER_QUIET;
    loop {
        let quiet = Instant::now() + QUIET;
        if quiet >= at_last || timeout_at(quiet, hints.notified()).await.is_err() {
            return;
        }
    }
}

/// Who is told of changes, and in which folder: another one may have been put in its place.
#[derive(Default)]
struct FolderNotifier {
    watcher: Option<notify::RecommendedWatcher>,
    folder: Option<(u64, u64)>,
    complained: bool,
}

impl FolderNotifier {
    fn listen(&mut self, folder: &Path, hints: &Arc<Notify>) {
        let now = std::fs::metadata(folder).ok().map(|metadata| (metadata.dev(), metadata.ino()));
        if now == self.folder && self.watcher.is_some() {
            return;
        }
        self.folder = now;
        self.watcher = None;
        if now.is_none() {
            return;
        }
        let hints = Arc::clone(hints);
        let hint = move |event: notify::Result<notify::Event>| {
            if event.map_or(true, |event| tells(event.kind)) {
                hints.notify_one();
            }
        };
        let watcher = notify::recommended_watcher(hint).and_then(|mut watcher| {
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        match watcher {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(error) if !self.complained => {
                self.complained = true;
                warn!(%error, "the system does not tell of changes in the plugins folder, it is looked at from time to time");
            }
            Err(_) => {}
        }
    }
}

/// Whether this can be a change: the host's own reading is told of, too.
fn tells(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, ModifyKind, RemoveKind, RenameMode};

    use super::*;

    #[test]
    fn what_changes_a_folder_tells_and_reading_does_not() {
        let telling = [
            EventKind::Access(AccessKind::Close(AccessMode::Write)),
            EventKind::Create(CreateKind::File),
            EventKind::Modify(ModifyKind::Name(RenameMode::To)),
            EventKind::Remove(RemoveKind::File),
            EventKind::Any,
        ];
        assert!(telling.into_iter().all(tells));
        let silent = [
            EventKind::Access(AccessKind::Open(AccessMode::Read)),
            EventKind::Access(AccessKind::Read),
            EventKind::Access(AccessKind::Close(AccessMode::Read)),
        ];
        assert!(!silent.into_iter().any(tells));
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_that_is_never_quiet_is_looked_at_all_the_same() {
        let hints = Notify::new();
        let noise = async {
            loop {
                hints.notify_one();
                tokio::time::sleep(QUIET / 2).await;
            }
        };
        let began = Instant::now();
        tokio::select! {
            () = noise => {}
            () = quiet(&hints) => {}
        }
        assert!(began.elapsed() <= NEVER_QUIET);
    }
}
