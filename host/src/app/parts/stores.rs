//! Which backend keeps everything, and how it is opened and closed.

use std::sync::Arc;

use anyhow::Context as _;
use tracing::warn;

use crate::config::{self, Config};
use crate::harmless::harmless_path;
use crate::hooks::vault;
use crate::store::sqlite::{self, DATABASE, Options, SqliteStore};
use crate::store::{Documents, Ledger, StoreBackend};

/// What is behind the traits. One file has both, so that there is one backend to look after.
#[derive(Clone)]
pub struct HostStores {
    /// Where accounts, hooks, metadata and settings are.
    pub documents: Arc<dyn Documents>,
    /// Where deliveries, attempts, tokens and what else is written all the time are.
    pub ledger: Arc<dyn Ledger>,
    /// The backends behind these two.
    pub backends: Vec<Arc<dyn StoreBackend>>,
}

impl HostStores {
    /// Makes the data folder if it is missing, and opens what is in it.
    ///
    /// # Errors
    /// The folder cannot be made, or the store in it cannot be used.
    pub(super) fn open(config: &Config) -> anyhow::Result<Self> {
        let dir = &config.data_dir;
        std::fs::create_dir_all(dir)
            .with_context(|| format!("making the data folder {} (data_dir, --data)", dir.display()))?;
        let lost = dir.join(vault::FILE).exists() && !dir.join(DATABASE).exists();
        let synchronous = match config.store.synchronous {
            config::Synchronous::Full => sqlite::Synchronous::Full,
            config::Synchronous::Normal => sqlite::Synchronous::Normal,
        };
        let store = SqliteStore::open(dir, Options { synchronous });
        let store = Arc::new(store.with_context(|| format!("opening the store in {}", dir.display()))?);
        if lost {
            warn!(
                folder = %harmless_path(dir),
                "the data folder had a key for secrets and no database: it starts empty; was the database moved away?"
            );
        }
        let backend: Arc<dyn StoreBackend> = store.clone();
        Ok(HostStores { documents: store.clone(), ledger: store, backends: vec![backend] })
    }

    /// The configured id, or the one of the first start.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub(super) async fn cluster_id(&self, config: &Config) -> anyhow::Result<String> {
        const NAME: &str = "cluster_id";
        if let Some(configured) = &config.kazoo.cluster_id {
            return Ok(configured.clone());
        }
        if let Some(kept) = self.documents.setting(NAME).await.context("reading the cluster id")? {
            return Ok(kept);
        }
        let made = format!("{:032x}", rand::random::<u128>());
        self.documents.set_setting(NAME, &made).await.context("keeping the cluster id")?;
        Ok(made)
    }

    /// Finishes what was handed in. Nobody uses them any more.
    pub(super) async fn close(&self) {
        for backend in &self.backends {
            if let Err(error) = backend.close().await {
                warn!(%error, "the store did not close well");
            }
        }
    }
}
