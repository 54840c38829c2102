//! `[store]`, `[documents]` and `[ledger]`: what keeps what outlives the host, and how well.

use std::path::PathBuf;

use ::config::ValueKind;

use super::rules::{self, SettingsReader, WrongValue, one_of, optional_text, read_key, string};

/// What keeps documents, or the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendKind {
    /// The embedded database. The only kind that this version accepts.
    Sqlite,
}

/// `[documents]` or `[ledger]`: what keeps them.
#[derive(Debug, Clone, PartialEq)]
pub struct BackendSettings {
    /// Which kind.
    pub kind: BackendKind,
    /// Its address, for one that is a server.
    pub url: Option<String>,
}

/// When a commit counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synchronous {
    /// It survives a power cut.
    Full,
    /// It survives a crash of the program.
    Normal,
}

/// `[store]`: what holds for documents and ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct Store {
    /// The account that owns the installation; `None`: the oldest one.
    pub master_account_id: Option<String>,
    /// When a commit counts as done.
    pub synchronous: Synchronous,
    /// The file of the key of hooks' secrets; `None`: in the data folder.
    pub secrets_key_file: Option<PathBuf>,
    /// The key itself, in place of a file.
    pub secrets_key: Option<SecretsKey>,
    /// Whether secrets that cannot be decrypted keep the host from starting.
    pub start_with_lost_secrets: bool,
}

/// The key of hooks' secrets. It does not show itself in logs.
#[derive(Clone, PartialEq)]
pub struct SecretsKey(pub [u8; 32]);

impl std::fmt::Debug for SecretsKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretsKey(…)")
    }
}

/// What keeps documents and what keeps the ledger: what `[store]` says of both goes for each that says nothing itself.
pub(super) fn read_backends(reader: &mut SettingsReader<'_>) -> Option<(BackendSettings, BackendSettings)> {
    let kind = reader.read("store.kind", backend_kind);
    let url = reader.read("store.url", rules::server_address);
    let mut read = |kind_name, url_name| {
        let own_kind = reader.read(kind_name, own_backend_kind);
        let own_url = reader.read(url_name, rules::server_address);
        (own_kind, own_url)
    };
    let documents = read("documents.kind", "documents.url");
    let ledger = read("ledger.kind", "ledger.url");
    let (kind, url) = (kind?, url?);
    let backend = |(own_kind, own_url): (Option<Option<BackendKind>>, Option<Option<String>>)| {
        Some(BackendSettings { kind: own_kind?.unwrap_or(kind), url: own_url?.or_else(|| url.clone()) })
    };
    Some((backend(documents)?, backend(ledger)?))
}

pub(super) fn read_store(reader: &mut SettingsReader<'_>) -> Option<Store> {
    let master_account_id = reader.read("store.master_account_id", rules::optional_text);
    let levels = [("full", Synchronous::Full), ("normal", Synchronous::Normal)];
    let synchronous = reader.read("store.synchronous", |v| rules::one_of(v, &levels));
    let secrets_key_file = reader.read("store.secrets_key_file", rules::optional_text);
    let secrets_key = reader.read("store.secrets_key", secrets_key);
    let start_with_lost_secrets = reader.read("store.start_with_lost_secrets", rules::truth);
    Some(Store {
        master_account_id: master_account_id?,
        synchronous: synchronous?,
        secrets_key_file: secrets_key_file?.map(PathBuf::from),
        secrets_key: secrets_key?,
        start_with_lost_secrets: start_with_lost_secrets?,
    })
}

/// What keeps documents or the ledger; those that are planned are known and refused.
fn backend_kind(kind: &ValueKind) -> Result<BackendKind, WrongValue> {
    match string(kind) {
        Ok("couchdb" | "postgres") => Err("is not in this version yet; write \"sqlite\"".to_owned()),
        _ => one_of(kind, &[("sqlite", BackendKind::Sqlite)]),
    }
}

/// The same, where the empty text means: as `store.kind` says.
fn own_backend_kind(kind: &ValueKind) -> Result<Option<BackendKind>, WrongValue> {
    match string(kind) {
        Ok("") => Ok(None),
        _ => backend_kind(kind).map(Some),
    }
}

/// The key of hooks' secrets, or nothing.
fn secrets_key(kind: &ValueKind) -> Result<Option<SecretsKey>, WrongValue> {
    let Some(text) = optional_text(kind)? else { return Ok(None) };
    let key = read_key(&text).map(SecretsKey);
    key.map(Some).ok_or_else(|| "is no key; write 32 bytes as base64 or as 64 hexadecimal digits".to_owned())
}
