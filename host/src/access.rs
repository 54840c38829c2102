//! Who reaches the host: which token is whose, how guessing is slowed, and who changed what.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::clock::unix_now;
use crate::model::AccountId;
use crate::store::{AuditKeep, Documents, Ledger, StoreError, StoredToken};
use audit::Audit;
use guesses::TokenGuesses;
use log_ins::{LogIn, LogIns};
use token::TokenHash;
use tokens::{Holder, Tokens};

pub mod audit;
pub mod guesses;
pub mod log_ins;
pub mod token;
pub mod tokens;

/// How often the log speaks of guesses.
const WARN_EVERY: Duration = Duration::from_mins(1);

/// Everything that decides who reaches the host, and remembers what they did.
pub struct Access {
    /// The tokens.
    pub tokens: Tokens,
    /// The tokens that a log-in answers.
    pub log_ins: LogIns,
    /// Who changed what.
    pub audit: Audit,
    /// What is counted.
    pub counters: AccessCounters,
    guesses: Mutex<TokenGuesses>,
    warned: Mutex<Option<Instant>>,
}

/// Requests that were turned away since the start.
#[derive(Debug, Default)]
pub struct AccessCounters {
    /// Without a token where one is needed, or with an unknown one.
    pub credentials: AtomicU64,
    /// With a token that does not reach so far.
    pub forbidden: AtomicU64,
    /// From an address that guessed too often.
    pub throttled: AtomicU64,
}

/// Whose token it is.
#[derive(Debug, Clone)]
pub enum Recognised {
    /// A known one.
    Holder(Arc<Holder>),
    /// Nobody's.
    Unknown,
    /// That of a log-in whose time is over, or whose API key was revoked.
    Ended,
    /// It was not looked at: too many wrong ones came from there. After this time one may come again.
    Wait(Duration),
}

/// What a token turned out to be.
enum FoundToken {
    Holder(Arc<Holder>),
    Ended,
    Nobody,
}

impl Access {
    /// Reads what is stored. Tokens of accounts that are not there any more are forgotten.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn open(
        documents: Arc<dyn Documents>,
        ledger: Arc<dyn Ledger>,
        administrator: TokenHash,
        keep: AuditKeep,
        log_ins: LogIns,
        exists: impl Fn(&AccountId) -> bool,
    ) -> Result<Self, StoreError> {
        let tokens = ledger.tokens().await?;
        let (held, orphans): (Vec<_>, Vec<_>) = tokens.into_iter().partition(|token| exists(&token.account));
        if !orphans.is_empty() {
            ledger.remove_tokens(orphans.into_iter().map(|token| token.id).collect()).await?;
        }
        Ok(Self::holding(held, documents, ledger, administrator, keep, log_ins))
    }

    /// With these tokens, which are stored.
    pub(crate) fn holding(
        held: Vec<StoredToken>,
        documents: Arc<dyn Documents>,
        ledger: Arc<dyn Ledger>,
        administrator: TokenHash,
        keep: AuditKeep,
        log_ins: LogIns,
    ) -> Self {
        Self {
            tokens: Tokens::new(held, documents, Arc::clone(&ledger), administrator),
            log_ins,
            audit: Audit::new(ledger, keep),
            counters: AccessCounters::default(),
            guesses: Mutex::default(),
            warned: Mutex::default(),
        }
    }

    /// Whose token this is, for a client at this address.
    ///
    /// While an address has to wait, no token is tried but those that it has used before: a guess costs time
    /// there, and a client that shares its address with whoever guesses works on.
    pub async fn recognise(&self, token: &str, from: IpAddr) -> Recognised {
        let found = match self.tokens.holder(token) {
            Some(holder) => FoundToken::Holder(holder),
            None => match self.log_ins.read(token, unix_now()) {
                Some(LogIn::Of(id)) => self.tokens.named(&id).map_or(FoundToken::Ended, FoundToken::Holder),
                Some(LogIn::Ended) => FoundToken::Ended,
                None => FoundToken::Nobody,
            },
        };
        self.judged(found, from).await
    }

    /// The same of an API key: a log-in does not lead to the next one, or none would ever end.
    pub async fn recognise_key(&self, key: &str, from: IpAddr) -> Recognised {
        self.judged(self.tokens.holder(key).map_or(FoundToken::Nobody, FoundToken::Holder), from).await
    }

    async fn judged(&self, found: FoundToken, from: IpAddr) -> Recognised {
        let now = Instant::now();
        let wait = self.guesses.lock().wait(from, now);
        match (found, wait) {
            (FoundToken::Holder(holder), Some(_)) if holder.was_at(from) => {
                self.tokens.note_use(&holder).await;
                Recognised::Holder(holder)
            }
            (_, Some(wait)) => Recognised::Wait(wait),
            (FoundToken::Holder(holder), None) => {
                holder.is_at(from);
                self.tokens.note_use(&holder).await;
                Recognised::Holder(holder)
            }
            // It was signed here, so that nobody has guessed.
            (FoundToken::Ended, None) => Recognised::Ended,
            (FoundToken::Nobody, None) => {
                self.guesses.lock().failed(from, now);
                self.warn_of_guesses(from, now);
                Recognised::Unknown
            }
        }
    }

    /// Now and then, so that whoever guesses does not fill the log.
    fn warn_of_guesses(&self, from: IpAddr, now: Instant) {
        let mut warned = self.warned.lock();
        let is_due = warned.is_none_or(|at| now.duration_since(at) >= WARN_EVERY);
        if is_due && self.guesses.lock().wait(from, now).is_some() {
            *warned = Some(now);
            tracing::warn!(address = %from, "too many wrong tokens came from this address, its next ones have to wait");
        }
    }

    /// Finishes what is being written.
    pub async fn close(&self) {
        self.audit.close().await;
        self.tokens.close().await;
    }
}

impl AccessCounters {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
