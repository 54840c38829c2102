//! What a token looks like, what the host keeps of it, and how the administrator's first one comes into the world.

use std::fmt;
use std::path::Path;

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::private_file::{mode_open_to_others, write_line};

/// The administrator's token in the data folder.
pub const FILE: &str = "admin.token";

/// What tokens that the host makes begin with, so that people and scanners know what they have found.
const PREFIX: &str = "hlt_";

/// An access token in clear; it does not show itself in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// What the host keeps of a token: a digest. The tokens are random and long, so that a slow one gains nothing.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl Token {
    /// A token of 32 random bytes.
    pub fn random() -> Self {
        Self(secret())
    }

    /// A token of 32 random bytes that names itself by this id.
    pub fn named(id: &str) -> Self {
        Self(format!("{PREFIX}{id}_{}", secret()))
    }

    /// The text that a client sends.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What the host keeps of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }
}

/// The id that a token names; nothing says yet that it is right.
pub fn id_in(token: &str) -> Option<&str> {
    token.strip_prefix(PREFIX)?.split_once('_').map(|(id, _)| id)
}

/// An id for a new token.
pub fn new_id() -> String {
    format!("{:016x}", rand::random::<u64>())
}

fn secret() -> String {
    let bytes: [u8; 32] = rand::random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl TokenHash {
    /// Of a token's text.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// As it was stored.
    pub fn stored(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// As it is stored.
    pub fn bytes(&self) -> [u8; 32] {
        self.0
    }

    /// Whether both are of one token. The time it takes says nothing.
    pub fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

/// The administrator's token of a data folder. The first start makes it (`admin.token`, readable by its owner
/// only); to change it, remove the file and start again.
///
/// # Errors
/// When the file cannot be written or read, or holds no token.
pub fn first_token(data_dir: &Path) -> anyhow::Result<Token> {
    std::fs::create_dir_all(data_dir).with_context(|| format!("making {}", data_dir.display()))?;
    let path = data_dir.join(FILE);
    if !path.try_exists().with_context(|| format!("looking for {}", path.display()))? {
        let token = Token::random();
        write_line(&path, token.reveal()).with_context(|| format!("writing {}", path.display()))?;
        return Ok(token);
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    if let Some(mode) = mode_open_to_others(&path) {
        tracing::warn!(file = %path.display(), mode = format!("{mode:o}"), "others may read the administrator's token, set its mode to 600");
    }
    let token = text.trim();
    if token.len() < 16 || !token.chars().all(|c| c.is_ascii_graphic()) {
        bail!(
            "{} holds no token: at least 16 visible ASCII characters are needed; remove the file to get a new one",
            path.display()
        );
    }
    Ok(Token(token.to_owned()))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn the_first_token_is_private_and_stays() {
        let dir = TempDir::new().unwrap();

        let token = first_token(dir.path()).unwrap();

        assert_eq!(token.reveal().len(), 64);
        assert!(token.reveal().bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_eq!(first_token(dir.path()).unwrap(), token);
        assert!(!format!("{token:?}{:?}", token.hash()).contains(token.reveal()));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(dir.path().join("admin.token")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_token_file_without_a_token_is_refused_by_name() {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("admin.token"), "\n").unwrap();

        let error = first_token(dir.path()).unwrap_err().to_string();

        assert!(error.contains("admin.token holds no token"), "{error}");
    }

    #[test]
    fn a_token_names_its_id_and_is_known_by_its_hash_alone() {
        let id = new_id();
        let token = Token::named(&id);
        let other = Token::named(&id);

        assert_eq!(id_in(token.reveal()), Some(id.as_str()));
        assert_eq!(token.reveal().len(), 4 + 16 + 1 + 64);
        assert!(TokenHash::of(token.reveal()).is(&token.hash()));
        assert!(!other.hash().is(&token.hash()));
        for foreign in ["", "hlt_", "hlt_abc", "abc_def"] {
            assert_eq!(id_in(foreign), None, "{foreign}");
        }
    }
}
