//! `GET /docs`: a reader for the API's description, all of whose files are inside the program.

use std::sync::Arc;

use axum::Extension;
use axum::extract::Path;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{Html, IntoResponse as _, Response};

use super::asked::SlashAtEnd;
use super::envelope::Bare;
use super::error::Failure;

/// It runs scripts of this host and shows what it is told; it goes nowhere else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const PAGE: &str = include_str!("docs/page.html");
const START: &str = include_str!("docs/start.js");

/// A page to read this description with
#[utoipa::path(get, path = "/docs", tag = "Operation", operation_id = "docs", responses(
    (status = 200, description = "The page", content_type = "text/html", body = String)
))]
pub(super) async fn page(slash: Option<Extension<SlashAtEnd>>) -> Bare {
    if slash.is_none() {
        return Bare(guarded(Html(PAGE).into_response()));
    }
    // A browser would read the page's links below the slash.
    let page = PAGE.replacen("<head>", "<head><base href=\"../\">", 1);
    let mut page = guarded(Html(page).into_response());
    let policy = POLICY.replacen("base-uri 'none'", "base-uri 'self'", 1);
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        page.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    Bare(page)
}

/// A file of the page
#[utoipa::path(get, path = "/docs/{file}", tag = "Operation", operation_id = "docs_file", responses(
    (status = 200, description = "The file", content_type = "*/*", body = String)
))]
pub(super) async fn file(Path(file): Path<String>) -> Result<Bare, Failure> {
    let (kind, bytes) = match file.as_str() {
        "start.js" => ("text/javascript".to_owned(), START.as_bytes().to_vec()),
        "swagger-ui.css" | "swagger-ui-bundle.js" | "favicon-32x32.png" => {
            let found = utoipa_swagger_ui::serve(&file, Arc::new(utoipa_swagger_ui::Config::default()));
            match found {
                Ok(Some(found)) => (found.content_type, found.bytes.into_owned()),
                Ok(None) | Err(_) => return Err(Failure::internal()),
            }
        }
        _ => return Err(Failure::bad_identifier(&file)),
    };
    let kind = HeaderValue::from_str(&kind).map_err(|_| Failure::internal())?;
    Ok(Bare(guarded(([(header::CONTENT_TYPE, kind)], bytes).into_response())))
}

fn guarded(mut response: Response) -> Response {
    let headers: [(HeaderName, &str); 2] =
        [(header::CONTENT_SECURITY_POLICY, POLICY), (header::CACHE_CONTROL, "no-cache")];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
