//! How hooks' secrets rest in their documents: encrypted, with a key that is not in the store.

use std::fmt;
use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::config::rules::read_key;
use crate::model::sign::{Secret, SecretKind, ValidSecret};
use crate::model::{Document, Hook};
use crate::private_file::{mode_open_to_others, write_line};

#[cfg(test)]
mod tests;

/// The field of a document with the encrypted secrets, the current one first.
pub const SEALED: &str = "pvt_secrets";

/// The file in the data folder that holds the key unless a setting says otherwise.
pub const FILE: &str = "secrets.key";

/// Secrets of a hook that were replaced and still sign; older ones end early.
pub const MOST_OLD: usize = 4;

/// What is encrypted is bound to this use and to its hook, so that it cannot be moved to another one.
const USE: &str = "hookline hook secret 1";

/// What the key of log-ins is made for.
const LOG_INS: &str = "hookline log-ins 1";

const NONCE: usize = 24;

/// Encrypts and decrypts the secrets of hooks.
pub struct Vault {
    place: KeySource,
    key: OnceLock<VaultKey>,
    overlap_seconds: i64,
}

struct VaultKey {
    cipher: XChaCha20Poly1305,
    /// Tells keys apart, and nothing about them.
    fingerprint: String,
    log_ins: [u8; 32],
}

/// Where the key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum KeySource {
    File(PathBuf),
    Given,
}

/// What a change does to the secret of a hook.
#[derive(Clone, Debug, PartialEq)]
pub enum SecretChange {
    /// It stays.
    Keep,
    /// It is taken away, with those that it had replaced.
    Remove,
    /// It is this one: a secret, or a word that asks for a new one.
    Set(Value),
}

impl SecretChange {
    /// What a client's fields ask for; takes it out of them. The field of an answer that shows a secret is left
    /// out of other answers, so that a client that sends back what it got changes nothing.
    pub fn taken_from(public: &mut Document) -> Self {
        match public.shift_remove("secret") {
            None => Self::Keep,
            Some(Value::Null) => Self::Remove,
            Some(value) => Self::Set(value),
        }
    }
}

/// The secret that a client asked for, where it asked for a new one.
pub fn wanted_kind(word: &str) -> Option<SecretKind> {
    match word {
        "generate" => Some(SecretKind::Shared),
        "generate-v1a" => Some(SecretKind::Pair),
        _ => None,
    }
}

impl Vault {
    /// A vault whose key was given by a setting, as [`read_key`] took it.
    pub fn with_key(key: &[u8; 32], overlap_ms: u64) -> Self {
        let vault =
            Self { place: KeySource::Given, key: OnceLock::new(), overlap_seconds: seconds(overlap_ms) };
        vault.key.get_or_init(|| VaultKey::new(key));
        vault
    }

    /// A vault whose key is in a file. A missing file is no error yet: see [`Vault::make_missing_key`].
    ///
    /// # Errors
    /// The file cannot be read, or holds no key.
    pub fn with_file(file: PathBuf, overlap_ms: u64) -> anyhow::Result<Self> {
        let key = OnceLock::new();
        match std::fs::read_to_string(&file) {
            Ok(text) => {
                let read = read_key(text.trim()).with_context(|| {
                    format!(
                        "{} holds no key: it must have 32 bytes as base64 or as 64 hexadecimal digits",
                        file.display()
                    )
                })?;
                if mode_open_to_others(&file).is_some() {
                    tracing::warn!(file = %file.display(), "the key of hooks' secrets can be read by others than its owner");
                }
                key.get_or_init(|| VaultKey::new(&read));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("reading {}", file.display())),
        }
        Ok(Self { place: KeySource::File(file), key, overlap_seconds: seconds(overlap_ms) })
    }

