//! Which routes there are.

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::openapi::served;
use super::{
    Api, accounts, attempts, audit, backup, configs, deliveries, docs, events, failed_events, failures,
    health, hooks, limits, log_in, metadata, metrics, modules, stream, test_send, tokens, webhooks,
};

/// All routes, each with its description. Who may use each of them is said in `rules.rs`; administrators alone, where
/// it is not said.
pub(super) fn described() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(webhooks::available))
        .routes(routes!(webhooks::samples))
        .routes(routes!(webhooks::sample))
        .routes(routes!(webhooks::list, webhooks::create, webhooks::enable))
        .routes(routes!(webhooks::enable_descendants))
        .routes(routes!(webhooks::show, webhooks::replace, webhooks::patch, webhooks::delete))
        .routes(routes!(attempts::of_account))
        .routes(routes!(attempts::of_hook))
        .routes(routes!(test_send::send))
        .routes(routes!(accounts::create))
        .routes(routes!(
            accounts::show,
            accounts::create_below,
            accounts::replace,
            accounts::patch,
            accounts::delete
        ))
        .routes(routes!(accounts::children))
        .routes(routes!(accounts::descendants))
        .routes(routes!(log_in::api_auth))
        .routes(routes!(log_in::user_auth))
        .routes(routes!(log_in::token_auth))
        .routes(routes!(log_in::api_key, log_in::make_api_key))
        .routes(routes!(audit::list_of))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(tokens::list_all))
        .routes(routes!(tokens::revoke_any))
        .routes(routes!(configs::show, configs::patch, configs::delete))
        .routes(routes!(limits::show, limits::patch, limits::delete))
        .routes(routes!(configs::show_system, configs::patch_system, configs::delete_system))
        .routes(routes!(events::take))
        .routes(routes!(stream::watch))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::replay_many))
        .routes(routes!(deliveries::show))
        .routes(routes!(deliveries::replay))
        .routes(routes!(deliveries::replays))
        .routes(routes!(deliveries::show_replay))
        .routes(routes!(deliveries::cancel_replay))
        .routes(routes!(metadata::reset))
        .merge(of_modules())
        .routes(routes!(hooks::list))
        .routes(routes!(hooks::show))
        .routes(routes!(failures::enable))
        .routes(routes!(failures::list, failures::flush))
        .routes(routes!(audit::list))
        .routes(routes!(backup::send))
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(metrics::exposition))
        .routes(routes!(served::description))
        .routes(routes!(docs::page))
        .routes(routes!(docs::file))
}

/// Those about modules.
fn of_modules() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(modules::list))
        .routes(routes!(modules::show))
        .routes(routes!(modules::reload))
        .routes(routes!(failed_events::list, failed_events::forget_all))
        .routes(routes!(failed_events::show, failed_events::forget))
        .routes(routes!(failed_events::replay))
        .routes(routes!(failed_events::replays))
        .routes(routes!(failed_events::show_replay))
        .routes(routes!(failed_events::cancel_replay))
}
