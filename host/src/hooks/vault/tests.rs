//! How secrets are kept, replaced, moved and lost.

use super::*;

const NOW: i64 = 1_800_000_000;
const DAY_MS: u64 = 86_400_000;
const FIRST: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const SECOND: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

fn document(id: &str) -> Document {
    json!({"_id": id, "pvt_account_id": "a", "uri": "http://x/", "hook": "all"}).as_object().cloned().unwrap()
}

fn set(text: &str) -> SecretChange {
    SecretChange::Set(json!(text))
}

fn unlocked(vault: &Vault, document: &Document) -> Hook {
    let mut hook = Hook::from_document(document).unwrap();
    vault.unlock(document, &mut hook);
    hook
}

fn shown(hook: &Hook) -> Vec<(&str, Option<i64>)> {
    hook.options.signing.secrets.iter().map(|valid| (valid.secret.reveal(), valid.until)).collect()
}

#[test]
fn a_replaced_secret_signs_for_the_overlap_and_a_removed_one_not_at_all() {
    let vault = Vault::with_key(&[1; 32], DAY_MS);
    let mut doc = document("h");
    assert!(vault.apply(&mut doc, &set(FIRST), NOW).unwrap().is_some());
    assert_eq!(shown(&unlocked(&vault, &doc)), [(FIRST, None)]);
    assert!(!Value::Object(doc.clone()).to_string().contains("MfKQ"));

    vault.apply(&mut doc, &set(SECOND), NOW).unwrap();
    assert_eq!(shown(&unlocked(&vault, &doc)), [(SECOND, None), (FIRST, Some(NOW + 86_400))]);
    assert_eq!(known(&doc).unwrap().old_until, Some(NOW + 86_400));

    // The same once more changes nothing; back to the first makes that the current one.
    vault.apply(&mut doc, &set(SECOND), NOW + 5).unwrap();
    assert_eq!(shown(&unlocked(&vault, &doc)), [(SECOND, None), (FIRST, Some(NOW + 86_400))]);
    let mut back = doc.clone();
    vault.apply(&mut back, &set(FIRST), NOW + 5).unwrap();
    assert_eq!(shown(&unlocked(&vault, &back)), [(FIRST, None), (SECOND, Some(NOW + 86_405))]);

    vault.apply(&mut doc, &SecretChange::Keep, NOW + 86_400).unwrap();
    assert_eq!(shown(&unlocked(&vault, &doc)), [(SECOND, None)]);
    vault.apply(&mut doc, &SecretChange::Remove, NOW).unwrap();
    assert!(!doc.contains_key(SEALED) && !unlocked(&vault, &doc).options.signing.is_wanted());
}

#[test]
fn without_overlap_the_old_secret_ends_at_once_and_with_it_few_are_kept() {
    let (none, day) = (Vault::with_key(&[1; 32], 0), Vault::with_key(&[1; 32], DAY_MS));
    let mut doc = document("h");
    for _ in 0..10 {
        day.apply(&mut doc, &set("generate"), NOW).unwrap();
    }
    assert_eq!(shown(&unlocked(&day, &doc)).len(), 1 + MOST_OLD);
    none.apply(&mut doc, &set("generate-v1a"), NOW).unwrap();
    let hook = unlocked(&none, &doc);
    assert_eq!(hook.options.signing.secrets.len(), 1);
    let known = known(&doc).unwrap();
    assert_eq!(known.kind, Some(SecretKind::Pair));
    assert_eq!(known.public_key, hook.options.signing.secrets[0].secret.public_key().as_deref());
}

#[test]
fn another_key_a_missing_key_and_a_moved_secret_lock_the_hook_and_say_why() {
    let vault = Vault::with_key(&[1; 32], DAY_MS);
    let mut doc = document("h1");
    vault.apply(&mut doc, &set(FIRST), NOW).unwrap();
    let mut moved = doc.clone();
    moved.insert("_id".to_owned(), json!("h2"));
    let folder = tempfile::tempdir().unwrap();
    let missing = Vault::with_file(folder.path().join("k"), DAY_MS).unwrap();
    for (vault, doc, expected) in [
        (
            &Vault::with_key(&[2; 32], 0),
            &doc,
            "secret of hook h1 cannot be decrypted: it was encrypted with key",
        ),
        (&missing, &doc, "k is missing, which held key"),
        (&vault, &moved, "secret of hook h2 cannot be decrypted with store.secrets_key"),
    ] {
        let hook = unlocked(vault, doc);
        let why = hook.options.signing.locked.clone().unwrap();
        assert!(why.contains(expected) && hook.options.signing.secrets.is_empty(), "{why}");
    }
    // A new secret is the way out.
    let other = Vault::with_key(&[2; 32], DAY_MS);
    other.apply(&mut doc, &set(SECOND), NOW).unwrap();
    assert_eq!(shown(&unlocked(&other, &doc)), [(SECOND, None)]);
}

#[test]
fn a_document_that_nobody_unlocked_is_locked() {
    let mut doc = document("h");
    Vault::with_key(&[1; 32], 0).apply(&mut doc, &set(FIRST), NOW).unwrap();
    assert!(Hook::from_document(&doc).unwrap().options.signing.locked.is_some());
}

#[test]
fn the_key_is_made_once_for_its_owner_and_read_again() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE);
    let first = Vault::with_file(file.clone(), DAY_MS).unwrap();
    first.make_missing_key().unwrap();
    first.make_missing_key().unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let mut doc = document("h");
    first.apply(&mut doc, &set(FIRST), NOW).unwrap();
    let again = Vault::with_file(file.clone(), DAY_MS).unwrap();
    assert_eq!(shown(&unlocked(&again, &doc)), [(FIRST, None)]);

    std::fs::write(&file, "no key").unwrap();
    let error = Vault::with_file(file, DAY_MS).err().unwrap();
    assert!(format!("{error:#}").contains("holds no key"), "{error:#}");
}

#[test]
fn keys_are_base64_or_hexadecimal() {
    assert_eq!(read_key(&STANDARD.encode([9; 32])), Some([9; 32]));
    assert_eq!(read_key(&"0a".repeat(32)), Some([10; 32]));
    for wrong in ["", "abc", &STANDARD.encode([9; 31]), &"0g".repeat(32), &"é".repeat(32)] {
        assert_eq!(read_key(wrong), None, "{wrong}");
    }
}