    /// Makes the key's file where there is none. To be called once it is known that no secret needs an older key.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn make_missing_key(&self) -> anyhow::Result<()> {
        let KeySource::File(file) = &self.place else { return Ok(()) };
        if self.key.get().is_none() {
            let key: [u8; 32] = rand::random();
            let line = STANDARD.encode(key);
            write_line(file, &line).with_context(|| format!("writing {}", file.display()))?;
            self.key.get_or_init(|| VaultKey::new(&key));
        }
        Ok(())
    }

    /// What log-ins are signed with: made of the vault's key, so that hosts with the same key take each other's, and
    /// saying nothing about it. Nothing while there is no key.
    pub fn log_in_key(&self) -> Option<[u8; 32]> {
        self.key.get().map(|key| key.log_ins)
    }

    /// Gives a hook the secrets of its document; or locks it, saying why they cannot be had.
    pub fn unlock(&self, document: &Document, hook: &mut Hook) {
        let Some(sealed) = document.get(SEALED) else { return };
        match self.open_all(document, sealed) {
            Ok(secrets) => {
                hook.options.signing.secrets = secrets;
                hook.options.signing.locked = None;
            }
            Err(why) => {
                hook.options.signing.secrets.clear();
                hook.options.signing.locked = Some(why);
            }
        }
    }

    /// Does what a change asks for, to a document that is about to be saved; answers the secret in clear where one
    /// was set. `now` is in Unix seconds.
    ///
    /// # Errors
    /// What is wrong with the secret, or why it cannot be encrypted.
    pub fn apply(
        &self,
        document: &mut Document,
        change: &SecretChange,
        now: i64,
    ) -> Result<Option<Secret>, String> {
        let sealed = document.shift_remove(SEALED);
        let value = match change {
            SecretChange::Remove => return Ok(None),
            SecretChange::Keep => {
                if let Some(sealed) = sealed {
                    document.insert(SEALED.to_owned(), without_ended(sealed, now));
                }
                return Ok(None);
            }
            SecretChange::Set(value) => value,
        };
        let text = value.as_str().ok_or("must be a text or null")?;
        let secret = match wanted_kind(text) {
            Some(kind) => Secret::from_random(kind, rand::random()),
            None => Secret::parse(text).map_err(|error| error.to_string())?,
        };
        let entries = sealed.as_ref().and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let mut kept = vec![self.seal(id(document), &secret)?];
        for (entry, old) in entries.iter().filter_map(|entry| Some((entry, self.open(document, entry).ok()?)))
        {
            let until = until(entry).unwrap_or(i64::MAX).min(now.saturating_add(self.overlap_seconds));
            // One that cannot be decrypted any more is given up here: a new secret is the way out of that.
            if old != secret && until > now && kept.len() <= MOST_OLD {
                let mut entry = entry.clone();
                entry["until"] = until.into();
                kept.push(entry);
            }
        }
        document.insert(SEALED.to_owned(), kept.into());
        Ok(Some(secret))
    }

    fn open_all(&self, document: &Document, sealed: &Value) -> Result<Vec<ValidSecret>, String> {
        let entries = sealed.as_array().map_or(&[][..], Vec::as_slice);
        let opened = entries
            .iter()
            .map(|entry| Ok(ValidSecret { secret: self.open(document, entry)?, until: until(entry) }));
        match opened.collect::<Result<Vec<_>, String>>()? {
            none if none.is_empty() => Err(format!("{SEALED} of hook {} holds no secret", id(document))),
            secrets => Ok(secrets),
        }
    }

    fn open(&self, document: &Document, entry: &Value) -> Result<Secret, String> {
        let id = id(document);
        let fingerprint = entry["key"].as_str().unwrap_or_default();
        let Some(key) = self.key.get() else {
            return Err(format!(
                "the secret of hook {id} cannot be decrypted: {self} is missing, which held key {fingerprint}"
            ));
        };
        if key.fingerprint != fingerprint {
            return Err(format!(
                "the secret of hook {id} cannot be decrypted: it was encrypted with key {fingerprint}, {self} is key {}",
                key.fingerprint
            ));
        }
        let damaged = || {
            format!(
                "the secret of hook {id} cannot be decrypted with {self}: it was changed, or moved here from another hook"
            )
        };
        let sealed =
            entry["sealed"].as_str().and_then(|text| STANDARD.decode(text).ok()).ok_or_else(damaged)?;
        let (nonce, sealed) = sealed.split_at_checked(NONCE).ok_or_else(damaged)?;
        let nonce = XNonce::try_from(nonce).map_err(|_| damaged())?;
        let aad = bound_to(id);
        let clear = key.cipher.decrypt(&nonce, Payload { msg: sealed, aad: aad.as_bytes() });
        let text = clear.ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(damaged)?;
        Secret::parse(&text).map_err(|_| damaged())
    }

    fn seal(&self, id: &str, secret: &Secret) -> Result<Value, String> {
        let key = self.key.get().ok_or_else(|| format!("cannot be encrypted: {self} is missing"))?;
        let nonce: [u8; NONCE] = rand::random();
        let aad = bound_to(id);
        let payload = Payload { msg: secret.reveal().as_bytes(), aad: aad.as_bytes() };
        let sealed = key.cipher.encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.map_err(|_| "cannot be encrypted".to_owned())?;
        let mut entry = json!({
            "kind": secret.kind().as_str(),
            "key": key.fingerprint,
            "sealed": STANDARD.encode([&nonce[..], &sealed].concat()),
        });
        if let Some(public) = secret.public_key() {
            entry["public_key"] = public.into();
        }
        Ok(entry)
    }
}

