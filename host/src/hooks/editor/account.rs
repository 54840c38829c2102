//! How an account is made, changed and deleted, and what hangs on it.

use futures_util::future::try_join_all;
use serde_json::Value;

use super::casts::{self, WantedType};
use super::{EditError, Editor, EditorInner, GrowthReservation, fields};
use crate::clock;
use crate::hooks::limits::{LimitName, OWN_LIMITS, document_bytes};
use crate::model::{AccountId, Document};
use crate::store::StoreError;

/// Hooks of a deleted account that are saved at once, so that they share commits.
const AT_ONCE: usize = 64;

impl Editor {
    /// Makes an account below `parent`, or a top-level one.
    ///
    /// # Errors
    /// [`EditError::NotFound`] without the parent, [`EditError::Invalid`] when a field breaks a rule,
    /// [`EditError::Limit`] when it would be too deep, too large or one too many.
    pub async fn create_account(
        &self,
        parent: Option<&str>,
        public: Document,
    ) -> Result<Document, EditError> {
        let (desk, parent) = (self.desk.clone(), parent.map(str::to_owned));
        self.whole(async move { desk.create_account(parent.as_deref(), public).await }).await
    }

    /// One account.
    ///
    /// # Errors
    /// [`EditError::NotFound`].
    pub async fn account(&self, id: &str) -> Result<Document, EditError> {
        self.desk.account(id).await
    }

    /// The ids of the accounts right below one.
    ///
    /// # Errors
    /// [`EditError::NotFound`].
    pub async fn children(&self, id: &str) -> Result<Vec<AccountId>, EditError> {
        self.desk.account(id).await?;
        Ok(self.desk.tables.children(id))
    }

    /// The ids of all accounts below one.
    ///
    /// # Errors
    /// [`EditError::NotFound`].
    pub async fn descendants(&self, id: &str) -> Result<Vec<AccountId>, EditError> {
        self.desk.account(id).await?;
        Ok(self.desk.tables.descendants(id))
    }

    /// Replaces the public fields of an account.
    ///
    /// # Errors
    /// As [`Editor::create_account`] and [`Editor::account`].
    pub async fn replace_account(&self, id: &str, public: Document) -> Result<Document, EditError> {
        let (desk, id) = (self.desk.clone(), id.to_owned());
        self.whole(async move {
            let stored = desk.account(&id).await?;
            desk.change_account(fields::replaced(&stored, public), document_bytes(&stored), None).await
        })
        .await
    }

    /// Sets the given top-level fields of an account.
    ///
    /// # Errors
    /// As [`Editor::replace_account`].
    pub async fn patch_account(&self, id: &str, patch: Document) -> Result<Document, EditError> {
        let (desk, id) = (self.desk.clone(), id.to_owned());
        self.whole(async move {
            let stored = desk.account(&id).await?;
            desk.change_account(fields::patched(&stored, patch), document_bytes(&stored), None).await
        })
        .await
    }

    /// Sets limits of an account, or takes away what was set where there is no number. What it has already stays.
    ///
    /// # Errors
    /// [`EditError::NotFound`], or the store's.
    pub async fn set_limits(
        &self,
        id: &str,
        limits: Vec<(LimitName, Option<u64>)>,
    ) -> Result<Document, EditError> {
        let (desk, id) = (self.desk.clone(), id.to_owned());
        self.whole(async move {
            let mut doc = desk.account(&id).await?;
            let mut own =
                doc.shift_remove(OWN_LIMITS).and_then(|set| set.as_object().cloned()).unwrap_or_default();
            for (name, value) in limits {
                match value {
                    Some(value) => fields::set(&mut own, name.as_str(), value),
                    None => drop(own.shift_remove(name.as_str())),
                }
            }
            if !own.is_empty() {
                fields::set(&mut doc, OWN_LIMITS, own);
            }
            desk.save_account(doc, None).await
        })
        .await
    }

    /// Soft deletes an account and its hooks; answers what was deleted.
    ///
    /// # Errors
    /// [`EditError::HasDescendants`] while there are accounts below it.
    pub async fn delete_account(&self, id: &str) -> Result<Document, EditError> {
        let (desk, id) = (self.desk.clone(), id.to_owned());
        self.whole(async move { desk.delete_account(&id).await }).await
    }
}

