//! What every backend of documents must do.

use serde_json::json;
use tempfile::TempDir;

use super::{MakeDocuments, copy_of_a_crash, document};
use crate::store::StoreError;

pub(in crate::store) async fn a_saved_document_comes_back_with_its_keys_in_order(make: MakeDocuments) {
    let dir = TempDir::new().unwrap();
    let documents = make(dir.path());
    let doc =
        document(json!({"_id": "h1", "zebra": 1, "apple": {"b": 2.50, "a": null}, "pvt_type": "webhook"}));

    let saved = documents.save_hook(doc.clone()).await.unwrap();

    let found = documents.hook("h1").await.unwrap().unwrap();
    assert_eq!(found, saved);
    assert!(saved["_rev"].as_str().unwrap().starts_with("1-"));
    assert_eq!(found.keys().collect::<Vec<_>>(), ["_id", "zebra", "apple", "pvt_type", "_rev"]);
    assert_eq!(documents.hooks().await.unwrap(), [saved]);
    assert_eq!(documents.account("h1").await.unwrap(), None);
}

pub(in crate::store) async fn a_document_without_an_id_gets_one(make: MakeDocuments) {
    let dir = TempDir::new().unwrap();
    let documents = make(dir.path());

    let saved = documents.save_account(document(json!({"name": "acme"}))).await.unwrap();

    let id = saved["_id"].as_str().unwrap();
    assert_eq!(id.len(), 32);
    assert_eq!(documents.account(id).await.unwrap(), Some(saved.clone()));
}

pub(in crate::store) async fn a_save_over_a_stale_revision_is_a_conflict(make: MakeDocuments) {
    let dir = TempDir::new().unwrap();
    let documents = make(dir.path());
    let first =
        documents.save_metadata(document(json!({"_id": "webhooks_sms", "name": "one"}))).await.unwrap();
    let mut second = first.clone();
    second.insert("name".into(), "two".into());
    let second = documents.save_metadata(second).await.unwrap();

    let stale = documents.save_metadata(first).await;

    assert_eq!(stale, Err(StoreError::Conflict { id: "webhooks_sms".into() }));
    assert!(second["_rev"].as_str().unwrap().starts_with("2-"));
    assert_eq!(documents.metadata().await.unwrap(), [second]);
}

pub(in crate::store) async fn a_save_without_a_revision_never_replaces_a_document(make: MakeDocuments) {
    let dir = TempDir::new().unwrap();
    let documents = make(dir.path());
    let doc = document(json!({"_id": "a1", "name": "acme"}));
    let conflict = Err(StoreError::Conflict { id: "a1".into() });
    let mut invented = doc.clone();
    invented.insert("_rev".into(), "1-0".into());

    assert_eq!(documents.save_account(invented).await, conflict);
    documents.save_account(doc.clone()).await.unwrap();
    assert_eq!(documents.save_account(doc).await, conflict);
}

pub(in crate::store) async fn a_soft_deleted_document_is_neither_listed_nor_found(make: MakeDocuments) {
    let dir = TempDir::new().unwrap();
    let documents = make(dir.path());
    let doc = document(json!({"_id": "h1", "pvt_account_id": "a1"}));
    let mut doc = documents.save_hook(doc).await.unwrap();

    doc.insert("pvt_deleted".into(), true.into());
    documents.save_hook(doc).await.unwrap();

    assert_eq!(documents.hook("h1").await.unwrap(), None);
    assert!(documents.hooks().await.unwrap().is_empty());
    assert!(documents.hooks_of("a1").await.unwrap().is_empty());
}

pub(in crate::store) async fn a_deleted_metadata_document_leaves_its_id_to_a_new_one(make: MakeDocuments) {
    let dir = TempDir::new().unwrap();
    let documents = make(dir.path());
    let doc = document(json!({"_id": "webhooks_sms", "name": "SMS"}));
    documents.save_metadata(doc.clone()).await.unwrap();
    documents.save_hook(document(json!({"_id": "webhooks_sms", "pvt_account_id": "a1"}))).await.unwrap();

    documents.delete_metadata("webhooks_sms").await.unwrap();
    documents.delete_metadata("webhooks_sms").await.unwrap();

    assert!(documents.metadata().await.unwrap().is_empty());
    assert!(documents.hook("webhooks_sms").await.unwrap().is_some());
    let again = documents.save_metadata(doc).await.unwrap();
    assert_eq!(documents.metadata().await.unwrap(), [again]);
}

pub(in crate::store) async fn hooks_are_found_by_their_account(make: MakeDocuments) {
    let dir = TempDir::new().unwrap();
    let documents = make(dir.path());
    for (id, account) in [("h1", "a1"), ("h2", "a2"), ("h3", "a1")] {
        documents.save_hook(document(json!({"_id": id, "pvt_account_id": account}))).await.unwrap();
    }

    let hooks = documents.hooks_of("a1").await.unwrap();

    assert_eq!(hooks.iter().map(|hook| hook["_id"].as_str().unwrap()).collect::<Vec<_>>(), ["h1", "h3"]);
}

pub(in crate::store) async fn a_setting_is_kept_until_it_is_replaced(make: MakeDocuments) {
    let dir = TempDir::new().unwrap();
    let documents = make(dir.path());
    assert_eq!(documents.setting("cluster_id").await.unwrap(), None);

    documents.set_setting("cluster_id", "one").await.unwrap();
    documents.set_setting("cluster_id", "two").await.unwrap();

    assert_eq!(documents.setting("cluster_id").await.unwrap().as_deref(), Some("two"));
}

pub(in crate::store) async fn what_accounts_have_set_is_kept_until_it_is_emptied(make: MakeDocuments) {
    let dir = TempDir::new().unwrap();
    let documents = make(dir.path());
    documents.save_config("", document(json!({"attempt_failure_count": 3}))).await.unwrap();
    documents.save_config("acct", document(json!({"attempt_failure_count": 4}))).await.unwrap();
    documents.save_config("acct", document(json!({"attempt_failure_count": 5}))).await.unwrap();
    documents.save_config("other", document(json!({"attempt_failure_count": 6}))).await.unwrap();
    documents.save_config("other", document(json!({}))).await.unwrap();

    let mut configs = documents.configs().await.unwrap();

    configs.sort_by(|(a, _), (b, _)| a.cmp(b));
    let set = |account: &str, count| (account.to_owned(), document(json!({"attempt_failure_count": count})));
    assert_eq!(configs, [set("", 3), set("acct", 5)]);
}

pub(in crate::store) async fn closed_documents_say_so(make: MakeDocuments) {
    let dir = TempDir::new().unwrap();
    let documents = make(dir.path());

    documents.close().await.unwrap();
    documents.close().await.unwrap();

    assert!(matches!(documents.hooks().await, Err(StoreError::Unavailable(_))));
    assert!(matches!(documents.set_setting("a", "b").await, Err(StoreError::Unavailable(_))));
}

/// A copy of the folder, taken while the documents are open, is what a crash would leave.
pub(in crate::store) async fn documents_survive_a_crash(make: MakeDocuments) {
    let (dir, crashed) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let documents = make(dir.path());
    documents.save_hook(document(json!({"_id": "h1"}))).await.unwrap();
    copy_of_a_crash(dir.path(), crashed.path());

    assert!(make(crashed.path()).hook("h1").await.unwrap().is_some());
}
