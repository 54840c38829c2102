//! Hooks that the host has switched off are switched on again, all of an account at once.

use super::hook::{DISABLED_MESSAGE, PATIENCE};
use super::{EditError, Editor, EditorInner, fields, is_enabled};
use crate::model::{AccountId, Document};
use crate::store::StoreError;

/// What was switched on in one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnabledHooks {
    /// The account.
    pub account: AccountId,
    /// How many hooks it has.
    pub hooks: usize,
    /// Those that are on again.
    pub enabled: Vec<String>,
}

impl Editor {
    /// Switches on the hooks of an account that the host has switched off, and with `descendants` those of all accounts
    /// below it. What their owners have switched off stays off. `pvt_modified` is left alone, as in the original.
    ///
    /// # Errors
    /// [`EditError::NotFound`] without the account; otherwise the store's. What was switched on before stays so.
    pub async fn enable_hooks(
        &self,
        account: &str,
        descendants: bool,
    ) -> Result<Vec<EnabledHooks>, EditError> {
        let (desk, account) = (self.desk.clone(), account.to_owned());
        self.whole(async move {
            desk.account(&account).await?;
            let mut accounts = vec![AccountId::from(account.as_str())];
            if descendants {
                accounts.extend(desk.tables.descendants(&account));
            }
            let mut done = Vec::with_capacity(accounts.len());
            for account in accounts {
                done.push(desk.enable_hooks_of(account).await?);
            }
            Ok(done)
        })
        .await
    }
}

impl EditorInner {
    async fn enable_hooks_of(&self, account: AccountId) -> Result<EnabledHooks, EditError> {
        let stored = self.documents.hooks_of(account.as_str()).await?;
        let mut enabled = Vec::new();
        for doc in stored.iter().filter(|doc| is_switched_off(doc)) {
            if self.enable_patiently(fields::id(doc)).await? {
                enabled.push(fields::id(doc).to_owned());
            }
        }
        Ok(EnabledHooks { account, hooks: stored.len(), enabled })
    }

    async fn enable_patiently(&self, hook: &str) -> Result<bool, EditError> {
        let mut tries = 1;
        loop {
            match self.enable(hook).await {
                Err(EditError::Store(StoreError::Conflict { .. })) if tries < PATIENCE => tries += 1,
                ended => return ended,
            }
        }
    }

    async fn enable(&self, hook: &str) -> Result<bool, EditError> {
        // It may have been deleted or changed since it was listed.
        let Some(mut doc) = self.documents.hook(hook).await?.filter(is_switched_off) else {
            return Ok(false);
        };
        fields::set(&mut doc, "enabled", true);
        doc.shift_remove(DISABLED_MESSAGE);
        self.save_hook(doc, None).await?;
        Ok(true)
    }
}

/// By the host, not by its owner.
fn is_switched_off(doc: &Document) -> bool {
    !is_enabled(doc) && doc.contains_key(DISABLED_MESSAGE)
}
