//! `[limits]`: what one account may have where nothing else was set for it.

use super::rules::{self, SettingsReader};

/// What one account may have. `0` allows none, except where a range begins higher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountLimits {
    /// Hooks.
    pub hooks: u64,
    /// Bytes of one hook's fields as compact JSON; of the account's own fields likewise.
    pub hook_bytes: u64,
    /// Bytes of all its hooks and of its own fields together.
    pub documents_bytes: u64,
    /// Accounts below it, at any depth.
    pub accounts_below: u64,
    /// Levels of the account tree, counted from the topmost account, which is the first.
    pub depth: u64,
    /// Access tokens.
    pub tokens: u64,
}

/// The largest value of each limit, which an account's own may not exceed either.
pub const MOST: AccountLimits = AccountLimits {
    hooks: 1_000_000,
    hook_bytes: 16 << 20,
    documents_bytes: 1 << 40,
    accounts_below: 10_000_000,
    depth: 10_000,
    tokens: 100_000,
};

pub(super) fn read(reader: &mut SettingsReader<'_>) -> Option<AccountLimits> {
    let hooks = reader.read("limits.hooks", |v| rules::number(v, 0, MOST.hooks));
    let hook_bytes = reader.read("limits.hook_bytes", |v| rules::number(v, 1, MOST.hook_bytes));
    let documents_bytes =
        reader.read("limits.documents_bytes", |v| rules::number(v, 1, MOST.documents_bytes));
    let accounts_below = reader.read("limits.accounts_below", |v| rules::number(v, 0, MOST.accounts_below));
    let depth = reader.read("limits.depth", |v| rules::number(v, 1, MOST.depth));
    let tokens = reader.read("limits.tokens", |v| rules::number(v, 0, MOST.tokens));
    Some(AccountLimits {
        hooks: hooks?,
        hook_bytes: hook_bytes?,
        documents_bytes: documents_bytes?,
        accounts_below: accounts_below?,
        depth: depth?,
        tokens: tokens?,
    })
}
