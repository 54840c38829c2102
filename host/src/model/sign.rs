//! What a request is signed with and what its signature headers say, as Standard Webhooks has it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Before the base64 of a shared secret (`v1`, HMAC-SHA256).
pub const SHARED: &str = "whsec_";

/// Before the base64 of a private key (`v1a`, ed25519).
pub const PRIVATE: &str = "whsk_";

/// Before the base64 of a public key.
pub const PUBLIC: &str = "whpk_";

/// Where the older kind of signature goes when a hook only says that it wants one.
pub const LEGACY_HEADER: &str = "x-hub-signature-256";

/// Bytes that a shared secret may have; the specification's limits.
const SHARED_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// What a hook signs with, by the name that the specification gives its signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretKind {
    /// `v1`: both sides know the secret.
    Shared,
    /// `v1a`: the receiver knows the public key only.
    Pair,
}

impl SecretKind {
    /// `v1` or `v1a`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "v1",
            Self::Pair => "v1a",
        }
    }

    /// The kind with this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Shared, Self::Pair].into_iter().find(|kind| kind.as_str() == name)
    }
}

/// Why a text is no secret. Says nothing of the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSecret {
    /// Neither of the two prefixes.
    #[error("must begin with {SHARED} (a shared secret) or {PRIVATE} (an ed25519 private key)")]
    Prefix,
    /// Not base64.
    #[error("must have standard base64 with padding behind {0}")]
    Base64(&'static str),
    /// Too few or too many bytes.
    #[error("must have 24 to 64 bytes in base64 behind {SHARED}, and has {0}")]
    SharedLength(usize),
    /// Neither a seed nor a seed with its public key.
    #[error(
        "must have an ed25519 seed (32 bytes), or seed and public key (64 bytes), in base64 behind {PRIVATE}"
    )]
    PairLength,
    /// The second half is not the public key of the first.
    #[error("has a public key that does not belong to its private key behind {PRIVATE}")]
    WrongPublicKey,
}

/// One secret of a hook. It does not show itself in logs.
#[derive(Clone)]
pub struct Secret {
    text: String,
    key: SigningKeyKind,
}

#[derive(Clone)]
enum SigningKeyKind {
    /// With the secret worked in already.
    Shared(Hmac<Sha256>),
    Pair(Box<SigningKey>),
}

impl Secret {
    /// Reads a secret as users write it: `whsec_…` or `whsk_…`.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self, BadSecret> {
        let decode = |base64: &str, prefix| STANDARD.decode(base64).map_err(|_| BadSecret::Base64(prefix));
        let key = if let Some(base64) = text.strip_prefix(SHARED) {
            let bytes = decode(base64, SHARED)?;
            if !SHARED_BYTES.contains(&bytes.len()) {
                return Err(BadSecret::SharedLength(bytes.len()));
            }
            // It takes keys of every length.
            SigningKeyKind::Shared(
                Hmac::new_from_slice(&bytes).map_err(|_| BadSecret::SharedLength(bytes.len()))?,
            )
        } else if let Some(base64) = text.strip_prefix(PRIVATE) {
            SigningKeyKind::Pair(Box::new(pair(&decode(base64, PRIVATE)?)?))
        } else {
            return Err(BadSecret::Prefix);
        };
        Ok(Self { text: text.to_owned(), key })
    }

    /// A new secret made of random bytes.
    pub fn from_random(kind: SecretKind, random: [u8; 32]) -> Self {
        let (prefix, key) = match kind {
            SecretKind::Shared => return Self::shared(&random),
            SecretKind::Pair => (PRIVATE, SigningKeyKind::Pair(Box::new(SigningKey::from_bytes(&random)))),
        };
        Self { text: format!("{prefix}{}", STANDARD.encode(random)), key }
    }

    fn shared(bytes: &[u8; 32]) -> Self {
        // A key that is shorter than a block of SHA-256 is filled up with zeros, by the definition of HMAC.
        let mut block = [0; 64];
        block[..bytes.len()].copy_from_slice(bytes);
        let key = SigningKeyKind::Shared(Hmac::new(&block.into()));
        Self { text: format!("{SHARED}{}", STANDARD.encode(bytes)), key }
    }

    /// The text that users write, in clear.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// What it signs with.
    pub fn kind(&self) -> SecretKind {
        match self.key {
            SigningKeyKind::Shared(_) => SecretKind::Shared,
            SigningKeyKind::Pair(_) => SecretKind::Pair,
        }
    }

    /// `whpk_…`, what a receiver of `v1a` signatures needs.
    pub fn public_key(&self) -> Option<String> {
        match &self.key {
            SigningKeyKind::Shared(_) => None,
            SigningKeyKind::Pair(pair) => {
                Some(format!("{PUBLIC}{}", STANDARD.encode(pair.verifying_key().as_bytes())))
            }
        }
    }

    /// `v1,…` or `v1a,…` over `{id}.{timestamp}.{body}`.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let head = format!("{id}.{timestamp}.");
        let signature = match &self.key {
            SigningKeyKind::Shared(hmac) => {
                let signed = hmac.clone().chain_update(head.as_bytes()).chain_update(body);
                STANDARD.encode(signed.finalize().into_bytes())
            }
            SigningKeyKind::Pair(pair) => {
                STANDARD.encode(pair.sign(&[head.as_bytes(), body].concat()).to_bytes())
            }
        };
        format!("{},{signature}", self.kind().as_str())
    }

    /// `sha256=…`: hexadecimal HMAC-SHA256 of the body alone, with the same key as `v1`.
    pub fn sign_legacy(&self, body: &[u8]) -> Option<String> {
        let SigningKeyKind::Shared(hmac) = &self.key else { return None };
        let signed = hmac.clone().chain_update(body).finalize().into_bytes();
        let hex: String = signed.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(format!("sha256={hex}"))
    }
}

