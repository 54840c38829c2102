//! Hooks and accounts: read from the documents, kept in memory, changed by one editor, paused and switched off by the
//! disabler.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use tracing::{error, info};

use super::HostStores;
use crate::app::editor_tables::{HookCache, HookSchema};
use crate::app::freed_memory::keep_freed;
use crate::app::kept_files::key_file;
use crate::bus::Bus;
use crate::config::Config;
use crate::disabler::{Disabler, DisablerDeps};
use crate::hooks::accounts::Accounts;
use crate::hooks::document::UriRules;
use crate::hooks::editor::Editor;
use crate::hooks::table::HookTable;
use crate::hooks::vault::Vault;
use crate::model::guard::Guard;
use crate::module::registry::ModuleRegistry;
use crate::store::Ledger;
use crate::stream::HostStream;
use crate::supervision::{ChildSpec, Restart};

/// Hooks and accounts, and whoever changes them.
pub struct HookParts {
    /// The hooks.
    pub table: Arc<HookTable>,
    /// The account tree.
    pub accounts: Arc<Accounts>,
    /// The one way in which hooks and accounts change.
    pub editor: Arc<Editor>,
    /// What becomes of hooks that fail.
    pub disabler: Arc<Disabler>,
    /// Hooks' secrets.
    pub(super) vault: Arc<Vault>,
    ledger: Arc<dyn Ledger>,
}

/// What they are built from.
pub(super) struct HookDeps<'a> {
    /// Where they are stored.
    pub(super) stores: &'a HostStores,
    /// The modules that say which events a hook can ask for.
    pub(super) registry: &'a Arc<ModuleRegistry>,
    /// Where hooks may be sent.
    pub(super) guard: &'a Guard,
    /// Who is told about pauses.
    pub(super) stream: &'a Arc<HostStream>,
    /// The name of this host in messages to owners.
    pub(super) node: &'a str,
}

impl HookParts {
    /// Reads all of them.
    ///
    /// # Errors
    /// The store cannot be read, or the key of hooks' secrets is lost.
    pub(super) async fn build(config: &Config, deps: HookDeps<'_>) -> anyhow::Result<Arc<Self>> {
        let HostStores { documents, ledger, .. } = deps.stores;
        let (table, accounts) = (Arc::new(HookTable::new()), Arc::new(Accounts::new()));
        let disabler = Arc::new(Disabler::new(
            config.delivery.profile,
            &config.disabler,
            Arc::clone(&accounts),
            Arc::clone(deps.stream),
            deps.node.to_owned(),
        ));
        let vault = Arc::new(vault(config)?);
        let cache = HookCache {
            table: Arc::clone(&table),
            accounts: Arc::clone(&accounts),
            vault: Arc::clone(&vault),
            disabler: Arc::clone(&disabler),
        };
        let uris = UriRules { guard: Some(deps.guard.clone()), ..UriRules::default() };
        let schema = HookSchema { registry: Arc::clone(deps.registry), uris };
        let editor = Arc::new(Editor::new(
            Arc::clone(documents),
            Arc::new(cache),
            Arc::new(schema),
            Arc::clone(&vault),
            config.limits,
        ));
        // What a million documents take as they are read is taken again by the next ones.
        keep_freed(true);
        let loaded = editor.load().await.context("reading the accounts and hooks")?;
        keep_freed(false);
        // After the hooks, as whatever changes a hook makes its failures forgotten.
        disabler.load(&**documents, &**ledger).await.context("reading the failures of hooks")?;
        refuse_lost_secrets(&table, config.store.start_with_lost_secrets)?;
        vault.make_missing_key()?;
        info!(accounts = loaded.accounts, hooks = loaded.hooks, "documents read");
        let ledger = Arc::clone(ledger);
        Ok(Arc::new(HookParts { table, accounts, editor, disabler, vault, ledger }))
    }

    /// Writes down which hooks fail, switches hooks off, and tells their owners over this bus.
    pub(in crate::app) fn disabler_child(self: &Arc<Self>, bus: &Arc<dyn Bus>) -> ChildSpec {
        let bus = Arc::clone(bus);
        ChildSpec::working_with("disabler", Restart::Permanent, self, move |parts, context| {
            let bus = Arc::clone(&bus);
            async move {
                context.ready.ready();
                let deps = DisablerDeps { ledger: &*parts.ledger, editor: &parts.editor, bus: &*bus };
                parts.disabler.run(deps, context.stop).await
            }
        })
    }
}

fn vault(config: &Config) -> anyhow::Result<Vault> {
    let overlap_ms = config.delivery.secret_overlap_ms;
    if let Some(key) = &config.store.secrets_key {
        return Ok(Vault::with_key(&key.0, overlap_ms));
    }
    Vault::with_file(key_file(config), overlap_ms).context("the key of hooks' secrets")
}

/// A wrong key should be noticed before events are taken, not by deliveries that fail.
fn refuse_lost_secrets(table: &HookTable, all_the_same: bool) -> anyhow::Result<()> {
    let mut hooks = table.those(|hook| hook.options.signing.locked.is_some());
    hooks.sort_by(|a, b| a.id.cmp(&b.id));
    let lost: Vec<_> =
        hooks.iter().filter_map(|hook| Some((hook, hook.options.signing.locked.as_ref()?))).collect();
    for (hook, why) in &lost {
        error!(hook = %hook.id, account = %hook.account, why, "a hook cannot be sent to without its secret");
    }
    match lost.first() {
        Some((hook, why)) if !all_the_same => bail!(
            "{why} (account {}; {} of {} hooks are like this); restore the key, or set \
             store.start_with_lost_secrets = true and give these hooks new secrets",
            hook.account,
            lost.len(),
            table.len()
        ),
        _ => Ok(()),
    }
}
