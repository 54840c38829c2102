//! `POST /backup`: a copy of everything that the store keeps, as a file, while the host goes on.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _, TryStreamExt as _};
use tokio_util::io::ReaderStream;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{KnownFormat, RefOr, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

use super::Api;
use super::envelope::RawResponse;
use super::error::Failure;
use crate::store::{Backup, StoreError};

/// A copy that is not made by then is answered all the same, so that no limit on requests ends it. Should it fail
/// after that, the answer is broken off.
const ANSWERED_WITHIN: Duration = Duration::from_secs(20);

/// Bytes of the file that are read and sent in one go.
const CHUNK: usize = 256 << 10;

/// Copies the store
///
/// Everything that the embedded store keeps, as one file, while the host goes on.
#[utoipa::path(post, path = "/backup", tag = "Operation", operation_id = "backup", responses(
    (status = 200, description = "The copy", content_type = "application/vnd.sqlite3", body = inline(BackupFile))
))]
pub(super) async fn send(State(api): State<Arc<Api>>) -> Result<RawResponse, Failure> {
    let store = Arc::clone(&api.ledger);
    let mut copying = Box::pin(async move {
        let copied = store.backup().await;
        copied.map(BackupFile).inspect_err(|error| tracing::error!(%error, "no backup was made"))
    });
    match tokio::time::timeout(ANSWERED_WITHIN, &mut copying).await {
        Ok(copied) => {
            let backup = copied.map_err(failure)?;
            let bytes = backup.0.bytes;
            let mut response = answer(Body::from_stream(backup.chunks()));
            response.headers_mut().insert(header::CONTENT_LENGTH, bytes.into());
            Ok(RawResponse(response))
        }
        Err(_) => {
            let later = stream::once(copying).map_err(std::io::Error::other);
            Ok(RawResponse(answer(Body::from_stream(later.map_ok(BackupFile::chunks).try_flatten()))))
        }
    }
}

/// A copy on its way out. It is streamed and never in memory as a whole, so that its schema is told and not derived.
struct BackupFile(Backup);

impl ToSchema for BackupFile {}

impl PartialSchema for BackupFile {
    fn schema() -> RefOr<Schema> {
        let bytes = ObjectBuilder::new().schema_type(Type::String).description(Some("A file of bytes."));
        bytes.format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary))).build().into()
    }
}

impl BackupFile {
    fn chunks(self) -> impl Stream<Item = std::io::Result<Bytes>> {
        let Backup { file, place, .. } = self.0;
        ReaderStream::with_capacity(tokio::fs::File::from_std(file), CHUNK).map(move |chunk| {
            let _held = &place;
            chunk
        })
    }
}

fn answer(body: Body) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/vnd.sqlite3"));
    headers.insert(
        header::CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment; filename=\"hookline.backup\""),
    );
    response
}

/// Administrators may know what is wrong with the disk.
fn failure(error: StoreError) -> Failure {
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, "no_backup", error.to_string())
}
