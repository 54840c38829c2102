//! Who may use which route, and what the audit log calls what it does. Pure.
//!
//! A route that does not stand here is for administrators only, and what it changes is written down under its own
//! name; a test fails until it stands here.

use axum::http::Method;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Everybody, without a token.
    Anybody,
    /// Whoever has a token.
    Known,
    /// Whoever has a token of the account in the path, or of one above it.
    Account,
    /// Administrators.
    Administrators,
}

/// What a request means to the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing: it only reads, or hands in events.
    None,
    /// A change of this name.
    Named(String),
}

/// A row: method, path as the router has it, who, and the name of the change.
type Row = (&'static str, &'static str, Reach, Option<&'static str>);

const ROWS: &[Row] = &[
    ("GET", "/healthz", Reach::Anybody, None),
    ("GET", "/readyz", Reach::Anybody, None),
    ("GET", "/metrics", Reach::Anybody, None),
    ("GET", "/openapi.json", Reach::Anybody, None),
    ("GET", "/docs", Reach::Anybody, None),
    ("GET", "/docs/{file}", Reach::Anybody, None),
    ("GET", "/v2/webhooks", Reach::Anybody, None),
    ("GET", "/v2/webhooks/samples", Reach::Anybody, None),
    ("GET", "/v2/webhooks/samples/{id}", Reach::Anybody, None),
    ("PUT", "/v2/api_auth", Reach::Anybody, None),
    ("PUT", "/v2/user_auth", Reach::Anybody, None),
    ("GET", "/v2/token_auth", Reach::Known, None),
    ("PUT", "/v2/accounts", Reach::Administrators, Some("account.create")),
    ("GET", "/v2/accounts/{account}", Reach::Account, None),
    ("PUT", "/v2/accounts/{account}", Reach::Account, Some("account.create")),
    ("POST", "/v2/accounts/{account}", Reach::Account, Some("account.replace")),
    ("PATCH", "/v2/accounts/{account}", Reach::Account, Some("account.patch")),
    ("DELETE", "/v2/accounts/{account}", Reach::Account, Some("account.delete")),
    ("GET", "/v2/accounts/{account}/children", Reach::Account, None),
    ("GET", "/v2/accounts/{account}/descendants", Reach::Account, None),
    ("GET", "/v2/accounts/{account}/webhooks", Reach::Account, None),
    ("PUT", "/v2/accounts/{account}/webhooks", Reach::Account, Some("webhook.create")),
    ("PATCH", "/v2/accounts/{account}/webhooks", Reach::Account, Some("webhooks.enable")),
    ("PATCH", "/v2/accounts/{account}/descendants/webhooks", Reach::Account, Some("webhooks.enable")),
    ("GET", "/v2/accounts/{account}/configs/webhooks", Reach::Account, None),
    ("PATCH", "/v2/accounts/{account}/configs/webhooks", Reach::Account, Some("config.patch")),
    ("DELETE", "/v2/accounts/{account}/configs/webhooks", Reach::Account, Some("config.delete")),
    ("GET", "/v2/accounts/{account}/configs/limits", Reach::Account, None),
    // Whoever is limited does not say how much.
    ("PATCH", "/v2/accounts/{account}/configs/limits", Reach::Administrators, Some("limits.patch")),
    ("DELETE", "/v2/accounts/{account}/configs/limits", Reach::Administrators, Some("limits.delete")),
    ("GET", "/v2/system_configs/webhooks", Reach::Administrators, None),
    ("PATCH", "/v2/system_configs/webhooks", Reach::Administrators, Some("config.patch")),
    ("DELETE", "/v2/system_configs/webhooks", Reach::Administrators, Some("config.delete")),
    ("GET", "/v2/accounts/{account}/webhooks/{hook}", Reach::Account, None),
    ("POST", "/v2/accounts/{account}/webhooks/{hook}", Reach::Account, Some("webhook.replace")),
    ("PATCH", "/v2/accounts/{account}/webhooks/{hook}", Reach::Account, Some("webhook.patch")),
    ("DELETE", "/v2/accounts/{account}/webhooks/{hook}", Reach::Account, Some("webhook.delete")),
    ("POST", "/v2/accounts/{account}/webhooks/{hook}/test", Reach::Account, Some("webhook.test")),
    ("GET", "/v2/accounts/{account}/webhooks/attempts", Reach::Account, None),
    ("GET", "/v2/accounts/{account}/webhooks/{hook}/attempts", Reach::Account, None),
    ("GET", "/v2/accounts/{account}/tokens", Reach::Account, None),
    ("PUT", "/v2/accounts/{account}/tokens", Reach::Account, Some("token.create")),
    ("DELETE", "/v2/accounts/{account}/tokens/{token}", Reach::Account, Some("token.revoke")),
    ("GET", "/v2/accounts/{account}/api_key", Reach::Account, None),
    ("PUT", "/v2/accounts/{account}/api_key", Reach::Account, Some("api_key.create")),
    ("GET", "/v2/accounts/{account}/audit", Reach::Account, None),
    // An event may speak of any account, and modules believe it: events are for whoever runs the bus.
    ("POST", "/events", Reach::Administrators, None),
    ("GET", "/hooks", Reach::Administrators, None),
    ("POST", "/hooks/enable", Reach::Administrators, Some("webhooks.enable")),
    ("GET", "/failures", Reach::Administrators, None),
    ("DELETE", "/failures", Reach::Administrators, Some("failures.flush")),
    ("GET", "/deliveries", Reach::Administrators, None),
    ("POST", "/deliveries/replay", Reach::Administrators, Some("deliveries.replay")),
    ("GET", "/deliveries/{id}", Reach::Administrators, None),
    ("POST", "/deliveries/{id}/replay", Reach::Administrators, Some("delivery.replay")),
    ("GET", "/replays", Reach::Administrators, None),
    ("GET", "/replays/{id}", Reach::Administrators, None),
    ("POST", "/replays/{id}/cancel", Reach::Administrators, Some("replay.cancel")),
    ("GET", "/stream", Reach::Administrators, None),
    ("GET", "/tokens", Reach::Administrators, None),
    ("DELETE", "/tokens/{token}", Reach::Administrators, Some("token.revoke")),
    ("GET", "/audit", Reach::Administrators, None),
    ("POST", "/backup", Reach::Administrators, Some("store.backup")),
    ("POST", "/metadata/reset", Reach::Administrators, Some("metadata.reset")),
    ("GET", "/modules", Reach::Administrators, None),
    ("GET", "/modules/{id}", Reach::Administrators, None),
    ("POST", "/modules/{id}/reload", Reach::Administrators, Some("module.reload")),
];

/// The rule of a route.
pub(super) fn rule(method: &Method, path: &str) -> (Reach, Change) {
    match row(method, path) {
        Some((_, _, reach, name)) => {
            (*reach, name.map_or(Change::None, |name| Change::Named(name.to_owned())))
        }
        None if method.is_safe() => (Reach::Administrators, Change::None),
        None => (Reach::Administrators, Change::Named(format!("{method} {path}"))),
    }
}

/// Whether somebody has thought about this route.
#[cfg(test)]
pub(super) fn is_known(method: &Method, path: &str) -> bool {
    row(method, path).is_some()
}

/// Every row, as method, path and reach.
#[cfg(test)]
pub(super) fn rows() -> impl Iterator<Item = (&'static str, &'static str, Reach)> {
    ROWS.iter().map(|(method, path, reach, _)| (*method, *path, *reach))
}

fn row(method: &Method, path: &str) -> Option<&'static Row> {
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    ROWS.iter().find(|(of, at, ..)| *of == method && *at == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_that_nobody_thought_about_is_the_administrators_and_is_written_down() {
        assert_eq!(rule(&Method::GET, "/secrets"), (Reach::Administrators, Change::None));
        let named = Change::Named("POST /v2/webhooks".to_owned());
        assert_eq!(rule(&Method::POST, "/v2/webhooks"), (Reach::Administrators, named));
    }

    #[test]
    fn what_reads_with_get_reads_with_head() {
        assert_eq!(rule(&Method::HEAD, "/healthz"), (Reach::Anybody, Change::None));
    }

    #[test]
    fn whoever_has_an_account_is_told_apart_by_the_path_and_every_change_has_a_name() {
        for (method, path, reach, name) in ROWS {
            assert!(*reach != Reach::Account || path.starts_with("/v2/accounts/{account}"), "{path}");
            let logs_in = path.ends_with("_auth");
            assert!(*reach != Reach::Anybody || *method == "GET" || logs_in, "{method} {path}");
            let changes = *method != "GET" && *path != "/events" && !logs_in;
            assert_eq!(changes, name.is_some(), "{method} {path}");
        }
    }
}