impl fmt::Display for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            KeySource::File(file) => write!(f, "{}", file.display()),
            KeySource::Given => f.write_str("store.secrets_key (HOOKLINE_SECRETS_KEY)"),
        }
    }
}

impl VaultKey {
    fn new(key: &[u8; 32]) -> Self {
        let digest = Sha256::digest([b"hookline key fingerprint", &key[..]].concat());
        let fingerprint = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let mut log_ins = Hmac::<Sha256>::new(&block(key).into());
        log_ins.update(LOG_INS.as_bytes());
        let log_ins = log_ins.finalize().into_bytes().into();
        Self { cipher: XChaCha20Poly1305::new(&(*key).into()), fingerprint, log_ins }
    }
}

/// What anybody may know of a document's secrets: the kind of the current one, its public key, and the Unix second
/// at which the last of the replaced ones ends.
pub fn known(document: &Document) -> Option<KnownSecrets<'_>> {
    let entries = document.get(SEALED)?.as_array()?;
    let current = entries.first()?;
    Some(KnownSecrets {
        kind: current["kind"].as_str().and_then(SecretKind::named),
        public_key: current["public_key"].as_str(),
        old_until: entries.iter().filter_map(until).max(),
    })
}

/// See [`known`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownSecrets<'a> {
    /// What the current secret signs with.
    pub kind: Option<SecretKind>,
    /// `whpk_…` of a current private key.
    pub public_key: Option<&'a str>,
    /// When the last replaced secret ends.
    pub old_until: Option<i64>,
}

/// A key that is shorter than a block of SHA-256 is filled up with zeros, by the definition of HMAC.
fn block(key: &[u8; 32]) -> [u8; 64] {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    block
}

fn without_ended(sealed: Value, now: i64) -> Value {
    match sealed {
        Value::Array(entries) => {
            entries.into_iter().filter(|entry| until(entry).is_none_or(|until| until > now)).collect()
        }
        other => other,
    }
}

fn until(entry: &Value) -> Option<i64> {
    entry["until"].as_i64()
}

fn id(document: &Document) -> &str {
    document.get("_id").and_then(Value::as_str).unwrap_or_default()
}

fn bound_to(id: &str) -> String {
    format!("{USE}\0{id}")
}

fn seconds(ms: u64) -> i64 {
    i64::try_from(ms.div_ceil(1000)).unwrap_or(i64::MAX)
}
