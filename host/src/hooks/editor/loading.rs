//! How stored documents get into the tables: all of them at the start, read on every core and put in their order; then
//! each as it was changed.

use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use parking_lot::Mutex;

use super::books::GrowthReservation;
use super::facts::{BookedIds, DocumentFacts, EntryKind};
use super::{EditError, Editor, EditorInner, EditorTables, fields};
use crate::hooks::accounts::AccountRecord;
use crate::model::{Document, Hook};
use crate::store::{ListedKind, StoreError};

/// Places of documents that are read in one go.
const STRETCH: i64 = 4_096;

/// Stretches that are read at once: as many as the store has readers for, and one that is being put.
const AT_ONCE: usize = 3;

/// What the first load found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadedDocuments {
    /// Accounts in memory.
    pub accounts: usize,
    /// Hooks in memory.
    pub hooks: usize,
    /// Hooks that are stored but cannot be worked with; each is logged.
    pub refused: usize,
}

/// A document that was read and is to be put.
struct ReadDocument {
    facts: DocumentFacts,
    content: ReadContent,
}

enum ReadContent {
    Deleted,
    Account(Option<AccountRecord>),
    Hook(Result<Box<Hook>, String>),
}

impl ReadDocument {
    fn of(kind: EntryKind, doc: &Document, tables: &dyn EditorTables) -> Self {
        let content = match kind {
            _ if fields::is_deleted(doc) => ReadContent::Deleted,
            EntryKind::Account => ReadContent::Account(AccountRecord::from_document(doc)),
            EntryKind::Hook => ReadContent::Hook(tables.read_hook(doc).map(Box::new)),
        };
        Self { facts: DocumentFacts::of(kind, doc), content }
    }
}

impl Editor {
    /// Puts everything that is stored into the tables, in the order in which it was made.
    ///
    /// # Errors
    /// When the store cannot be read. A hook that cannot be worked with is logged and counted.
    pub async fn load(&self) -> Result<LoadedDocuments, StoreError> {
        let mut loaded = LoadedDocuments::default();
        let end = self.desk.documents.end_of_documents().await?;
        let starts = (0..).map(|count| count * STRETCH).take_while(|start| *start < end);
        let reading = |start| read_stretch(Arc::clone(&self.desk), start);
        let mut stretches = stream::iter(starts).map(reading).buffered(AT_ONCE);
        while let Some(stretch) = stretches.try_next().await? {
            for read in stretch {
                self.desk.load(read, &mut loaded);
            }
        }
        Ok(loaded)
    }
}

/// Documents are parsed and looked through by those who read them, away from whoever puts them.
async fn read_stretch(desk: Arc<EditorInner>, start: i64) -> Result<Vec<ReadDocument>, StoreError> {
    let read = Arc::new(Mutex::new(Vec::new()));
    let (into, tables) = (Arc::clone(&read), Arc::clone(&desk.tables));
    let show = move |kind, doc: &Document| {
        let kind = match kind {
            ListedKind::Account => EntryKind::Account,
            ListedKind::Hook => EntryKind::Hook,
        };
        into.lock().push(ReadDocument::of(kind, doc, &*tables));
    };
    desk.documents.stretch(start, start + STRETCH, Box::new(show)).await?;
    let read = std::mem::take(&mut *read.lock());
    Ok(read)
}

impl EditorInner {
    fn load(&self, read: ReadDocument, loaded: &mut LoadedDocuments) {
        let (kind, id, owner) = (read.facts.kind, Arc::clone(&read.facts.id), Arc::clone(&read.facts.owner));
        match (kind, self.put(read, None)) {
            (EntryKind::Account, _) => loaded.accounts += 1,
            (EntryKind::Hook, Ok(())) => loaded.hooks += 1,
            (EntryKind::Hook, Err(reason)) => {
                loaded.refused += 1;
                let error = EditError::NotLoaded { id: id.as_ref().to_owned(), reason };
                tracing::warn!(hook = &*id, account = &*owner, %error, "a stored hook was not loaded");
            }
        }
    }

    pub(super) fn show_account(&self, doc: &Document, reserved: Option<GrowthReservation<'_>>) {
        // An account is never refused.
        self.put(ReadDocument::of(EntryKind::Account, doc, &*self.tables), reserved).ok();
    }

    pub(super) fn show_hook(
        &self,
        doc: &Document,
        reserved: Option<GrowthReservation<'_>>,
    ) -> Result<(), EditError> {
        let put = self.put(ReadDocument::of(EntryKind::Hook, doc, &*self.tables), reserved);
        put.map_err(|reason| EditError::NotLoaded { id: fields::id(doc).to_owned(), reason })
    }

    /// Whoever has the books has the turn, so that of two changes of a document the later one stays.
    fn put(&self, read: ReadDocument, reserved: Option<GrowthReservation<'_>>) -> Result<(), String> {
        let mut entries = self.books.entries();
        let id = Arc::clone(&read.facts.id);
        let Some(BookedIds { hook, owner }) = self.books.enter(&mut entries, read.facts, reserved) else {
            return Ok(());
        };
        match (read.content, hook) {
            (ReadContent::Deleted, Some(_)) => self.tables.remove_hook(&id),
            (ReadContent::Deleted, None) => self.tables.remove_account(&id),
            (ReadContent::Account(Some(account)), _) => {
                self.tables.put_account(AccountRecord { id: owner, ..account });
            }
            // One text for each id, whoever holds it.
            (ReadContent::Hook(hook), Some(id)) => {
                let hook = Hook { id, account: owner, ..*hook? };
                self.tables.put_hook(hook);
            }
            (ReadContent::Account(None), _) | (ReadContent::Hook(_), None) => {}
        }
        Ok(())
    }
}
