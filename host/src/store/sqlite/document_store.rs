//! The embedded store as [`Documents`](crate::store::Documents): which query answers what, on which connection.

use async_trait::async_trait;

use super::SqliteStore;
use super::disabler;
use super::documents::{self, DocumentKind};
use crate::model::Document;
use crate::store::{
    AccountStore, DocumentVisitor, HookIdQuery, HookStore, ListedDocuments, ListedKind, ListingStore,
    MetadataStore, Result, SettingStore,
};

impl SqliteStore {
    async fn save(&self, kind: DocumentKind, doc: Document) -> Result<Document> {
        let mut doc = doc;
        documents::give_id(&mut doc);
        self.writer.write(1, move |writing| documents::save(writing.connection, kind, &doc)).await?
    }
}

#[async_trait]
impl AccountStore for SqliteStore {
    async fn accounts(&self) -> Result<Vec<Document>> {
        self.read(|connection| documents::all(connection, DocumentKind::Account)).await
    }

    async fn account(&self, id: &str) -> Result<Option<Document>> {
        let id = id.to_owned();
        self.look(move |connection| documents::one(connection, DocumentKind::Account, &id)).await
    }

    async fn save_account(&self, doc: Document) -> Result<Document> {
        self.save(DocumentKind::Account, doc).await
    }
}

#[async_trait]
impl HookStore for SqliteStore {
    async fn hooks(&self) -> Result<Vec<Document>> {
        self.read(|connection| documents::all(connection, DocumentKind::Hook)).await
    }

    async fn hooks_of(&self, account: &str) -> Result<Vec<Document>> {
        let account = account.to_owned();
        self.look(move |connection| documents::of_account(connection, DocumentKind::Hook, &account)).await
    }

    async fn hook(&self, id: &str) -> Result<Option<Document>> {
        let id = id.to_owned();
        self.look(move |connection| documents::one(connection, DocumentKind::Hook, &id)).await
    }

    async fn save_hook(&self, doc: Document) -> Result<Document> {
        self.save(DocumentKind::Hook, doc).await
    }
}

#[async_trait]
impl ListingStore for SqliteStore {
    async fn hook_ids(&self, wanted: HookIdQuery) -> Result<Vec<String>> {
        self.look(move |connection| documents::hook_ids(connection, &wanted)).await
    }

    async fn listed(&self, kind: ListedKind, ids: Vec<String>, bytes: usize) -> Result<ListedDocuments> {
        self.look(move |connection| documents::listed(connection, kind, &ids, bytes)).await
    }

    async fn stretch(&self, start: i64, end: i64, show: DocumentVisitor) -> Result<()> {
        self.look(move |connection| documents::stretch(connection, start, end, show)).await
    }

    async fn end_of_documents(&self) -> Result<i64> {
        self.read(documents::end).await
    }
}

#[async_trait]
impl MetadataStore for SqliteStore {
    async fn metadata(&self) -> Result<Vec<Document>> {
        self.read(|connection| documents::all(connection, DocumentKind::Metadata)).await
    }

    async fn save_metadata(&self, doc: Document) -> Result<Document> {
        self.save(DocumentKind::Metadata, doc).await
    }

    async fn delete_metadata(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.writer
            .write(1, move |writing| documents::delete(writing.connection, DocumentKind::Metadata, &id))
            .await
    }
}

#[async_trait]
impl SettingStore for SqliteStore {
    async fn setting(&self, name: &str) -> Result<Option<String>> {
        let name = name.to_owned();
        self.read(move |connection| documents::setting(connection, &name)).await
    }

    async fn set_setting(&self, name: &str, value: &str) -> Result<()> {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.writer.write(1, move |writing| documents::set_setting(writing.connection, &name, &value)).await
    }

    async fn configs(&self) -> Result<Vec<(String, Document)>> {
        self.read(disabler::configs).await
    }

    async fn save_config(&self, account: &str, doc: Document) -> Result<()> {
        let account = account.to_owned();
        self.writer.write(1, move |writing| disabler::save_config(writing.connection, &account, &doc)).await
    }
}
