//! Changes as clients make them, on a real store with simple tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::store::HookStore as _;
use crate::store::sqlite::{Options, SqliteStore};

/// Tables that are lists; hooks whose uri is `unloadable` are refused.
#[derive(Default)]
pub(crate) struct Shelf {
    read: Mutex<BTreeMap<String, Document>>,
    hooks: Mutex<BTreeMap<String, Document>>,
    accounts: Mutex<BTreeMap<String, AccountRecord>>,
}

impl Shelf {
    pub(crate) fn hook_ids(&self) -> Vec<String> {
        self.hooks.lock().keys().cloned().collect()
    }

    fn hook(&self, id: &str) -> Option<Document> {
        self.hooks.lock().get(id).cloned()
    }

    fn accounts_where(&self, below: impl Fn(&AccountRecord) -> bool) -> Vec<AccountId> {
        let accounts = self.accounts.lock();
        accounts.values().filter(|account| below(account)).map(|account| account.id.clone()).collect()
    }
}

impl EditorTables for Shelf {
    fn read_hook(&self, doc: &Document) -> Result<Hook, String> {
        if doc.get("uri") == Some(&json!("unloadable")) {
            return Err("the uri cannot be loaded".into());
        }
        self.read.lock().insert(fields::id(doc).into(), doc.clone());
        let mut whole = doc.clone();
        whole.entry("uri").or_insert(json!("http://x/"));
        whole.entry("hook").or_insert(json!("all"));
        Hook::from_document(&whole).map_err(|error| error.to_string())
    }

    fn put_hook(&self, hook: Hook) {
        let read = self.read.lock().remove(hook.id.as_str());
        self.hooks.lock().extend(read.map(|doc| (hook.id.to_string(), doc)));
    }

    fn remove_hook(&self, id: &str) {
        self.hooks.lock().remove(id);
    }

    fn put_account(&self, account: AccountRecord) {
        self.accounts.lock().insert(account.id.to_string(), account);
    }

    fn remove_account(&self, id: &str) {
        self.accounts.lock().remove(id);
    }

    fn children(&self, id: &str) -> Vec<AccountId> {
        self.accounts_where(|account| account.lineage.last() == Some(&id.into()))
    }

    fn descendants(&self, id: &str) -> Vec<AccountId> {
        self.accounts_where(|account| account.lineage.contains(&id.into()))
    }
}

/// Wants a name, and fills in the number of retries.
pub(crate) struct NamesOnly;

impl DocumentValidator for NamesOnly {
    fn validate_hook(&self, doc: &mut Document) -> Result<(), Value> {
        if !doc.contains_key("name") {
            return Err(fields::invalid("name", "required", "a hook needs a name"));
        }
        doc.entry("retries").or_insert(json!(2));
        Ok(())
    }
}

/// Replaced secrets go on for a day.
pub(crate) fn vault() -> Arc<Vault> {
    Arc::new(Vault::with_key(&[7; 32], 86_400_000))
}

/// The defaults.
pub(crate) fn limits() -> AccountLimits {
    crate::config::Config::defaults().unwrap().limits
}

struct Room {
    editor: Editor,
    shelf: Arc<Shelf>,
    store: Arc<SqliteStore>,
    _dir: TempDir,
}

fn room() -> Room {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(SqliteStore::open(dir.path(), Options::default()).unwrap());
    let shelf = Arc::new(Shelf::default());
    let editor = Editor::new(store.clone(), shelf.clone(), Arc::new(NamesOnly), vault(), limits());
    Room { editor, shelf, store, _dir: dir }
}

fn fields_of(value: Value) -> Document {
    match value {
        Value::Object(fields) => fields,
        other => panic!("{other} is no object"),
    }
}

impl Room {
    async fn account(&self, parent: Option<&str>) -> String {
        let doc = self.editor.create_account(parent, fields_of(json!({"name": "acme"}))).await.unwrap();
        fields::id(&doc).to_owned()
    }

    async fn hook(&self, account: &str) -> String {
        let doc = self.editor.create_hook(account, fields_of(json!({"name": "calls"}))).await.unwrap();
        fields::id(&doc).to_owned()
    }

    async fn disable_automatically(&self, hook: &str) {
        let mut doc = self.store.hook(hook).await.unwrap().unwrap();
        fields::set(&mut doc, "enabled", false);
        fields::set(&mut doc, "pvt_disabled_message", "too many failed attempts");
        self.store.save_hook(doc).await.unwrap();
    }
}

