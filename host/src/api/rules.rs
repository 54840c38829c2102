//! Who may use which route, and what the audit log calls what it does. Pure.
//!
//! A route that does not stand here is for administrators only, and what it changes is written down under its own
//! name; a test fails until it stands here.

use axum::http::Method;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RouteReach {
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
pub(super) enum AuditedChange {
    /// Nothing: it only reads, or hands in events.
    None,
    /// A change of this name.
    Named(String),
}

/// A row: method, path as the router has it, who, and the name of the change.
type RouteRule = (&'static str, &'static str, RouteReach, Option<&'static str>);

const ROWS: &[RouteRule] = &[
    ("GET", "/healthz", RouteReach::Anybody, None),
    ("GET", "/readyz", RouteReach::Anybody, None),
    ("GET", "/metrics", RouteReach::Anybody, None),
    ("GET", "/openapi.json", RouteReach::Anybody, None),
    ("GET", "/docs", RouteReach::Anybody, None),
    ("GET", "/docs/{file}", RouteReach::Anybody, None),
    ("GET", "/v2/webhooks", RouteReach::Anybody, None),
    ("GET", "/v2/webhooks/samples", RouteReach::Anybody, None),
    ("GET", "/v2/webhooks/samples/{id}", RouteReach::Anybody, None),
    ("PUT", "/v2/api_auth", RouteReach::Anybody, None),
    ("PUT", "/v2/user_auth", RouteReach::Anybody, None),
    ("GET", "/v2/token_auth", RouteReach::Known, None),
    ("PUT", "/v2/accounts", RouteReach::Administrators, Some("account.create")),
    ("GET", "/v2/accounts/{account}", RouteReach::Account, None),
    ("PUT", "/v2/accounts/{account}", RouteReach::Account, Some("account.create")),
    ("POST", "/v2/accounts/{account}", RouteReach::Account, Some("account.replace")),
    ("PATCH", "/v2/accounts/{account}", RouteReach::Account, Some("account.patch")),
    ("DELETE", "/v2/accounts/{account}", RouteReach::Account, Some("account.delete")),
    ("GET", "/v2/accounts/{account}/children", RouteReach::Account, None),
    ("GET", "/v2/accounts/{account}/descendants", RouteReach::Account, None),
    ("GET", "/v2/accounts/{account}/webhooks", RouteReach::Account, None),
    ("PUT", "/v2/accounts/{account}/webhooks", RouteReach::Account, Some("webhook.create")),
    ("PATCH", "/v2/accounts/{account}/webhooks", RouteReach::Account, Some("webhooks.enable")),
    ("PATCH", "/v2/accounts/{account}/descendants/webhooks", RouteReach::Account, Some("webhooks.enable")),
    ("GET", "/v2/accounts/{account}/configs/webhooks", RouteReach::Account, None),
    ("PATCH", "/v2/accounts/{account}/configs/webhooks", RouteReach::Account, Some("config.patch")),
    ("DELETE", "/v2/accounts/{account}/configs/webhooks", RouteReach::Account, Some("config.delete")),
    ("GET", "/v2/accounts/{account}/configs/limits", RouteReach::Account, None),
    // Whoever is limited does not say how much.
    ("PATCH", "/v2/accounts/{account}/configs/limits", RouteReach::Administrators, Some("limits.patch")),
    ("DELETE", "/v2/accounts/{account}/configs/limits", RouteReach::Administrators, Some("limits.delete")),
    ("GET", "/v2/system_configs/webhooks", RouteReach::Administrators, None),
    ("PATCH", "/v2/system_configs/webhooks", RouteReach::Administrators, Some("config.patch")),
    ("DELETE", "/v2/system_configs/webhooks", RouteReach::Administrators, Some("config.delete")),
    ("GET", "/v2/accounts/{account}/webhooks/{hook}", RouteReach::Account, None),
    ("POST", "/v2/accounts/{account}/webhooks/{hook}", RouteReach::Account, Some("webhook.replace")),
    ("PATCH", "/v2/accounts/{account}/webhooks/{hook}", RouteReach::Account, Some("webhook.patch")),
    ("DELETE", "/v2/accounts/{account}/webhooks/{hook}", RouteReach::Account, Some("webhook.delete")),
    ("POST", "/v2/accounts/{account}/webhooks/{hook}/test", RouteReach::Account, Some("webhook.test")),
    ("GET", "/v2/accounts/{account}/webhooks/attempts", RouteReach::Account, None),
    ("GET", "/v2/accounts/{account}/webhooks/{hook}/attempts", RouteReach::Account, None),
    ("GET", "/v2/accounts/{account}/tokens", RouteReach::Account, None),
    ("PUT", "/v2/accounts/{account}/tokens", RouteReach::Account, Some("token.create")),
    ("DELETE", "/v2/accounts/{account}/tokens/{token}", RouteReach::Account, Some("token.revoke")),
    ("GET", "/v2/accounts/{account}/api_key", RouteReach::Account, None),
    ("PUT", "/v2/accounts/{account}/api_key", RouteReach::Account, Some("api_key.create")),
    ("GET", "/v2/accounts/{account}/audit", RouteReach::Account, None),
    // An event may speak of any account, and modules believe it: events are for whoever runs the bus.
    ("POST", "/events", RouteReach::Administrators, None),
    ("GET", "/hooks", RouteReach::Administrators, None),
    ("GET", "/hooks/{hook}", RouteReach::Administrators, None),
    ("POST", "/hooks/enable", RouteReach::Administrators, Some("webhooks.enable")),
    ("GET", "/failures", RouteReach::Administrators, None),
    ("DELETE", "/failures", RouteReach::Administrators, Some("failures.flush")),
    ("GET", "/deliveries", RouteReach::Administrators, None),
    ("POST", "/deliveries/replay", RouteReach::Administrators, Some("deliveries.replay")),
    ("GET", "/deliveries/{id}", RouteReach::Administrators, None),
    ("POST", "/deliveries/{id}/replay", RouteReach::Administrators, Some("delivery.replay")),
    ("GET", "/replays", RouteReach::Administrators, None),
    ("GET", "/replays/{id}", RouteReach::Administrators, None),
    ("POST", "/replays/{id}/cancel", RouteReach::Administrators, Some("replay.cancel")),
    ("GET", "/stream", RouteReach::Administrators, None),
    ("GET", "/tokens", RouteReach::Administrators, None),
    ("DELETE", "/tokens/{token}", RouteReach::Administrators, Some("token.revoke")),
    ("GET", "/audit", RouteReach::Administrators, None),
    ("POST", "/backup", RouteReach::Administrators, Some("store.backup")),
    ("POST", "/metadata/reset", RouteReach::Administrators, Some("metadata.reset")),
    ("GET", "/modules", RouteReach::Administrators, None),
    ("GET", "/modules/{id}", RouteReach::Administrators, None),
    ("POST", "/modules/{id}/reload", RouteReach::Administrators, Some("module.reload")),
    ("GET", "/modules/{id}/failed", RouteReach::Administrators, None),
    ("DELETE", "/modules/{id}/failed", RouteReach::Administrators, Some("failed_events.forget")),
    ("GET", "/modules/{id}/failed/{event}", RouteReach::Administrators, None),
    ("DELETE", "/modules/{id}/failed/{event}", RouteReach::Administrators, Some("failed_event.forget")),
    ("POST", "/modules/{id}/replay", RouteReach::Administrators, Some("module.replay")),
    ("GET", "/modules/{id}/replays", RouteReach::Administrators, None),
    ("GET", "/modules/{id}/replays/{replay}", RouteReach::Administrators, None),
    (
        "POST",
        "/modules/{id}/replays/{replay}/cancel",
        RouteReach::Administrators,
        Some("module.replay_cancel"),
    ),
];

/// The rule of a route.
pub(super) fn rule(method: &Method, path: &str) -> (RouteReach, AuditedChange) {
    match row(method, path) {
        Some((_, _, reach, name)) => {
            (*reach, name.map_or(AuditedChange::None, |name| AuditedChange::Named(name.to_owned())))
        }
        None if method.is_safe() => (RouteReach::Administrators, AuditedChange::None),
        None => (RouteReach::Administrators, AuditedChange::Named(format!("{method} {path}"))),
    }
}

/// Whether somebody has thought about this route.
#[cfg(test)]
pub(super) fn is_known(method: &Method, path: &str) -> bool {
    row(method, path).is_some()
}

/// Every row, as method, path and reach.
#[cfg(test)]
pub(super) fn rows() -> impl Iterator<Item = (&'static str, &'static str, RouteReach)> {
    ROWS.iter().map(|(method, path, reach, _)| (*method, *path, *reach))
}

fn row(method: &Method, path: &str) -> Option<&'static RouteRule> {
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    ROWS.iter().find(|(of, at, ..)| *of == method && *at == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_that_nobody_thought_about_is_the_administrators_and_is_written_down() {
        assert_eq!(rule(&Method::GET, "/secrets"), (RouteReach::Administrators, AuditedChange::None));
        let named = AuditedChange::Named("POST /v2/webhooks".to_owned());
        assert_eq!(rule(&Method::POST, "/v2/webhooks"), (RouteReach::Administrators, named));
    }

    #[test]
    fn what_reads_with_get_reads_with_head() {
        assert_eq!(rule(&Method::HEAD, "/healthz"), (RouteReach::Anybody, AuditedChange::None));
    }

    #[test]
    fn whoever_has_an_account_is_told_apart_by_the_path_and_every_change_has_a_name() {
        for (method, path, reach, name) in ROWS {
            assert!(*reach != RouteReach::Account || path.starts_with("/v2/accounts/{account}"), "{path}");
            let logs_in = path.ends_with("_auth");
            assert!(*reach != RouteReach::Anybody || *method == "GET" || logs_in, "{method} {path}");
            let changes = *method != "GET" && *path != "/events" && !logs_in;
            assert_eq!(changes, name.is_some(), "{method} {path}");
        }
    }
}
