//! Files that the host reads once and that the next start needs: a loss is said while there is somebody to mend it.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tracing::{error, info};

use crate::access::token;
use crate::config::Config;
use crate::harmless::harmless_path;
use crate::hooks::vault;

/// How often they are looked at.
const EVERY: Duration = Duration::from_secs(2);

/// Where the key of hooks' secrets is, unless it is a setting itself.
pub(super) fn key_file(config: &Config) -> PathBuf {
    config.store.secrets_key_file.clone().unwrap_or_else(|| config.data_dir.join(vault::FILE))
}

/// The files, as they were at the start.
pub(super) struct KeptFiles(Vec<KeptFile>);

struct KeptFile {
    path: PathBuf,
    digest: [u8; 32],
    lost: AtomicBool,
}

impl KeptFiles {
    /// Of those that are there.
    pub(super) fn of(config: &Config) -> Self {
        let kept = |path: PathBuf| {
            let digest = digest(&std::fs::read(&path).ok()?);
            Some(KeptFile { path, digest, lost: AtomicBool::new(false) })
        };
        let paths = [config.data_dir.join(token::FILE), key_file(config)];
        KeptFiles(paths.into_iter().filter_map(kept).collect())
    }

    /// How many are missing or others now.
    pub(super) fn lost(&self) -> u64 {
        self.0.iter().filter(|file| file.lost.load(Ordering::Relaxed)).count() as u64
    }

    /// Those, by name.
    pub(super) fn lost_files(&self) -> impl Iterator<Item = String> {
        self.0.iter().filter(|file| file.lost.load(Ordering::Relaxed)).map(|file| harmless_path(&file.path))
    }

    /// Looks at them for as long as it is awaited.
    pub(super) async fn watch(&self) -> Infallible {
        loop {
            tokio::time::sleep(EVERY).await;
            for file in &self.0 {
                file.look().await;
            }
        }
    }
}

impl KeptFile {
    async fn look(&self) {
        let now = tokio::fs::read(&self.path).await;
        let lost = now.as_ref().map_or(true, |bytes| digest(bytes) != self.digest);
        if self.lost.swap(lost, Ordering::Relaxed) == lost {
            return;
        }
        let file = harmless_path(&self.path);
        match (lost, now) {
            (false, _) => info!(%file, "a file that the next start needs is there again"),
            (true, Ok(_)) => {
                error!(%file, "a file that the next start needs is not what it was: it was changed")
            }
            (true, Err(error)) => {
                error!(%file, %error, "a file that the next start needs is not what it was")
            }
        }
    }
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