#[tokio::test]
async fn a_created_hook_is_stored_and_shown_with_private_fields_of_ours_only() {
    let room = room();
    let account = room.account(None).await;

    let sent = json!({"id": "mine", "_id": "mine", "_rev": "9-x", "pvt_account_id": "other", "name": "calls",
        "custom_data": {"b": "1", "a": "2"}});
    let doc = room.editor.create_hook(&account, fields_of(sent)).await.unwrap();

    let id = fields::id(&doc);
    assert_eq!(id.len(), 32);
    assert_eq!(fields::owner(&doc), account);
    assert_eq!(doc["pvt_type"], "webhook");
    assert!(doc["pvt_created"].as_i64().unwrap() > 63_900_000_000);
    assert_eq!(doc["retries"], 2);
    assert!(!doc.contains_key("id"));
    assert_eq!(room.shelf.hook(id), Some(doc.clone()));
    assert_eq!(room.editor.hook(&account, id).await.unwrap(), doc);
}

#[tokio::test]
async fn an_invalid_hook_changes_nothing() {
    let room = room();
    let account = room.account(None).await;

    let error = room.editor.create_hook(&account, Document::new()).await.unwrap_err();

    assert!(matches!(error, EditError::Invalid(data) if data["name"]["required"].is_object()));
    assert!(room.editor.hooks(&account).await.unwrap().is_empty());
    assert!(room.shelf.hook_ids().is_empty());
}

#[tokio::test]
async fn a_hook_of_another_account_is_not_found() {
    let room = room();
    let (mine, other) = (room.account(None).await, room.account(None).await);
    let hook = room.hook(&other).await;

    assert!(matches!(room.editor.hook(&mine, &hook).await, Err(EditError::NotFound { id }) if id == hook));
    assert!(matches!(room.editor.delete_hook(&mine, &hook).await, Err(EditError::NotFound { .. })));
    let patch = fields_of(json!({"name": "stolen"}));
    assert!(matches!(room.editor.patch_hook(&mine, &hook, patch).await, Err(EditError::NotFound { .. })));
}

#[tokio::test]
async fn a_replaced_hook_loses_fields_that_are_not_given_and_keeps_private_ones() {
    let room = room();
    let account = room.account(None).await;
    let hook = room.hook(&account).await;
    let patch = fields_of(json!({"group": "a"}));
    let before = room.editor.patch_hook(&account, &hook, patch).await.unwrap();

    let after = room.editor.replace_hook(&account, &hook, fields_of(json!({"name": "new"}))).await.unwrap();

    assert_eq!(before["group"], "a");
    assert_eq!(fields::public(&after), fields_of(json!({"id": hook, "name": "new", "retries": 2})));
    assert_eq!(after["pvt_created"], before["pvt_created"]);
    assert_eq!(fields::saves(&after), 3);
    assert_eq!(room.shelf.hook(&hook), Some(after));
}

#[tokio::test]
async fn a_patch_replaces_top_level_fields_whole_and_null_takes_one_away() {
    let room = room();
    let account = room.account(None).await;
    let sent = json!({"name": "calls", "group": "a", "custom_data": {"x": "1"}});
    let hook = room.editor.create_hook(&account, fields_of(sent)).await.unwrap();

    let patch = fields_of(json!({"custom_data": {"y": "2"}, "group": null, "pvt_created": 1}));
    let after = room.editor.patch_hook(&account, fields::id(&hook), patch).await.unwrap();

    assert_eq!(after["custom_data"], json!({"y": "2"}));
    assert!(!after.contains_key("group"));
    assert_eq!(after["pvt_created"], hook["pvt_created"]);
}

#[tokio::test]
async fn an_automatic_disable_shows_its_reason_until_the_hook_is_enabled() {
    let room = room();
    let account = room.account(None).await;
    let hook = room.hook(&account).await;
    room.disable_automatically(&hook).await;
    let disabled = room.editor.hook(&account, &hook).await.unwrap();
    assert_eq!(shown_hook(&disabled)["disable_reason"], "too many failed attempts");

    let renamed = fields_of(json!({"name": "renamed", "disable_reason": "leaked"}));
    let renamed = room.editor.patch_hook(&account, &hook, renamed).await.unwrap();
    assert!(!is_enabled(&renamed));
    assert!(!renamed.contains_key("disable_reason"));
    assert_eq!(shown_hook(&renamed)["disable_reason"], "too many failed attempts");

    let enabled =
        room.editor.replace_hook(&account, &hook, fields_of(json!({"name": "again"}))).await.unwrap();
    assert!(is_enabled(&enabled));
    assert!(!enabled.contains_key("pvt_disabled_message"));
}

#[tokio::test]
async fn a_deleted_hook_leaves_store_and_tables() {
    let room = room();
    let account = room.account(None).await;
    let hook = room.hook(&account).await;

    let deleted = room.editor.delete_hook(&account, &hook).await.unwrap();

    assert_eq!(fields::public_deleted(&deleted)["_read_only"], json!({"deleted": true}));
    assert!(room.shelf.hook_ids().is_empty());
    assert!(matches!(room.editor.hook(&account, &hook).await, Err(EditError::NotFound { .. })));
}

