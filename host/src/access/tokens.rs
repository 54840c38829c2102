//! Which tokens there are: in memory, so that one which is revoked is gone at once, and in the store.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use foldhash::HashMap;
use parking_lot::{Mutex, RwLock};
use tokio_util::sync::CancellationToken;

use super::token::{self, Token, TokenHash};
use crate::clock::now_ms;
use crate::hooks::limits::{LimitName, LimitReached};
use crate::model::AccountId;
use crate::store::{Documents, Ledger, StoreError, StoredToken};

mod api_key;

/// The id under which the token in `admin.token` appears.
pub const ADMINISTRATOR: &str = "admin.token";

/// The last use is written down when the stored one is older than this.
const USE_WRITTEN_EVERY: Duration = Duration::from_mins(1);

/// How long a request may wait for that.
const USE_WRITTEN_WITHIN: Duration = Duration::from_millis(100);

/// Addresses that are remembered of each token.
const PLACES: usize = 8;

/// A token's owner, as requests see it.
pub struct Holder {
    /// The token's id.
    pub id: String,
    /// Whose it is; `None` for the one in `admin.token`.
    pub account: Option<AccountId>,
    /// Whether it reaches everything.
    pub administrator: bool,
    name: Option<String>,
    hash: TokenHash,
    created_ms: i64,
    created_by: String,
    used_ms: AtomicI64,
    written_ms: AtomicI64,
    places: Mutex<Vec<IpAddr>>,
    revoked: CancellationToken,
}

/// What a listing shows of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownToken {
    /// The token's id.
    pub id: String,
    /// Whose it is.
    pub account: AccountId,
    /// Whether it reaches everything.
    pub administrator: bool,
    /// What people call it.
    pub name: Option<String>,
    /// When it was made, Unix milliseconds.
    pub created_ms: i64,
    /// The id of the token that it was made with.
    pub created_by: String,
    /// When it was used last, Unix milliseconds.
    pub used_ms: Option<i64>,
}

/// What a new token is to be.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Whose it is.
    pub account: AccountId,
    /// Whether it reaches everything.
    pub administrator: bool,
    /// What people call it.
    pub name: Option<String>,
    /// The id of the token that it is made with.
    pub created_by: String,
}

/// Why a token was not made or revoked.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The account has as many as it may have.
    #[error("{0}; or revoke one first")]
    TooMany(LimitReached),
    /// There is no such token.
    #[error("there is no token {0}")]
    Unknown(String),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All tokens.
pub struct Tokens {
    documents: Arc<dyn Documents>,
    ledger: Arc<dyn Ledger>,
    administrator: Arc<Holder>,
    held: RwLock<HeldTokens>,
    /// One change at a time, so that the bound holds.
    changing: tokio::sync::Mutex<()>,
    /// One new API key at a time, so that an account has no two.
    renewing: tokio::sync::Mutex<()>,
}

/// The tokens in memory, with the ids of each account's.
#[derive(Default)]
struct HeldTokens {
    by_id: HashMap<String, Arc<Holder>>,
    by_account: HashMap<AccountId, BTreeSet<String>>,
}

impl HeldTokens {
    fn insert(&mut self, holder: Arc<Holder>) {
        if let Some(account) = &holder.account {
            self.by_account.entry(account.clone()).or_default().insert(holder.id.clone());
        }
        self.by_id.insert(holder.id.clone(), holder);
    }

    /// Takes one out; nobody gets in with it from here on.
    fn remove(&mut self, id: &str) -> bool {
        let Some(holder) = self.by_id.remove(id) else { return false };
        holder.revoked.cancel();
        if let Some(account) = &holder.account
            && let Some(ids) = self.by_account.get_mut(account)
        {
            ids.remove(id);
            if ids.is_empty() {
                self.by_account.remove(account);
            }
        }
        true
    }
}

