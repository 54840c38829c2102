//! How a hook is made, read, changed and deleted, as Crossbar's webhooks resource does it.

use serde_json::Value;

use super::{Desk, EditError, Editor, fields};
use crate::hooks::Document;

/// Shown in answers, so it comes back in requests; it is derived and never stored.
const DISABLE_REASON: &str = "disable_reason";
const DISABLED_MESSAGE: &str = "pvt_disabled_message";

impl Editor {
    /// Makes a hook in an account and answers it as it was stored.
    ///
    /// # Errors
    /// [`EditError::NotFound`] without the account, [`EditError::Invalid`] when a field breaks a rule.
    pub async fn create_hook(&self, account: &str, public: Document) -> Result<Document, EditError> {
        let (desk, account) = (self.desk.clone(), account.to_owned());
        self.whole(async move { desk.create_hook(&account, public).await }).await
    }

    /// One hook of an account.
    ///
    /// # Errors
    /// [`EditError::NotFound`], also when the hook is another account's.
    pub async fn hook(&self, account: &str, hook: &str) -> Result<Document, EditError> {
        self.desk.hook(account, hook).await
    }

    /// The hooks of an account.
    ///
    /// # Errors
    /// [`EditError::NotFound`] without the account.
    pub async fn hooks(&self, account: &str) -> Result<Vec<Document>, EditError> {
        self.desk.account(account).await?;
        Ok(self.desk.store.hooks_of(account).await?)
    }

    /// The hooks of all accounts.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn all_hooks(&self) -> Result<Vec<Document>, EditError> {
        Ok(self.desk.store.hooks().await?)
    }

    /// Replaces the public fields of a hook. Unless `enabled` is false, an automatic disable is undone.
    ///
    /// # Errors
    /// As [`Editor::create_hook`] and [`Editor::hook`].
    pub async fn replace_hook(
        &self,
        account: &str,
        hook: &str,
        public: Document,
    ) -> Result<Document, EditError> {
        let (desk, account, hook) = (self.desk.clone(), account.to_owned(), hook.to_owned());
        self.whole(async move {
            let stored = desk.hook(&account, &hook).await?;
            desk.change_hook(fields::replaced(&stored, public)).await
        })
        .await
    }

    /// Sets the given top-level fields of a hook; the result is checked as a whole.
    ///
    /// # Errors
    /// As [`Editor::replace_hook`].
    pub async fn patch_hook(
        &self,
        account: &str,
        hook: &str,
        patch: Document,
    ) -> Result<Document, EditError> {
        let (desk, account, hook) = (self.desk.clone(), account.to_owned(), hook.to_owned());
        self.whole(async move {
            let stored = desk.hook(&account, &hook).await?;
            desk.change_hook(fields::patched(&stored, patch)).await
        })
        .await
    }

    /// Soft deletes a hook and answers what was deleted.
    ///
    /// # Errors
    /// As [`Editor::hook`].
    pub async fn delete_hook(&self, account: &str, hook: &str) -> Result<Document, EditError> {
        let (desk, account, hook) = (self.desk.clone(), account.to_owned(), hook.to_owned());
        self.whole(async move {
            let stored = desk.hook(&account, &hook).await?;
            desk.delete_hook(stored).await
        })
        .await
    }
}

/// What a client sees of a hook: its public fields, and why it was disabled automatically.
pub fn shown(doc: &Document) -> Document {
    let mut shown = fields::public(doc);
    if let Some(reason) = doc.get(DISABLED_MESSAGE).filter(|_| !is_enabled(doc)) {
        fields::set(&mut shown, DISABLE_REASON, reason.clone());
    }
    shown
}

/// A hook is enabled unless it says `false`.
pub fn is_enabled(doc: &Document) -> bool {
    !matches!(doc.get("enabled"), Some(Value::Bool(false)))
        && doc.get("enabled").and_then(Value::as_str) != Some("false")
}

impl Desk {
    async fn hook(&self, account: &str, hook: &str) -> Result<Document, EditError> {
        self.account(account).await?;
        let found = self.store.hook(hook).await?.filter(|doc| fields::owner(doc) == account);
        found.ok_or_else(|| EditError::NotFound { id: hook.to_owned() })
    }

    async fn create_hook(&self, account: &str, public: Document) -> Result<Document, EditError> {
        self.account(account).await?;
        let now = fields::now();
        let mut doc = Document::new();
        fields::set(&mut doc, "_id", fields::new_id());
        fields::set(&mut doc, "pvt_type", "webhook");
        fields::set(&mut doc, "pvt_account_id", account);
        fields::set(&mut doc, "pvt_account_db", "webhooks");
        fields::set(&mut doc, "pvt_created", now);
        fields::set(&mut doc, "pvt_vsn", "1");
        doc.extend(fields::client_fields(public));
        let saved = self.change_hook(doc).await?;
        // The account may have been deleted between the look at it and the save. Its deletion sweeps the hooks
        // that it sees; this one it may have missed.
        if self.store.account(account).await?.is_none() {
            self.delete_hook(saved).await?;
            return Err(EditError::NotFound { id: account.to_owned() });
        }
        Ok(saved)
    }

    async fn change_hook(&self, mut doc: Document) -> Result<Document, EditError> {
        doc.shift_remove(DISABLE_REASON);
        self.validator.validate_hook(&mut doc).map_err(EditError::Invalid)?;
        if is_enabled(&doc) {
            doc.shift_remove(DISABLED_MESSAGE);
        }
        fields::set(&mut doc, "pvt_modified", fields::now());
        let saved = self.store.save_hook(doc).await?;
        self.show_hook(&saved)?;
        Ok(saved)
    }

    pub(super) async fn delete_hook(&self, mut doc: Document) -> Result<Document, EditError> {
        fields::set(&mut doc, "pvt_deleted", true);
        fields::set(&mut doc, "pvt_modified", fields::now());
        let saved = self.store.save_hook(doc).await?;
        self.show_hook(&saved)?;
        Ok(saved)
    }
}
