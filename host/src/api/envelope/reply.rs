//! What a route says with success, before the envelope goes around it.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Paging, RequestWarning};
use crate::api::error::Failure;
use crate::api::typed::TypedDocument;
use crate::model::Document;

/// What a route says with success: data of the shape `T`. The envelope goes around it; [`super::wrap`] writes both.
#[derive(Debug)]
pub(in crate::api) struct Reply<T, const STATUS: u16 = 200> {
    said: ResponseBody,
    shape: PhantomData<fn() -> T>,
}

/// What most routes answer.
pub(in crate::api) type Answer<T, const STATUS: u16 = 200> = Result<Reply<T, STATUS>, Failure>;

/// An array that is shown whole.
pub(in crate::api) struct ListBody<T>(PhantomData<fn() -> T>);

/// One page of a longer array.
pub(in crate::api) struct PagedData<T>(PhantomData<fn() -> T>);

/// An answer without an envelope: a file, figures, a page. Its route describes it.
pub(in crate::api) struct RawResponse(pub(in crate::api) Response);

impl IntoResponse for RawResponse {
    fn into_response(self) -> Response {
        self.0
    }
}

/// A reply on its way to the envelope.
#[derive(Debug, Default)]
pub(in crate::api) struct ResponseBody {
    /// JSON, written once.
    pub(super) data: String,
    /// In place of a digest of the data.
    pub(super) revision: Option<String>,
    /// In place of the token that was used.
    pub(super) auth_token: Option<String>,
    pub(super) warnings: Option<Vec<RequestWarning>>,
    pub(super) paging: Option<Paging>,
    /// Fields of the envelope that only this route has.
    pub(super) more: Document,
    pub(in crate::api) location: Option<String>,
}

impl<T, const STATUS: u16> Reply<T, STATUS> {
    /// Of data that is JSON already.
    pub(in crate::api) fn raw(data: impl Into<Value>) -> Self {
        Self::text(data.into().to_string())
    }

    /// Of data that is written already.
    fn text(data: String) -> Self {
        Self { said: ResponseBody { data, ..ResponseBody::default() }, shape: PhantomData }
    }

    pub(in crate::api) fn beside(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.said.more.insert(key.to_owned(), value.into());
        self
    }

    /// Says where what was made can be found.
    pub(in crate::api) fn at(mut self, location: &str) -> Self {
        self.said.location = Some(location.to_owned());
        self
    }

    /// Names the document's revision, in place of a digest of the data.
    pub(in crate::api) fn revision(mut self, doc: &Document) -> Self {
        self.said.revision = doc.get("_rev").and_then(Value::as_str).map(str::to_owned);
        self
    }

    /// Names the token to go on with, in place of the one that was used.
    pub(in crate::api) fn auth_token(mut self, token: String) -> Self {
        self.said.auth_token = Some(token);
        self
    }

    pub(in crate::api) fn warnings(mut self, warnings: Vec<RequestWarning>) -> Self {
        self.said.warnings = Some(warnings).filter(|warnings| !warnings.is_empty());
        self
    }
}

impl<T: Default + Serialize + DeserializeOwned, const STATUS: u16> Reply<T, STATUS> {
    /// Of a document, which has whatever other fields its owner gave it.
    pub(in crate::api) fn document(document: Document) -> Self {
        Self::raw(TypedDocument::<T>::read(document).into_document())
    }
}

impl<T: Default + Serialize + DeserializeOwned> Reply<ListBody<T>> {
    pub(in crate::api) fn documents(documents: impl Iterator<Item = Document>) -> Self {
        let read = documents.map(|document| TypedDocument::<T>::read(document).into_document());
        Self::raw(read.map(Value::Object).collect::<Vec<_>>())
    }
}

impl<T: Serialize, const STATUS: u16> Reply<T, STATUS> {
    pub(in crate::api) fn of(data: &T) -> Self {
        Self::text(written(data))
    }
}

impl<T: Serialize, const STATUS: u16> Reply<ListBody<T>, STATUS> {
    pub(in crate::api) fn many(items: &[T]) -> Self {
        Self::text(written(&items))
    }
}

impl<T: Serialize> Reply<PagedData<T>> {
    /// A page, where it began, and where the next one begins.
    pub(in crate::api) fn page(items: &[T], start: Option<String>, next: Option<String>) -> Self {
        Self::paged(written(&items), items.len(), start, next)
    }
}

impl<T> Reply<PagedData<T>> {
    /// A page of items that are written already.
    pub(in crate::api) fn written_page(
        items: &[String],
        start: Option<String>,
        next: Option<String>,
    ) -> Self {
        Self::paged(format!("[{}]", items.join(",")), items.len(), start, next)
    }

    fn paged(items: String, size: usize, start: Option<String>, next: Option<String>) -> Self {
        let mut reply = Self::text(items);
        reply.said.paging =
            Some(Paging { page_size: size, start_key: start, next_start_key: next, follow_key: None });
        reply
    }

    /// Says where an ascending listing goes on with what comes after this page, also later.
    pub(in crate::api) fn follow_key(mut self, key: String) -> Self {
        self.said.paging = self.said.paging.map(|paging| Paging { follow_key: Some(key), ..paging });
        self
    }
}

/// Nothing that is answered has a key that is no text or a writer that fails.
pub(in crate::api) fn written(data: &impl Serialize) -> String {
    serde_json::to_string(data).unwrap_or_else(|_| "null".to_owned())
}

impl<T, const STATUS: u16> IntoResponse for Reply<T, STATUS> {
    /// The body is written by [`super::wrap`], which knows the request.
    fn into_response(self) -> Response {
        let mut response = StatusCode::from_u16(STATUS).unwrap_or_default().into_response();
        response.extensions_mut().insert(Arc::new(self.said));
        response
    }
}