fn pair(bytes: &[u8]) -> Result<SigningKey, BadSecret> {
    if let Ok(seed) = <&[u8; 32]>::try_from(bytes) {
        return Ok(SigningKey::from_bytes(seed));
    }
    let both = <&[u8; 64]>::try_from(bytes).map_err(|_| BadSecret::PairLength)?;
    SigningKey::from_keypair_bytes(both).map_err(|_| BadSecret::WrongPublicKey)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({}, …)", self.kind().as_str())
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// A secret and how long it signs.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidSecret {
    /// The secret.
    pub secret: Secret,
    /// Unix seconds from which on it does not sign any more; `None` for the current one.
    pub until: Option<i64>,
}

/// What a hook signs its requests with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HookSigning {
    /// The current secret first, then those that were replaced and still sign. None: nothing is signed.
    pub secrets: Vec<ValidSecret>,
    /// The header of the older signature, where one is wanted.
    pub legacy_header: Option<String>,
    /// Why the hook's secrets are not at hand although it has some: such a hook is not sent to.
    pub locked: Option<String>,
}

impl HookSigning {
    /// Nothing is signed.
    #[must_use]
    pub const fn none() -> Self {
        Self { secrets: Vec::new(), legacy_header: None, locked: None }
    }

    /// Whether requests are signed, or would be if the secrets were at hand.
    pub fn is_wanted(&self) -> bool {
        !self.secrets.is_empty() || self.locked.is_some()
    }

    /// The headers that sign one request, at `timestamp` (Unix seconds).
    ///
    /// # Errors
    /// Why the secrets are not at hand.
    pub fn headers(&self, id: &str, timestamp: i64, body: &[u8]) -> Result<Vec<(String, String)>, String> {
        if let Some(locked) = &self.locked {
            return Err(locked.clone());
        }
        let valid = self.secrets.iter().filter(|valid| valid.until.is_none_or(|until| timestamp < until));
        let valid: Vec<&Secret> = valid.map(|valid| &valid.secret).collect();
        if valid.is_empty() {
            return Ok(Vec::new());
        }
        let signatures: Vec<String> = valid.iter().map(|secret| secret.sign(id, timestamp, body)).collect();
        let mut headers = vec![("webhook-signature".to_owned(), signatures.join(" "))];
        // The older form has room for one signature: that of the newest secret that can make it.
        if let Some(name) = &self.legacy_header
            && let Some(signature) = valid.iter().find_map(|secret| secret.sign_legacy(body))
        {
            headers.push((name.clone(), signature));
        }
        Ok(headers)
    }
}

#[cfg(test)]
mod tests;