#[tokio::test]
async fn a_sub_account_knows_its_ancestors_and_its_reseller() {
    let room = room();
    let root = room.account(None).await;
    let child = room.account(Some(&root)).await;
    let grandchild = room.account(Some(&child)).await;

    let doc = room.editor.account(&grandchild).await.unwrap();

    assert_eq!(doc["pvt_tree"], json!([root, child]));
    assert_eq!(doc["pvt_reseller_id"], json!(root));
    assert_eq!(room.editor.account(&root).await.unwrap()["pvt_reseller_id"], json!(root));
    assert_eq!(room.editor.children(&root).await.unwrap(), [child.as_str().into()]);
    assert_eq!(room.editor.descendants(&root).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_deleted_account_takes_its_hooks_with_it() {
    let room = room();
    let (gone, kept) = (room.account(None).await, room.account(None).await);
    for _ in 0..70 {
        room.hook(&gone).await;
    }
    let other = room.hook(&kept).await;

    room.editor.delete_account(&gone).await.unwrap();

    assert_eq!(room.shelf.hook_ids(), [other]);
    assert!(matches!(room.editor.hooks(&gone).await, Err(EditError::NotFound { .. })));
}

#[tokio::test]
async fn an_account_with_descendants_is_not_deleted() {
    let room = room();
    let root = room.account(None).await;
    room.account(Some(&root)).await;

    let error = room.editor.delete_account(&root).await.unwrap_err();

    assert!(matches!(error, EditError::HasDescendants { count: 1, .. }));
    assert!(room.editor.account(&root).await.is_ok());
}

#[tokio::test]
async fn a_change_ends_although_its_caller_went_away() {
    let room = room();
    let account = room.account(None).await;
    {
        let mut change = Box::pin(room.editor.create_hook(&account, fields_of(json!({"name": "calls"}))));
        // One poll hands the change over; then the caller is gone.
        assert!(futures_util::poll!(change.as_mut()).is_pending());
    }

    room.editor.close().await;

    assert_eq!(room.shelf.hook_ids().len(), 1);
}

#[tokio::test]
async fn a_load_brings_everything_that_was_stored_and_counts_what_it_cannot_use() {
    let room = room();
    let account = room.account(None).await;
    let hook = room.hook(&account).await;
    let bad = fields_of(json!({"_id": "bad", "pvt_account_id": account, "name": "bad", "uri": "unloadable"}));
    room.store.save_hook(bad).await.unwrap();
    let shelf = Arc::new(Shelf::default());
    let editor = Editor::new(room.store.clone(), shelf.clone(), Arc::new(NamesOnly), vault(), limits());

    let loaded = editor.load().await.unwrap();

    assert_eq!(loaded, LoadedDocuments { accounts: 1, hooks: 1, refused: 1 });
    assert_eq!(shelf.hook_ids(), [hook]);
}

#[tokio::test]
async fn a_hook_is_disabled_once_with_its_reason_and_a_deleted_one_not_at_all() {
    let room = room();
    let account = room.account(None).await;
    let hook = room.hook(&account).await;

    assert!(room.editor.disable_hook(&account, &hook, "gone").await.unwrap());
    assert!(!room.editor.disable_hook(&account, &hook, "gone again").await.unwrap());

    let disabled = room.editor.hook(&account, &hook).await.unwrap();
    assert_eq!(
        (&disabled["enabled"], &shown_hook(&disabled)["disable_reason"]),
        (&json!(false), &json!("gone"))
    );
    assert_eq!(room.shelf.hook(&hook), Some(disabled));
    room.editor.delete_hook(&account, &hook).await.unwrap();
    let error = room.editor.disable_hook(&account, &hook, "gone").await.unwrap_err();
    assert!(matches!(error, EditError::NotFound { .. }), "{error}");
}

#[tokio::test]
async fn a_secret_is_stored_encrypted_and_answered_once() {
    let room = room();
    let account = room.account(None).await;
    let hook = room.hook(&account).await;

    let changed =
        room.editor.patch_hook(&account, &hook, fields_of(json!({"secret": "generate"}))).await.unwrap();
    let secret = changed["secret"].as_str().unwrap().to_owned();
    let stored = room.store.hook(&hook).await.unwrap().unwrap();
    let replaced = room.editor.replace_hook(&account, &hook, fields_of(json!({"name": "n"}))).await.unwrap();

    assert!(secret.starts_with("whsec_"));
    for document in [stored, replaced.clone(), room.shelf.hook(&hook).unwrap()] {
        assert!(document.contains_key("pvt_secrets") && !document.contains_key("secret"));
        assert!(!Value::Object(document).to_string().contains(&secret[6..]));
    }
    assert_eq!(shown_hook(&replaced)["secret_set"], true);
    let wrong = fields_of(json!({"secret": "whsec_wrong"}));
    let error = room.editor.patch_hook(&account, &hook, wrong).await.unwrap_err();
    assert!(matches!(&error, EditError::Invalid(data) if data["secret"]["error"].is_object()), "{error}");
}