impl Tokens {
    /// These tokens, which are stored.
    pub(super) fn new(
        held: Vec<StoredToken>,
        documents: Arc<dyn Documents>,
        ledger: Arc<dyn Ledger>,
        administrator: TokenHash,
    ) -> Self {
        let mut tokens = HeldTokens::default();
        held.into_iter().for_each(|token| tokens.insert(Arc::new(Holder::of(token))));
        Self {
            documents,
            ledger,
            administrator: Arc::new(Holder::first(administrator)),
            held: RwLock::new(tokens),
            changing: tokio::sync::Mutex::default(),
            renewing: tokio::sync::Mutex::default(),
        }
    }

    /// Whose token this is. Both comparisons are always made, and neither tells by its time how much was right.
    pub fn holder(&self, token: &str) -> Option<Arc<Holder>> {
        let hash = TokenHash::of(token);
        let first = self.administrator.hash.is(&hash);
        let named = token::id_in(token).and_then(|id| self.held.read().by_id.get(id).cloned());
        let own = named.as_ref().unwrap_or(&self.administrator).hash.is(&hash);
        match named {
            _ if first => Some(Arc::clone(&self.administrator)),
            Some(holder) if own => Some(holder),
            _ => None,
        }
    }

    /// Whose token has this id.
    pub(super) fn named(&self, id: &str) -> Option<Arc<Holder>> {
        self.held.read().by_id.get(id).cloned()
    }

    /// Remembers that a token is used now; now and then in the store too. That it cannot be written down does not
    /// keep anybody from using it.
    pub async fn note_use(&self, holder: &Holder) {
        let now = now_ms();
        holder.used_ms.store(now, Ordering::Relaxed);
        let written = holder.written_ms.load(Ordering::Relaxed);
        if holder.account.is_none() || now - written < USE_WRITTEN_EVERY.as_millis() as i64 {
            return;
        }
        let own_turn = holder.written_ms.compare_exchange(written, now, Ordering::Relaxed, Ordering::Relaxed);
        if own_turn.is_ok() {
            let writing = self.ledger.note_uses(vec![(holder.id.clone(), now)]);
            if let Ok(Err(error)) = tokio::time::timeout(USE_WRITTEN_WITHIN, writing).await {
                tracing::warn!(token = holder.id, %error, "the last use of a token was not written down");
            }
        }
    }

    /// Makes a token, where the account has fewer than `most`; this is the only time that anybody sees it.
    ///
    /// # Errors
    /// [`TokenError::TooMany`], or the store's.
    pub async fn create(&self, new: NewToken, most: u64) -> Result<(Token, ShownToken), TokenError> {
        self.create_beside(new, most, 0).await
    }

    /// The same, where so many of the account's tokens are to go for it.
    async fn create_beside(
        &self,
        new: NewToken,
        most: u64,
        going: u64,
    ) -> Result<(Token, ShownToken), TokenError> {
        let _turn = self.changing.lock().await;
        let wanted = (self.count(&new.account) + 1).saturating_sub(going);
        if wanted > most {
            let (limit, account) = (LimitName::Tokens, new.account.to_string());
            return Err(TokenError::TooMany(LimitReached { limit, account, most, wanted }));
        }
        let id = token::new_id();
        let token = Token::named(&id);
        let stored = StoredToken {
            id: id.clone(),
            account: new.account,
            administrator: new.administrator,
            name: new.name,
            hash: token.hash().bytes(),
            created_ms: now_ms(),
            created_by: new.created_by,
            used_ms: None,
        };
        self.ledger.add_token(stored.clone()).await?;
        let holder = Holder::of(stored);
        let shown = holder.shown();
        self.held.write().insert(Arc::new(holder));
        shown.map(|shown| (token, shown)).ok_or(TokenError::Unknown(id))
    }

    /// The ids of the tokens of an account, sorted; or of all, in no order.
    pub fn ids(&self, account: Option<&AccountId>) -> Vec<String> {
        let held = self.held.read();
        match account {
            Some(account) => held.by_account.get(account).into_iter().flatten().cloned().collect(),
            None => held.by_id.keys().cloned().collect(),
        }
    }

    /// How many tokens an account has.
    pub fn count(&self, account: &AccountId) -> u64 {
        self.held.read().by_account.get(account).map_or(0, |ids| ids.len() as u64)
    }

