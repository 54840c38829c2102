//! `GET /docs`: a reader for the API's description, all of whose files are inside the program.

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::{Arc, LazyLock};

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{Html, IntoResponse as _, Response};
use bytes::Bytes;
use flate2::read::DeflateDecoder;

use super::Api;
use super::asked::SlashAtEnd;
use super::envelope::RawResponse;
use super::error::Failure;
use super::openapi::{EntityTag, answered};

/// It runs scripts of this host and shows what it is told; it goes nowhere else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const PAGE: &str = include_str!("docs/page.html");
const START: &str = include_str!("docs/start.js");

/// A page to read this description with
#[utoipa::path(get, path = "/docs", tag = "Operation", operation_id = "docs", responses(
    (status = 200, description = "The page", content_type = "text/html", body = String)
))]
pub(super) async fn page(slash: Option<Extension<SlashAtEnd>>) -> RawResponse {
    if slash.is_none() {
        return RawResponse(guarded(Html(PAGE).into_response()));
    }
    // A browser would read the page's links below the slash.
    let page = PAGE.replacen("<head>", "<head><base href=\"../\">", 1);
    let mut page = guarded(Html(page).into_response());
    let policy = POLICY.replacen("base-uri 'none'", "base-uri 'self'", 1);
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        page.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    RawResponse(page)
}

/// A file of the page
#[utoipa::path(get, path = "/docs/{file}", tag = "Operation", operation_id = "docs_file", responses(
    (status = 200, description = "The file", content_type = "*/*", body = String),
    (status = 304, description = "It is still what the header `if-none-match` names")
))]
pub(super) async fn file(
    State(api): State<Arc<Api>>,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Result<RawResponse, Failure> {
    let found = FILES.get(file.as_str()).ok_or_else(|| Failure::bad_identifier(&file))?;
    let PageFile { kind, bytes, tag } = found.clone().ok_or_else(Failure::internal)?;
    Ok(RawResponse(guarded(answered(&api, &headers, kind, tag, bytes).await)))
}

include!(concat!(env!("OUT_DIR"), "/reader.rs"));

/// A file as it is sent.
#[derive(Clone)]
struct PageFile {
    kind: &'static str,
    bytes: Bytes,
    tag: EntityTag,
}

/// The page's files, unpacked once.
static FILES: LazyLock<HashMap<&'static str, Option<PageFile>>> = LazyLock::new(|| {
    let own = ("start.js", "text/javascript", false, START.as_bytes());
    let files = READER.iter().copied().chain([own]);
    files.map(|(name, kind, is_deflated, bytes)| (name, unpacked(kind, is_deflated, bytes))).collect()
});

fn unpacked(kind: &'static str, is_deflated: bool, bytes: &'static [u8]) -> Option<PageFile> {
    let mut bytes = Bytes::from_static(bytes);
    if is_deflated {
        let mut whole = Vec::new();
        DeflateDecoder::new(bytes.as_ref()).read_to_end(&mut whole).ok()?;
        bytes = whole.into();
    }
    Some(PageFile { kind, tag: EntityTag::of(&bytes), bytes })
}

fn guarded(mut response: Response) -> Response {
    let headers: [(HeaderName, &str); 2] =
        [(header::CONTENT_SECURITY_POLICY, POLICY), (header::CACHE_CONTROL, "no-cache")];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readers_files_are_whole() {
        let begins = |name: &str, bytes: &[u8]| {
            let file = FILES[name].as_ref().unwrap();
            assert!(file.bytes.starts_with(bytes), "{name}");
            file.bytes.len()
        };
        assert!(begins("swagger-ui.css", b".swagger-ui") > 100_000);
        assert!(begins("swagger-ui-bundle.js", b"/*!") > 1_000_000);
        assert!(begins("favicon-32x32.png", b"\x89PNG") > 500);
        assert_eq!(begins("start.js", START.as_bytes()), START.len());
        assert_eq!(FILES["favicon-32x32.png"].as_ref().unwrap().kind, "image/png");
    }
}