impl EditorInner {
    async fn create_account(&self, parent: Option<&str>, public: Document) -> Result<Document, EditError> {
        let (id, now) = (fields::new_id(), clock::gregorian_now());
        let tree = match parent {
            Some(parent) => tree_below(&self.account(parent).await?),
            None => Vec::new(),
        };
        let reserved = self.books.reserve_below(&tree)?;
        // A family of accounts answers to its root, and a root to itself.
        let reseller = tree.first().and_then(Value::as_str).unwrap_or(&id).to_owned();
        let mut doc = Document::new();
        fields::set(&mut doc, "_id", id.as_str());
        fields::set(&mut doc, "pvt_type", "account");
        fields::set(&mut doc, "pvt_account_id", id.as_str());
        fields::set(&mut doc, "pvt_tree", tree);
        fields::set(&mut doc, "pvt_reseller_id", reseller);
        fields::set(&mut doc, "pvt_created", now);
        fields::set(&mut doc, "pvt_vsn", "1");
        doc.extend(fields::client_fields(public));
        let saved = self.change_account(doc, 0, Some(reserved)).await?;
        // The parent may have been deleted meanwhile, without having seen this child.
        if let Some(parent) = parent
            && self.documents.account(parent).await?.is_none()
        {
            self.mark_account_deleted(saved).await?;
            return Err(EditError::NotFound { id: parent.to_owned() });
        }
        Ok(saved)
    }

    /// `before` is how many bytes its fields had, `reserved` what it was let in with.
    async fn change_account(
        &self,
        mut doc: Document,
        before: u64,
        reserved: Option<GrowthReservation<'_>>,
    ) -> Result<Document, EditError> {
        self.books.check_size(fields::id(&doc), &doc, before)?;
        casts::cast(&mut doc, &[("enabled", WantedType::Boolean)]);
        validate(&doc).map_err(EditError::Invalid)?;
        let enabled = doc.get("enabled").cloned().unwrap_or(Value::Bool(true));
        fields::set(&mut doc, "pvt_enabled", enabled);
        fields::set(&mut doc, "pvt_modified", clock::gregorian_now());
        let reserved = self.books.reserve_bytes(fields::id(&doc), &doc, before, reserved)?;
        self.save_account(doc, Some(reserved)).await
    }

    async fn save_account(
        &self,
        doc: Document,
        reserved: Option<GrowthReservation<'_>>,
    ) -> Result<Document, EditError> {
        let saved = self.documents.save_account(doc).await?;
        self.show_account(&saved, reserved);
        Ok(saved)
    }

    /// Hooks go first, so that a deletion that is broken off can be repeated. They go once more after the
    /// account: one that was made in between looks whether its account is still there, or is seen here.
    async fn delete_account(&self, id: &str) -> Result<Document, EditError> {
        let doc = self.account(id).await?;
        let count = self.books.usage(id).accounts_below;
        if count > 0 {
            return Err(EditError::HasDescendants { id: id.to_owned(), count });
        }
        self.delete_hooks_of(id).await?;
        let deleted = self.mark_account_deleted(doc).await?;
        self.delete_hooks_of(id).await?;
        Ok(deleted)
    }

    async fn delete_hooks_of(&self, account: &str) -> Result<(), EditError> {
        for hooks in self.documents.hooks_of(account).await?.chunks(AT_ONCE) {
            try_join_all(hooks.iter().map(|hook| async {
                match self.delete_hook(hook.clone()).await {
                    // Somebody else changed it meanwhile; the second sweep sees it.
                    Ok(_) | Err(EditError::Store(StoreError::Conflict { .. })) => Ok(()),
                    Err(error) => Err(error),
                }
            }))
            .await?;
        }
        Ok(())
    }

    async fn mark_account_deleted(&self, mut doc: Document) -> Result<Document, EditError> {
        fields::set(&mut doc, "pvt_deleted", true);
        fields::set(&mut doc, "pvt_modified", clock::gregorian_now());
        self.save_account(doc, None).await
    }
}

/// The ancestors of a child: those of the parent, root first, then the parent.
fn tree_below(parent: &Document) -> Vec<Value> {
    let mut tree = parent.get("pvt_tree").and_then(Value::as_array).cloned().unwrap_or_default();
    tree.push(Value::String(fields::id(parent).to_owned()));
    tree
}

fn validate(doc: &Document) -> Result<(), Value> {
    let wrong = |field: &str, code: &str, message: &str| Err(fields::invalid(field, code, message));
    match doc.get("name") {
        None => return wrong("name", "required", "an account needs a name"),
        Some(Value::String(name)) if name.is_empty() => {
            return wrong("name", "minLength", "the name must have at least 1 character");
        }
        Some(Value::String(name)) if name.chars().count() > 128 => {
            return wrong("name", "maxLength", "the name must have at most 128 characters");
        }
        Some(Value::String(_)) => {}
        Some(_) => return wrong("name", "type", "the name must be a string"),
    }
    match doc.get("realm") {
        None | Some(Value::String(_)) => {}
        Some(_) => return wrong("realm", "type", "the realm must be a string"),
    }
    match doc.get("enabled") {
        None | Some(Value::Bool(_)) => Ok(()),
        Some(_) => wrong("enabled", "type", "enabled must be true or false"),
    }
}
