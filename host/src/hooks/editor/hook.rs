//! How a hook is made, read, changed and deleted, as Crossbar's webhooks resource does it.

use serde_json::Value;

use super::client_fields::{self, HeadersName};
use super::{EditError, Editor, EditorInner, GrowthReservation, fields};
use crate::clock;
use crate::hooks::limits::document_bytes;
use crate::hooks::vault::{self, SecretChange};
use crate::model::Document;
use crate::model::sign::Secret;
use crate::store::StoreError;

const DISABLE_REASON: &str = "disable_reason";
pub(super) const DISABLED_MESSAGE: &str = "pvt_disabled_message";
const SECRET: &str = "secret";
const SECRET_SET: &str = "secret_set";
const PUBLIC_KEY: &str = "public_key";
const OLD_SECRET_UNTIL: &str = "old_secret_until";

/// Shown in answers, so they come back in requests; they are derived and never stored.
const DERIVED: [&str; 4] = [DISABLE_REASON, SECRET_SET, PUBLIC_KEY, OLD_SECRET_UNTIL];

/// How often a hook is disabled or enabled anew when somebody else changes it meanwhile.
pub(super) const PATIENCE: usize = 5;

impl Editor {
    /// Makes a hook in an account and answers it as it was stored. Where a change sets a secret, the answer alone
    /// carries it in clear, as `secret`.
    ///
    /// # Errors
    /// [`EditError::NotFound`] without the account, [`EditError::Invalid`] when a field breaks a rule,
    /// [`EditError::Limit`] when it is too large or one too many.
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

    /// The hooks of an account, all of them at once: for one that is known to have few.
    ///
    /// # Errors
    /// [`EditError::NotFound`] without the account.
    pub async fn hooks(&self, account: &str) -> Result<Vec<Document>, EditError> {
        self.desk.account(account).await?;
        Ok(self.desk.documents.hooks_of(account).await?)
    }

