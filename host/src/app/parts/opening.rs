//! What the parts stand on, opened by the settings: the stores, tokens, keys, threads and folders.

use super::*;
use crate::harmless::harmless_path;
use crate::hooks::vault;
use crate::store::sqlite::DATABASE;

/// What is behind the traits. One file has both, so that there is one backend to look after.
pub(super) struct StoreSet {
    pub(super) documents: Arc<dyn Documents>,
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) backends: Vec<Arc<dyn StoreBackend>>,
}

pub(super) fn open_stores(config: &Config) -> anyhow::Result<StoreSet> {
    let dir = &config.data_dir;
    std::fs::create_dir_all(dir)
        .with_context(|| format!("making the data folder {} (data_dir, --data)", dir.display()))?;
    let lost = dir.join(vault::FILE).exists() && !dir.join(DATABASE).exists();
    let synchronous = match config.store.synchronous {
        config::Synchronous::Full => crate::store::sqlite::Synchronous::Full,
        config::Synchronous::Normal => crate::store::sqlite::Synchronous::Normal,
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
    Ok(StoreSet { documents: store.clone(), ledger: store, backends: vec![backend] })
}

pub(super) async fn access(
    config: &Config,
    documents: &Arc<dyn Documents>,
    ledger: &Arc<dyn Ledger>,
    accounts: &Accounts,
    vault: &Vault,
) -> anyhow::Result<Access> {
    let administrator = first_token(&config.data_dir)?.hash();
    let keep = AuditKeep { entries: config.api.audit_keep_entries, age_ms: config.api.audit_keep_ms };
    let exists = |account: &AccountId| accounts.get(account).is_some_and(|account| !account.deleted);
    let log_ins = LogIns::signed_with(&vault.log_in_key().unwrap_or_else(rand::random));
    Access::open(Arc::clone(documents), Arc::clone(ledger), administrator, keep, log_ins, exists)
        .await
        .context("reading the tokens")
}

/// The threads of those who take events and of those who send. Where the machine has no more than two cores they
/// share one: what a wake-up of the other costs is more than what the second would bring.
pub(super) fn crews() -> std::io::Result<(Arc<RuntimeThread>, Arc<RuntimeThread>)> {
    let sending = Arc::new(RuntimeThread::start("sending")?);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let taking = if cores > 2 { Arc::new(RuntimeThread::start("taking")?) } else { Arc::clone(&sending) };
    Ok((taking, sending))
}

pub(super) fn vault(config: &Config) -> anyhow::Result<Vault> {
    let overlap_ms = config.delivery.secret_overlap_ms;
    if let Some(key) = &config.store.secrets_key {
        return Ok(Vault::with_key(&key.0, overlap_ms));
    }
    Vault::with_file(key_file(config), overlap_ms).context("the key of hooks' secrets")
}

/// A wrong key should be noticed before events are taken, not by deliveries that fail.
pub(super) fn refuse_lost_secrets(table: &HookTable, all_the_same: bool) -> anyhow::Result<()> {
    let mut hooks = table.all();
    hooks.sort_by(|a, b| a.id.cmp(&b.id));
    let lost: Vec<_> = hooks.iter().filter_map(|hook| Some((hook, hook.signing.locked.as_ref()?))).collect();
    for (hook, why) in &lost {
        error!(hook = %hook.id, account = %hook.account, why, "a hook cannot be sent to without its secret");
    }
    match lost.first() {
        Some((hook, why)) if !all_the_same => bail!(
            "{why} (account {}; {} of {} hooks are like this); restore the key, or set \
             store.start_with_lost_secrets = true and give these hooks new secrets",
            hook.account,
            lost.len(),
            hooks.len()
        ),
        _ => Ok(()),
    }
}

/// The configured id, or the one of the first start.
pub(super) async fn cluster_id(config: &Config, documents: &dyn Documents) -> anyhow::Result<String> {
    const NAME: &str = "cluster_id";
    if let Some(configured) = &config.kazoo.cluster_id {
        return Ok(configured.clone());
    }
    if let Some(kept) = documents.setting(NAME).await.context("reading the cluster id")? {
        return Ok(kept);
    }
    let made = format!("{:032x}", rand::random::<u128>());
    documents.set_setting(NAME, &made).await.context("keeping the cluster id")?;
    Ok(made)
}

pub(super) fn attempts_limits(config: &Config) -> attempts_log::AttemptLimits {
    attempts_log::AttemptLimits {
        profile: config.delivery.profile,
        successes: config.delivery.log_successful_attempts,
        body_limit: config.attempts.body_limit,
        retention: Duration::from_millis(config.attempts.retention_ms),
        max_rows: config.attempts.max_rows,
    }
}

pub(super) fn limits(delivery: &config::Delivery, connections: usize) -> ClientLimits {
    ClientLimits {
        connect_timeout: delivery.connect_timeout(),
        request_timeout: delivery.request_timeout(),
        response_body_limit: delivery.response_body_limit,
        proxy: delivery.proxy.as_ref().map(ToString::to_string).unwrap_or_default(),
        extra_ca: delivery.extra_ca.clone(),
        connections,
    }
}

/// An empty folder for copies of modules. The store's lock keeps other hosts out of the data folder.
pub(super) fn fresh_folder(folder: &Path) -> anyhow::Result<PathBuf> {
    let doing = || format!("making the folder {} for copies of the modules", folder.display());
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).with_context(doing),
        _ => {}
    }
    let mut builder = std::fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).with_context(doing)?;
    Ok(folder.to_owned())
}
