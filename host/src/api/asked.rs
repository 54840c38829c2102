//! What an address says that makes no difference, settled before a route is looked for: a slash at its end, Crossbar's
//! older version, and a token in the query, which is taken out so that it stands in nothing that is logged or repeated.

use std::fmt;

use axum::http::uri::PathAndQuery;
use axum::http::{Request, Uri};
use percent_encoding::percent_decode_str;

/// The key of a query that carries a token, as KAZOO's clients write it where they cannot set a header.
pub(super) const TOKEN: &str = "auth_token";

/// A token that stood in the query, as an extension of the request.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct QueryToken(pub(super) String);

impl fmt::Debug for QueryToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QueryToken(…)")
    }
}

/// That the address ended with a slash, as an extension of the request. Pages need to know, as a browser reads their
/// links below it.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlashAtEnd;

/// Settles the address of a request.
pub(super) fn settle<B>(request: &mut Request<B>) {
    let (path, query) = (request.uri().path(), request.uri().query());
    let (settled_path, had_slash) = settled_path(path);
    let (settled_query, token) = query.map_or((None, None), settled_query);
    if settled_path == path && token.is_none() && settled_query.as_deref() == query {
        return;
    }
    let text = match &settled_query {
        Some(query) => format!("{settled_path}?{query}"),
        None => settled_path,
    };
    let mut parts = request.uri().clone().into_parts();
    // It consists of parts of an address that was one.
    let Ok(settled) = PathAndQuery::try_from(text) else { return };
    parts.path_and_query = Some(settled);
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    if had_slash {
        request.extensions_mut().insert(SlashAtEnd);
    }
    if let Some(token) = token {
        request.extensions_mut().insert(token);
    }
}

/// Without slashes at its end, and whether there were any. `v1` of Crossbar's API is answered as `v2` is, as in Crossbar.
fn settled_path(path: &str) -> (String, bool) {
    let trimmed = match path.trim_end_matches('/') {
        "" => path,
        trimmed => trimmed,
    };
    let settled = match trimmed.strip_prefix("/v1/") {
        Some(rest) => format!("/v2/{rest}"),
        None => trimmed.to_owned(),
    };
    (settled, trimmed.len() < path.len())
}

/// The query without tokens, and the first of them that is not empty.
fn settled_query(query: &str) -> (Option<String>, Option<QueryToken>) {
    let text = |part: &str| percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy().into_owned();
    let mut token = None;
    let mut others = Vec::new();
    let mut found = false;
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if text(key) == TOKEN {
            found = true;
            token = token.or_else(|| Some(text(value)).filter(|token| !token.trim().is_empty()));
        } else {
            others.push(pair);
        }
    }
    if !found {
        return (Some(query.to_owned()), None);
    }
    let others = others.join("&");
    (Some(others).filter(|others| !others.is_empty()), token.map(QueryToken))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, expected: &str, token: Option<&str>) {
        let mut request = Request::builder().uri(address).body(()).unwrap();
        settle(&mut request);
        assert_eq!(request.uri().to_string(), expected, "{address}");
        let found = request.extensions().get::<QueryToken>().map(|token| token.0.as_str());
        assert_eq!(found, token, "{address}");
    }

    #[test]
    fn a_slash_at_the_end_means_nothing() {
        for (address, expected) in [
            ("/", "/"),
            ("//", "//"),
            ("/v2/webhooks", "/v2/webhooks"),
            ("/v2/webhooks/", "/v2/webhooks"),
            ("/v2/webhooks//", "/v2/webhooks"),
            ("/v2/webhooks/?a=b", "/v2/webhooks?a=b"),
            ("/v2/webhooks?a=/", "/v2/webhooks?a=/"),
            ("/v2//webhooks/", "/v2//webhooks"),
            ("/modules/a%2F/", "/modules/a%2F"),
            ("/v1/accounts/a/webhooks/", "/v2/accounts/a/webhooks"),
            ("/v1", "/v1"),
            ("http://host:1/v2/webhooks/?a", "http://host:1/v2/webhooks?a"),
        ] {
            check(address, expected, None);
        }
    }

    #[test]
    fn a_token_of_the_query_is_taken_out_of_it() {
        for (address, expected, token) in [
            ("/hooks?auth_token=t", "/hooks", Some("t")),
            ("/hooks/?auth_token=t&account=a", "/hooks?account=a", Some("t")),
            ("/hooks?account=a&auth_token=t&x", "/hooks?account=a&x", Some("t")),
            ("/hooks?auth%5ftoken=t%2B1", "/hooks", Some("t+1")),
            ("/hooks?auth_token=&auth_token=t", "/hooks", Some("t")),
            ("/hooks?auth_token", "/hooks", None),
            ("/hooks?other_auth_token=t", "/hooks?other_auth_token=t", None),
            ("/hooks?", "/hooks?", None),
        ] {
            check(address, expected, token);
        }
    }

    #[test]
    fn a_token_does_not_show_itself() {
        assert!(!format!("{:?}", QueryToken("hlt_secret".to_owned())).contains("secret"));
    }
}
