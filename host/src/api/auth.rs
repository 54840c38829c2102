//! Who may ask: the administrator's token, how it comes into the world, and what a request must carry.

use std::fmt;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest as _, Sha256};

use super::error::Failure;

const FILE: &str = "admin.token";

/// An access token in clear; it does not show itself in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// What the host keeps of a token.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl Token {
    /// A token of 32 random bytes, as URL-safe text.
    pub fn random() -> Self {
        let bytes: [u8; 32] = rand::random();
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
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

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl TokenHash {
    fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// Compares hashes, and all of their bytes, so that the time it takes says nothing about the token.
    pub fn admits(&self, token: &str) -> bool {
        let other = Self::of(token);
        let differing = self.0.iter().zip(other.0).fold(0, |sum, (a, b)| sum | (a ^ b));
        std::hint::black_box(differing) == 0
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
        return write(&path).with_context(|| format!("writing {}", path.display()));
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    warn_if_open(&path);
    let token = text.trim();
    if token.len() < 16 || !token.chars().all(|c| c.is_ascii_graphic()) {
        bail!(
            "{} holds no token: at least 16 visible ASCII characters are needed; remove the file to get a new one",
            path.display()
        );
    }
    Ok(Token(token.to_owned()))
}

/// The file appears whole or not at all: a crash leaves no half token.
fn write(path: &Path) -> anyhow::Result<Token> {
    let token = Token::random();
    let dir = path.parent().context("it has no folder")?;
    // Temporary files are readable by their owner only.
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    writeln!(file, "{}", token.reveal())?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    Ok(token)
}

#[cfg(unix)]
fn warn_if_open(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path).map_or(0, |file| file.permissions().mode() & 0o777);
    if mode & 0o077 != 0 {
        tracing::warn!(file = %path.display(), mode = format!("{mode:o}"), "others may read the administrator's token, set its mode to 600");
    }
}

#[cfg(not(unix))]
fn warn_if_open(_path: &Path) {}

/// Who asks. Every request carries one as an extension.
#[derive(Debug, Clone)]
pub(super) enum Caller {
    /// No token, or a wrong one.
    Anybody {
        /// Whether there was a token at all.
        token_given: bool,
    },
    /// The administrator.
    Administrator {
        /// The token, which the envelope repeats.
        token: String,
    },
}

impl Caller {
    pub(super) fn of(headers: &HeaderMap, administrator: &TokenHash) -> Self {
        match token(headers) {
            Some(token) if administrator.admits(token) => Self::Administrator { token: token.to_owned() },
            given => Self::Anybody { token_given: given.is_some() },
        }
    }
}

fn token(headers: &HeaderMap) -> Option<&str> {
    if let Some(token) = headers.get("x-auth-token") {
        return token.to_str().ok().map(str::trim);
    }
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Lets only the administrator through.
pub(super) async fn require_token(request: Request, next: Next) -> Result<Response, Failure> {
    match request.extensions().get::<Caller>() {
        Some(Caller::Administrator { .. }) => Ok(next.run(request).await),
        Some(Caller::Anybody { token_given: true }) => Err(Failure::credentials("the token is not known")),
        _ => Err(Failure::credentials("send a token as X-Auth-Token or as Authorization: Bearer")),
    }
}
