//! What the editor of hooks and accounts works on: the tables in memory, and the events that the loaded modules offer.

use std::sync::Arc;

use serde_json::Value;

use crate::disabler::Disabler;
use crate::hooks::accounts::{AccountRecord, Accounts};
use crate::hooks::document::{Events, UriRules, validate};
use crate::hooks::editor::{DocumentValidator, EditorTables};
use crate::hooks::table::HookTable;
use crate::hooks::vault::Vault;
use crate::model::{AccountId, Document, Hook, HookId};
use crate::module::registry::{ModuleRegistry, ModuleSnapshot};

/// The hooks and accounts in memory.
pub(super) struct HookCache {
    pub(super) table: Arc<HookTable>,
    pub(super) accounts: Arc<Accounts>,
    pub(super) vault: Arc<Vault>,
    pub(super) disabler: Arc<Disabler>,
}

impl EditorTables for HookCache {
    fn read_hook(&self, document: &Document) -> Result<Hook, String> {
        let mut hook = Hook::from_document(document).map_err(|error| error.to_string())?;
        self.vault.unlock(document, &mut hook);
        Ok(hook)
    }

    fn put_hook(&self, hook: Hook) {
        let (account, id) = (hook.account.clone(), hook.id.clone());
        self.table.put(hook);
        // As in the original, where whoever edits a hook gives it a new start.
        self.disabler.changed_hook(&account, &id);
    }

    fn remove_hook(&self, id: &str) {
        if let Some(hook) = self.table.remove(&HookId::from(id)) {
            self.disabler.changed_hook(&hook.account, &hook.id);
        }
    }

    fn put_account(&self, account: AccountRecord) {
        self.accounts.put(account);
    }

    fn remove_account(&self, id: &str) {
        self.accounts.remove(&AccountId::from(id));
    }

    fn children(&self, id: &str) -> Vec<AccountId> {
        ids(&self.accounts.children(&AccountId::from(id)))
    }

    fn descendants(&self, id: &str) -> Vec<AccountId> {
        ids(&self.accounts.descendants(&AccountId::from(id)))
    }
}

fn ids(accounts: &[Arc<AccountRecord>]) -> Vec<AccountId> {
    accounts.iter().map(|account| account.id.clone()).collect()
}

/// Checks hooks against the events that the loaded modules offer, and against where they may be sent.
pub(super) struct HookSchema {
    pub(super) registry: Arc<ModuleRegistry>,
    pub(super) uris: UriRules,
}

impl DocumentValidator for HookSchema {
    fn validate_hook(&self, document: &mut Document) -> Result<(), Value> {
        let events = events(&self.registry.current());
        validate(document, &events, &self.uris).map_err(|errors| Value::Object(errors.to_json()))
    }
}

/// What a hook can name, and what it must say then.
pub(super) fn events(modules: &ModuleSnapshot) -> Events {
    let mut events = Events::default();
    for module in modules.modules() {
        let modifiers = &module.metadata().modifiers;
        events.insert(module.id.hook_name(), (!modifiers.is_empty()).then(|| modifiers.clone()));
    }
    events
}
