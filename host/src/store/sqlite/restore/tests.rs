//! Copies of a store, and folders that they are put into.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

use super::super::{Options, SqliteStore};
use super::*;
use crate::store::conformance::{document, event, owed, payload};
use crate::store::{AccountStore as _, DeliveryStore as _, HookStore as _, StoreBackend as _, StoredOutcome};

fn open_in(folder: &Path) -> SqliteStore {
    SqliteStore::open(folder, Options::default()).unwrap()
}

/// A store with an account, two hooks (one of them with a secret) and three deliveries, one of them dead.
async fn filled(folder: &Path) -> SqliteStore {
    let store = open_in(folder);
    store.save_account(document(json!({"_id": "a1", "name": "acme"}))).await.unwrap();
    store.save_hook(document(json!({"_id": "h1", "pvt_account_id": "a1"}))).await.unwrap();
    let secret = json!({"_id": "h2", "pvt_account_id": "a1", "pvt_secrets": {"current": "sealed"}});
    store.save_hook(document(secret)).await.unwrap();
    let body = payload(r#"{"call":1}"#);
    let deliveries = ["h1", "h2", "h1"].map(|hook| owed(hook, &body));
    store.accept(event(Some("m1"), deliveries.into())).await.unwrap();
    let dead =
        StoredOutcome::Dead { id: store.pending(0, 1).await.unwrap()[0].id, tries: 1, reason: "410".into() };
    store.finish(vec![dead]).await.unwrap();
    store
}

/// What such a store holds.
fn all_of_it() -> BackupContents {
    BackupContents { schema: open::newest(), accounts: 1, hooks: 2, secrets: 1, owed: 2, dead: 1 }
}

/// A backup of a store, in a file.
async fn backed_up(store: &SqliteStore, folder: &Path) -> PathBuf {
    let mut backup = store.backup().await.unwrap();
    let file = folder.join("backup");
    assert_eq!(std::io::copy(&mut backup.file, &mut File::create(&file).unwrap()).unwrap(), backup.bytes);
    file
}

fn names_in(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_backup_is_one_whole_file_as_of_one_moment() {
    let (folder, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = filled(folder.path()).await;
    let before = names_in(folder.path());

    let mut backup = store.backup().await.unwrap();
    store.save_account(document(json!({"_id": "a2"}))).await.unwrap();

    let file = elsewhere.path().join("backup");
    std::io::copy(&mut backup.file, &mut File::create(&file).unwrap()).unwrap();
    assert_eq!(contents(&file).unwrap(), all_of_it());
    assert_eq!(names_in(elsewhere.path()), ["backup"]);
    assert_eq!(names_in(folder.path()), before);
}

#[tokio::test]
async fn one_backup_is_made_at_a_time() {
    let folder = TempDir::new().unwrap();
    let store = filled(folder.path()).await;

    let first = store.backup().await.unwrap();
    let second = store.backup().await.unwrap_err();
    drop(first);

    assert_eq!(second, StoreError::Unavailable("another backup is being made".to_owned()));
    store.backup().await.unwrap();
}

#[tokio::test]
async fn what_a_crash_in_a_backup_has_left_is_gone_after_the_next_start() {
    let folder = TempDir::new().unwrap();
    drop(filled(folder.path()).await);
    let before = names_in(folder.path());
    std::fs::create_dir(folder.path().join(".backup-x")).unwrap();
    std::fs::write(folder.path().join(".backup-x/hookline.db"), "half").unwrap();

    drop(open_in(folder.path()));

    assert_eq!(names_in(folder.path()), before);
}

#[tokio::test]
async fn a_restored_folder_has_the_same_documents_and_owes_the_same_deliveries() {
    let (folder, target) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = filled(folder.path()).await;
    let file = backed_up(&store, folder.path()).await;
    let place = target.path().join("a/new/folder");

    let restored = restore(&file, &place).unwrap();

    assert_eq!(restored.contents, all_of_it());
    assert_eq!(restored.aside, None);
    let other = open_in(&place);
    assert_eq!(other.accounts().await.unwrap(), store.accounts().await.unwrap());
    assert_eq!(other.hooks().await.unwrap(), store.hooks().await.unwrap());
    assert_eq!(other.pending(0, 10).await.unwrap(), store.pending(0, 10).await.unwrap());
    assert_eq!(names_in(&place), ["hookline.db", "hookline.db-shm", "hookline.db-wal", "hookline.lock"]);
}

#[cfg(unix)]
#[tokio::test]
async fn a_restored_database_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let (folder, target) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = backed_up(&filled(folder.path()).await, folder.path()).await;

    restore(&file, target.path()).unwrap();

    let mode = std::fs::metadata(target.path().join("hookline.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[cfg(unix)]
#[tokio::test]
async fn what_is_restored_belongs_to_whom_the_folder_belongs() {
    use std::os::unix::fs::MetadataExt as _;
    let (folder, target) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = backed_up(&filled(folder.path()).await, folder.path()).await;
    // Only root can give a folder away; for others it is their own.
    std::os::unix::fs::chown(target.path(), Some(54_321), Some(54_321)).ok();
    let owner = |path: &Path| std::fs::metadata(path).unwrap().uid();

    restore(&file, target.path()).unwrap();

    for name in ["hookline.db", "hookline.lock"] {
        assert_eq!(owner(&target.path().join(name)), owner(target.path()), "{name}");
    }
}

#[tokio::test]
async fn the_database_that_was_there_is_kept_with_what_only_its_log_has() {
    let (folder, target) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = backed_up(&filled(folder.path()).await, folder.path()).await;
    // A host that was killed leaves its last commits in the log.
    let lost = TempDir::new().unwrap();
    let store = open_in(lost.path());
    store.save_account(document(json!({"_id": "only in the log"}))).await.unwrap();
    for name in ["hookline.db", "hookline.db-wal"] {
        std::fs::copy(lost.path().join(name), target.path().join(name)).unwrap();
    }

    let first = restore(&file, target.path()).unwrap().aside.unwrap();
    let second = restore(&file, target.path()).unwrap().aside.unwrap();

    assert_eq!(open_in(target.path()).account("a1").await.unwrap().unwrap()["name"], "acme");
    assert_ne!(first, second);
    let kept = Connection::open(first).unwrap();
    let id: String = kept.query_row("SELECT id FROM documents", [], |row| row.get(0)).unwrap();
    assert_eq!(id, "only in the log");
    assert_eq!(contents(&second).unwrap(), all_of_it());
}

#[tokio::test]
async fn a_log_without_its_database_does_not_meet_the_restored_one() {
    let (folder, target) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = backed_up(&filled(folder.path()).await, folder.path()).await;
    let lost = TempDir::new().unwrap();
    let store = filled(lost.path()).await;
    store.save_account(document(json!({"_id": "of the lost one"}))).await.unwrap();
    std::fs::copy(lost.path().join("hookline.db-wal"), target.path().join("hookline.db-wal")).unwrap();

    restore(&file, target.path()).unwrap();

    assert_eq!(contents(&target.path().join("hookline.db")).unwrap(), all_of_it());
}

#[tokio::test]
async fn the_database_of_a_host_that_was_stopped_can_be_restored_as_well() {
    let (folder, target) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    filled(folder.path()).await.close().await.unwrap();

    let restored = restore(&folder.path().join("hookline.db"), target.path()).unwrap();

    assert_eq!(restored.contents, all_of_it());
}

fn files_of(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let read = |name: String| (name.clone(), std::fs::read(folder.join(name)).unwrap());
    names_in(folder).into_iter().map(read).collect()
}

/// Changes a good backup, and expects a refusal that names it and leaves the folder as it was.
async fn check_refused(change: impl FnOnce(&Path), says: &str) {
    let (folder, target) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = backed_up(&filled(folder.path()).await, folder.path()).await;
    drop(filled(target.path()).await);
    let before = files_of(target.path());
    change(&file);

    let refusal = restore(&file, target.path()).unwrap_err().to_string();

    assert!(refusal.starts_with(&file.display().to_string()) && refusal.contains(says), "{refusal}");
    assert!(files_of(target.path()) == before, "{refusal}: the folder was changed");
}

#[tokio::test]
async fn what_is_no_sound_backup_is_refused_and_changes_nothing() {
    let text = "this is a text, not a database; ".repeat(200);
    check_refused(|file| std::fs::write(file, text).unwrap(), "cannot be restored: ").await;
    let half = |file: &Path| {
        let length = std::fs::metadata(file).unwrap().len();
        File::options().write(true).open(file).unwrap().set_len(length / 2).unwrap();
    };
    check_refused(half, "cannot be restored: ").await;
    let spoilt = |file: &Path| {
        let mut bytes = std::fs::read(file).unwrap();
        let middle = bytes.len() / 2 / 4096 * 4096;
        bytes[middle..middle + 4096].fill(0xff);
        std::fs::write(file, bytes).unwrap();
    };
    check_refused(spoilt, "cannot be restored: ").await;
    check_refused(|file| std::fs::write(file, "").unwrap(), "none of Hookline's").await;
    let other = |file: &Path| {
        std::fs::remove_file(file).unwrap();
        Connection::open(file)
            .unwrap()
            .execute_batch("CREATE TABLE mine (x); PRAGMA user_version = 1")
            .unwrap();
    };
    check_refused(other, "none of Hookline's").await;
    let newer = |file: &Path| {
        std::fs::remove_file(file).unwrap();
        Connection::open(file).unwrap().pragma_update(None, "user_version", 99).unwrap();
    };
    check_refused(newer, "has schema version 99, this program knows ").await;
    let in_use = |file: &Path| std::fs::write(file.with_file_name("backup-wal"), "commits").unwrap();
    check_refused(in_use, "has a write-ahead log beside it").await;
}

#[tokio::test]
async fn a_folder_that_a_host_uses_is_refused() {
    let (folder, target) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = backed_up(&filled(folder.path()).await, folder.path()).await;
    let host = filled(target.path()).await;

    let refusal = restore(&file, target.path()).unwrap_err().to_string();

    assert!(refusal.contains("hookline.lock is locked"), "{refusal}");
    assert!(!names_in(target.path()).iter().any(|name| name.contains("before") || name.contains("restore")));
    host.close().await.unwrap();
    restore(&file, target.path()).unwrap();
}
