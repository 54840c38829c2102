//! `GET /docs`: a reader for the API's description, all of whose files are inside the program.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{Html, IntoResponse as _, Response};
use bytes::Bytes;

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
    Ok(RawResponse(guarded(answered(&api, &headers, &kind, tag, bytes).await)))
}

/// A file as it is sent.
#[derive(Clone)]
struct PageFile {
    kind: String,
    bytes: Bytes,
    tag: EntityTag,
}

/// The page's files, unpacked once.
static FILES: LazyLock<HashMap<&'static str, Option<PageFile>>> = LazyLock::new(|| {
    let names = ["start.js", "swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"];
    names.into_iter().map(|name| (name, unpacked(name))).collect()
});

fn unpacked(name: &str) -> Option<PageFile> {
    let (kind, bytes) = if name == "start.js" {
        ("text/javascript".to_owned(), Bytes::from_static(START.as_bytes()))
    } else {
        let found = utoipa_swagger_ui::serve(name, Arc::new(utoipa_swagger_ui::Config::default())).ok()??;
        (found.content_type, Bytes::from(found.bytes.into_owned()))
    };
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