    /// Replaces the public fields of a hook, but for those that KAZOO's clients do not know where they are left out.
    /// Unless `enabled` is false, an automatic disable is undone.
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
            let mut public = public;
            let headers = client_fields::translate(&mut public, Some(&stored)).map_err(EditError::Invalid)?;
            let secret = SecretChange::taken_from(&mut public);
            client_fields::keep(&stored, &mut public);
            let change = HookChange { secret, headers, before: document_bytes(&stored) };
            desk.change_hook(fields::replaced(&stored, public), &change, None).await.map(with_secret)
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
            let mut stored = desk.hook(&account, &hook).await?;
            let mut patch = patch;
            let headers = client_fields::translate(&mut patch, Some(&stored)).map_err(EditError::Invalid)?;
            let secret = SecretChange::taken_from(&mut patch);
            let change = HookChange { secret, headers, before: document_bytes(&stored) };
            client_fields::settle(&mut stored);
            desk.change_hook(fields::patched(&stored, patch), &change, None).await.map(with_secret)
        })
        .await
    }

    /// Switches a hook off for a reason that its owner is shown as `disable_reason`; says whether it was on.
    ///
    /// # Errors
    /// As [`Editor::hook`], and when others change the hook again and again meanwhile.
    pub async fn disable_hook(&self, account: &str, hook: &str, reason: &str) -> Result<bool, EditError> {
        let (desk, account, hook) = (self.desk.clone(), account.to_owned(), hook.to_owned());
        let reason = reason.to_owned();
        self.whole(async move {
            let mut tries = 1;
            loop {
                match desk.disable_hook(&account, &hook, &reason).await {
                    Err(EditError::Store(StoreError::Conflict { .. })) if tries < PATIENCE => tries += 1,
                    ended => return ended,
                }
            }
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

/// What a client sees of a hook: its public fields, that it has a secret, and why it was disabled automatically.
pub fn shown(doc: &Document) -> Document {
    let mut shown = fields::public(doc);
    client_fields::show(doc, &mut shown);
    if let Some(known) = vault::known(doc) {
        fields::set(&mut shown, SECRET_SET, true);
        if let Some(public_key) = known.public_key {
            fields::set(&mut shown, PUBLIC_KEY, public_key);
        }
        if let Some(until) = known.old_until.and_then(fields::iso_time) {
            fields::set(&mut shown, OLD_SECRET_UNTIL, until);
        }
    }
    if let Some(reason) = disable_reason(doc) {
        fields::set(&mut shown, DISABLE_REASON, reason.clone());
    }
    shown
}

/// What a client sees of a hook that was deleted just now.
pub fn shown_deleted(doc: &Document) -> Document {
    let mut shown = fields::public_deleted(doc);
    client_fields::show(doc, &mut shown);
    shown
}

/// What of a hook is allowed and seldom meant: its field, what comes of it and what would be better.
pub fn warnings(doc: &Document) -> Vec<(&'static str, &'static str)> {
    let says = |field: &str, word: &str| {
        doc.get(field).and_then(Value::as_str).is_some_and(|text| text.eq_ignore_ascii_case(word))
    };
    if vault::known(doc).is_none() {
        return Vec::new();
    }
    if says("http_verb", "get") {
        let message = "a get has no body to sign: its signature covers id and time, not the query, and libraries for \
                       Standard Webhooks refuse it; use post with format json";
        return vec![("http_verb", message)];
    }
    if !says("format", "json") {
        let message = "requests are signed, and libraries for Standard Webhooks read what they have checked as JSON: they \
                       refuse a form; use format json";
        return vec![("format", message)];
    }
    Vec::new()
}

/// Why the host has switched a hook off.
pub fn disable_reason(doc: &Document) -> Option<&Value> {
    doc.get(DISABLED_MESSAGE).filter(|_| !is_enabled(doc))
}

/// A hook is enabled unless it says `false`.
pub fn is_enabled(doc: &Document) -> bool {
    !matches!(doc.get("enabled"), Some(Value::Bool(false)))
        && doc.get("enabled").and_then(Value::as_str) != Some("false")
}

/// What a change is about beside the fields.
struct HookChange {
    secret: SecretChange,
    /// Under which name the headers were written.
    headers: HeadersName,
    /// How many bytes the fields had.
    before: u64,
}

impl EditorInner {
    async fn hook(&self, account: &str, hook: &str) -> Result<Document, EditError> {
        self.account(account).await?;
        let found = self.documents.hook(hook).await?.filter(|doc| fields::owner(doc) == account);
        found.ok_or_else(|| EditError::NotFound { id: hook.to_owned() })
    }

    async fn create_hook(&self, account: &str, mut public: Document) -> Result<Document, EditError> {
        self.account(account).await?;
        let reserved = self.books.reserve_hook(account)?;
        self.books.check_size(account, &public, 0)?;
        let headers = client_fields::translate(&mut public, None).map_err(EditError::Invalid)?;
        let secret = SecretChange::taken_from(&mut public);
        if matches!(secret, SecretChange::Set(_)) {
            // What checks signatures reads JSON.
            public.entry("format").or_insert_with(|| "json".into());
        }
        let now = clock::gregorian_now();
        let mut doc = Document::new();
        fields::set(&mut doc, "_id", fields::new_id());
        fields::set(&mut doc, "pvt_type", "webhook");
        fields::set(&mut doc, "pvt_account_id", account);
        fields::set(&mut doc, "pvt_account_db", "webhooks");
        fields::set(&mut doc, "pvt_created", now);
        fields::set(&mut doc, "pvt_vsn", "1");
        doc.extend(fields::client_fields(public));
        let change = HookChange { secret, headers, before: 0 };
        let (saved, secret) = self.change_hook(doc, &change, Some(reserved)).await?;
        // The account may have been deleted between the look at it and the save. Its deletion sweeps the hooks
        // that it sees; this one it may have missed.
        if self.documents.account(account).await?.is_none() {
            self.delete_hook(saved).await?;
            return Err(EditError::NotFound { id: account.to_owned() });
        }
        Ok(with_secret((saved, secret)))
    }

    /// `reserved` is what it was let in with.
    async fn change_hook(
        &self,
        mut doc: Document,
        change: &HookChange,
        reserved: Option<GrowthReservation<'_>>,
    ) -> Result<(Document, Option<Secret>), EditError> {
        client_fields::settle(&mut doc);
        for field in DERIVED {
            doc.shift_remove(field);
        }
        // Before it is looked at field by field.
        self.books.check_size(fields::owner(&doc), &doc, change.before)?;
        match &change.secret {
            SecretChange::Keep => {}
            SecretChange::Remove => drop(doc.shift_remove(vault::SEALED)),
            SecretChange::Set(secret) => fields::set(&mut doc, SECRET, secret.clone()),
        }
        let checked = self.validator.validate_hook(&mut doc);
        // From here on it stands nowhere in clear but in the answer.
        doc.shift_remove(SECRET);
        checked.map_err(|errors| EditError::Invalid(client_fields::named(errors, change.headers)))?;
        let secret = self.vault.apply(&mut doc, &change.secret, clock::unix_now());
        let secret = secret.map_err(|why| EditError::Invalid(fields::invalid(SECRET, "error", &why)))?;
        if is_enabled(&doc) {
            doc.shift_remove(DISABLED_MESSAGE);
        }
        fields::set(&mut doc, "pvt_modified", clock::gregorian_now());
        let reserved = self.books.reserve_bytes(fields::owner(&doc), &doc, change.before, reserved)?;
        let saved = self.save_hook(doc, Some(reserved)).await?;
        Ok((saved, secret))
    }

    async fn disable_hook(&self, account: &str, hook: &str, reason: &str) -> Result<bool, EditError> {
        let mut doc = self.hook(account, hook).await?;
        if !is_enabled(&doc) {
            return Ok(false);
        }
        fields::set(&mut doc, "enabled", false);
        fields::set(&mut doc, DISABLED_MESSAGE, reason);
        // `pvt_modified` is the owner's; the original leaves it alone here, too.
        self.save_hook(doc, None).await?;
        Ok(true)
    }

    pub(super) async fn delete_hook(&self, mut doc: Document) -> Result<Document, EditError> {
        fields::set(&mut doc, "pvt_deleted", true);
        fields::set(&mut doc, "pvt_modified", clock::gregorian_now());
        self.save_hook(doc, None).await
    }

    pub(super) async fn save_hook(
        &self,
        doc: Document,
        reserved: Option<GrowthReservation<'_>>,
    ) -> Result<Document, EditError> {
        let saved = self.documents.save_hook(doc).await?;
        self.show_hook(&saved, reserved)?;
        Ok(saved)
    }
}

/// The document as it was stored, with the secret that a client is to see this once.
fn with_secret((mut saved, secret): (Document, Option<Secret>)) -> Document {
    if let Some(secret) = secret {
        fields::set(&mut saved, SECRET, secret.reveal());
    }
    saved
}