    /// One token by its id.
    pub fn show(&self, id: &str) -> Option<ShownToken> {
        self.held.read().by_id.get(id).and_then(|holder| holder.shown())
    }

    /// How many there are beside the one in `admin.token`.
    pub fn len(&self) -> usize {
        self.held.read().by_id.len()
    }

    /// Whether there is none beside the one in `admin.token`.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Revokes a token: from here on nobody gets in with it. Asked again after a failure of the store, it tries
    /// again to forget it there.
    ///
    /// # Errors
    /// [`TokenError::Unknown`], or the store's: then it would be back after a restart.
    pub async fn revoke(&self, id: &str) -> Result<(), TokenError> {
        let _turn = self.changing.lock().await;
        let held = self.held.write().remove(id);
        let stored = self.ledger.remove_tokens(vec![id.to_owned()]).await? > 0;
        if held || stored { Ok(()) } else { Err(TokenError::Unknown(id.to_owned())) }
    }

    /// Revokes all tokens of an account that is gone.
    ///
    /// # Errors
    /// The store's; the next start forgets them.
    pub async fn revoke_of(&self, account: &AccountId) -> Result<(), StoreError> {
        let _turn = self.changing.lock().await;
        let gone = self.ids(Some(account));
        if gone.is_empty() {
            return Ok(());
        }
        for id in &gone {
            self.held.write().remove(id);
        }
        self.ledger.remove_tokens(gone).await.map(drop)
    }

    /// Writes down the last uses that were not yet.
    pub(super) async fn close(&self) {
        let use_of = |holder: &Arc<Holder>| {
            let used = holder.used_ms.load(Ordering::Relaxed);
            (used > holder.written_ms.load(Ordering::Relaxed)).then(|| (holder.id.clone(), used))
        };
        let uses: Vec<_> = self.held.read().by_id.values().filter_map(use_of).collect();
        if uses.is_empty() {
            return;
        }
        if let Err(error) = self.ledger.note_uses(uses).await {
            tracing::warn!(%error, "the last uses of tokens were not written down");
        }
    }
}

impl Holder {
    fn first(hash: TokenHash) -> Self {
        Self {
            id: ADMINISTRATOR.to_owned(),
            account: None,
            administrator: true,
            name: None,
            hash,
            created_ms: 0,
            created_by: String::new(),
            used_ms: AtomicI64::new(0),
            written_ms: AtomicI64::new(0),
            places: Mutex::default(),
            revoked: CancellationToken::new(),
        }
    }

    pub(super) fn of(token: StoredToken) -> Self {
        Self {
            id: token.id,
            account: Some(token.account),
            administrator: token.administrator,
            name: token.name,
            created_ms: token.created_ms,
            created_by: token.created_by,
            used_ms: AtomicI64::new(token.used_ms.unwrap_or(0)),
            written_ms: AtomicI64::new(token.used_ms.unwrap_or(0)),
            ..Self::first(TokenHash::stored(token.hash))
        }
    }

    /// Nothing of the one in `admin.token`, which is in a file and not here.
    fn shown(&self) -> Option<ShownToken> {
        Some(ShownToken {
            id: self.id.clone(),
            account: self.account.clone()?,
            administrator: self.administrator,
            name: self.name.clone(),
            created_ms: self.created_ms,
            created_by: self.created_by.clone(),
            used_ms: Some(self.used_ms.load(Ordering::Relaxed)).filter(|used| *used > 0),
        })
    }

    /// Ends when the token is revoked.
    pub fn revoked(&self) -> CancellationToken {
        self.revoked.clone()
    }

    /// Whether it was used from this address before.
    pub(super) fn was_at(&self, place: IpAddr) -> bool {
        self.places.lock().contains(&place)
    }

    /// It is used from this address.
    pub(super) fn is_at(&self, place: IpAddr) {
        let mut places = self.places.lock();
        if places.last() != Some(&place) {
            places.retain(|known| *known != place);
            places.push(place);
            let forgotten = places.len().saturating_sub(PLACES);
            places.drain(..forgotten);
        }
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holder").field("id", &self.id).field("account", &self.account).finish_non_exhaustive()
    }
}
