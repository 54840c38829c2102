//! `/deliveries` and `/replays`: what waits and what is dead, and what is sent again.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::openapi::ObjectBuilder;
use utoipa::openapi::schema::{Object, Type};
use utoipa::{IntoParams, ToSchema};

use super::body::Data;
use super::envelope::{Answer, PagedData, Reply};
use super::error::Failure;
use super::known::{StrictQuery, field_names};
use super::typed::TypedDocument;
use super::{Api, listing};
use crate::hooks::editor::fields;
use crate::replays::NotReplayed;
use crate::store::{DeliveryQuery, DeliveryRow, NewReplay, Replay};
use crate::times;

/// Entries on one page.
const MOST: usize = 1_000;

/// What stands behind the `?`. Texts, so that a wrong one is named and not just refused.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DeliveryListQuery {
    /// Only those; both, where it is not said.
    #[param(value_type = Option<Status>)]
    status: Option<String>,
    /// Only those of this account.
    account: Option<String>,
    /// Only those to this hook.
    hook: Option<String>,
    /// Only those that were made then or later.
    #[param(value_type = Option<times::Moment>)]
    since: Option<String>,
    /// Only those that were made before.
    #[param(value_type = Option<times::Moment>)]
    until: Option<String>,
    /// How many a page has: 50 where it is not said.
    #[param(value_type = Option<u64>, minimum = 1)]
    page_size: Option<String>,
    /// `next_start_key` of the page before.
    #[param(pattern = "^[0-9]{1,18}$")]
    start_key: Option<String>,
}

/// Lists the deliveries that wait or are dead
///
/// The newest first. What was delivered is forgotten here, and stands among the attempts.
#[utoipa::path(get, path = "/deliveries", tag = "Deliveries", params(DeliveryListQuery))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    StrictQuery(wanted, _): StrictQuery<DeliveryListQuery>,
) -> Answer<PagedData<DeliveryShape>> {
    let size = listing::size(wanted.page_size.as_deref(), None)?.min(MOST);
    let query = DeliveryQuery {
        dead: status(wanted.status.as_deref())?,
        account: wanted.account.map(Into::into),
        hook: wanted.hook.map(Into::into),
        since_ms: listing::moment("since", wanted.since.as_deref())?,
        until_ms: listing::moment("until", wanted.until.as_deref())?,
        start: start(wanted.start_key.as_deref())?,
        limit: size + 1,
    };
    let rows = api.ledger.deliveries(query).await?;
    let next = rows.get(size).map(|row| row.id);
    let shown: Vec<DeliveryShape> = rows.iter().take(size).map(shown).collect();
    Ok(Reply::page(&shown, wanted.start_key, next.map(|id| id.to_string())))
}

/// Shows a delivery with its payload
#[utoipa::path(get, path = "/deliveries/{id}", tag = "Deliveries")]
pub(super) async fn show(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer<WithPayload> {
    let (row, payload) =
        api.ledger.delivery(listing::path_number(&id)?).await?.ok_or_else(|| Failure::bad_identifier(&id))?;
    let payload = serde_json::from_slice(&payload).unwrap_or_default();
    Ok(Reply::of(&WithPayload { delivery: shown(&row), payload }))
}

/// Sends a dead delivery again
#[utoipa::path(post, path = "/deliveries/{id}/replay", tag = "Deliveries", responses(
    (status = 409, description = "It is not dead, or its hook is not served")
))]
pub(super) async fn replay(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
) -> Answer<DeliveryShape, 202> {
    let row = api.replays.one(listing::path_number(&id)?).await?;
    Ok(Reply::of(&shown(&row)))
}

/// Sends many dead deliveries again
///
/// The header `location` says where to see how far it has come. At least one field beside `status` must be given.
#[utoipa::path(post, path = "/deliveries/replay", tag = "Deliveries", request_body = NewJob)]
pub(super) async fn replay_many(
    State(api): State<Arc<Api>>,
    Data(data, _): Data<NewJob>,
) -> Answer<ReplayJobShape, 202> {
    let job = api.replays.begin(replay_of(data)?).await?;
    let location = format!("/replays/{}", job.id);
    Ok(Reply::of(&shown_job(&job)).at(&location))
}

/// What stands behind the `?`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct JobListQuery {
    /// How many a page has: 50 where it is not said.
    #[param(value_type = Option<u64>, minimum = 1)]
    pub(super) page_size: Option<String>,
    /// `next_start_key` of the page before.
    #[param(pattern = "^[0-9]{1,18}$")]
    pub(super) start_key: Option<String>,
}

/// Lists what was asked to be sent again
#[utoipa::path(get, path = "/replays", tag = "Deliveries", params(JobListQuery))]
pub(super) async fn replays(
    State(api): State<Arc<Api>>,
    StrictQuery(wanted, _): StrictQuery<JobListQuery>,
) -> Answer<PagedData<ReplayJobShape>> {
    let size = listing::size(wanted.page_size.as_deref(), None)?.min(MOST);
    let below = start(wanted.start_key.as_deref())?.map_or(i64::MAX, |start| start.saturating_add(1));
    let jobs = api.ledger.replays(below, size + 1).await?;
    let next = jobs.get(size).map(|job| job.id);
    let shown: Vec<ReplayJobShape> = jobs.iter().take(size).map(shown_job).collect();
    Ok(Reply::page(&shown, wanted.start_key, next.map(|id| id.to_string())))
}

/// Shows how far a replay has come
#[utoipa::path(get, path = "/replays/{id}", tag = "Deliveries")]
pub(super) async fn show_replay(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
) -> Answer<ReplayJobShape> {
    let job =
        api.ledger.replay(listing::path_number(&id)?).await?.ok_or_else(|| Failure::bad_identifier(&id))?;
    Ok(Reply::of(&shown_job(&job)))
}

/// Ends a replay before its end
#[utoipa::path(post, path = "/replays/{id}/cancel", tag = "Deliveries", responses(
    (status = 409, description = "It has ended already")
))]
pub(super) async fn cancel_replay(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
) -> Answer<ReplayJobShape> {
    Ok(Reply::of(&shown_job(&api.replays.cancel(listing::path_number(&id)?).await?)))
}

/// What a job is to send again.
fn replay_of(data: TypedDocument<NewJob>) -> Result<NewReplay, Failure> {
    let invalid =
        |field: &str, code: &str, message: &str| Failure::validation(fields::invalid(field, code, message));
    if let Some(field) = data.rest.keys().next() {
        let known = field_names::<NewJob>();
        if known.contains(&field.as_str()) {
            return Err(invalid(field, "type", "must be a text"));
        }
        let message = format!("there is no such field: {} are", known.join(", "));
        return Err(invalid(field, "unknown", &message));
    }
    let NewJob { account, hook, status, since, until } = data.known;
    if !matches!(status.as_deref(), None | Some(DEAD)) {
        let message = "only dead deliveries are sent again; pending ones are sent without being asked to";
        return Err(invalid("status", "enum", message));
    }
    if [&account, &hook, &since, &until].into_iter().all(Option::is_none) {
        return Err(invalid("hook", "required", "say which: account, hook, since or until"));
    }
    Ok(NewReplay {
        account: account.map(Into::into),
        hook: hook.map(Into::into),
        since_ms: listing::moment("since", since.as_deref())?,
        until_ms: listing::moment("until", until.as_deref())?,
    })
}

fn status(text: Option<&str>) -> Result<Option<bool>, Failure> {
    match text {
        None => Ok(None),
        Some("dead") => Ok(Some(true)),
        Some("pending") => Ok(Some(false)),
        Some(other) => {
            let message = format!("{other:?} is no status: pending and dead are");
            Err(Failure::validation(fields::invalid("status", "enum", &message)))
        }
    }
}

pub(super) fn start(key: Option<&str>) -> Result<Option<i64>, Failure> {
    let read = key.map(str::parse).transpose();
    read.map_err(|_| {
        let message = "start_key must be the next_start_key of an earlier page";
        Failure::validation(fields::invalid("start_key", "invalid", message))
    })
}

/// What a delivery can be.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Pending,
    Dead,
}

/// A delivery that waits or is dead.
#[derive(Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(super) struct DeliveryShape {
    id: i64,
    status: Status,
    account_id: String,
    hook_id: String,
    /// The header `webhook-id` of each of its requests.
    webhook_id: String,
    /// How often it was tried.
    tries: u32,
    created_at: Option<String>,
    /// When it is tried next.
    #[serde(skip_serializing_if = "Option::is_none")]
    due_at: Option<String>,
    /// Since when it is dead.
    #[serde(skip_serializing_if = "Option::is_none")]
    died_at: Option<String>,
    /// Why the last try failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// A delivery with what is sent.
#[derive(Serialize, ToSchema)]
#[schema(as = DeliveryWithPayload)]
pub(super) struct WithPayload {
    #[serde(flatten)]
    delivery: DeliveryShape,
    payload: Value,
}

fn shown(row: &DeliveryRow) -> DeliveryShape {
    let at = times::shown_ms(row.due_ms);
    let (due_at, died_at) = if row.dead { (None, at) } else { (at, None) };
    DeliveryShape {
        id: row.id,
        status: if row.dead { Status::Dead } else { Status::Pending },
        account_id: row.account.to_string(),
        hook_id: row.hook.to_string(),
        webhook_id: row.webhook_id.clone(),
        tries: row.tries,
        created_at: times::shown_ms(row.created_ms),
        due_at,
        died_at,
        reason: row.reason.clone(),
    }
}

/// Which dead deliveries are to be sent again.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewReplay, example = json!({"since": "2h", "status": "dead"}))]
pub(super) struct NewJob {
    /// Those of this account.
    #[schema(required = false, value_type = String)]
    account: Option<String>,
    /// Those to this hook.
    #[schema(required = false, value_type = String)]
    hook: Option<String>,
    /// No others are sent again.
    #[schema(required = false, schema_with = dead)]
    status: Option<String>,
    /// Those that were made then or later.
    #[schema(required = false, value_type = times::Moment)]
    since: Option<String>,
    /// Those that were made before.
    #[schema(required = false, value_type = times::Moment)]
    until: Option<String>,
}

/// As the status is written.
const DEAD: &str = "dead";

fn dead() -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some([DEAD])).build()
}

/// A request to send many deliveries again.
#[derive(Serialize, ToSchema)]
#[schema(as = Replay)]
pub(super) struct ReplayJobShape {
    id: i64,
    /// `running`, `done` or `cancelled`.
    state: &'static str,
    account_id: Option<String>,
    hook_id: Option<String>,
    since: Option<String>,
    until: Option<String>,
    created_at: Option<String>,
    finished_at: Option<String>,
    /// How many there are to send.
    total: u64,
    /// How many are sent.
    replayed: u64,
}

fn shown_job(job: &Replay) -> ReplayJobShape {
    ReplayJobShape {
        id: job.id,
        state: job.state.as_str(),
        account_id: job.wanted.account.as_ref().map(ToString::to_string),
        hook_id: job.wanted.hook.as_ref().map(ToString::to_string),
        since: job.wanted.since_ms.and_then(times::shown_ms),
        until: job.wanted.until_ms.and_then(times::shown_ms),
        created_at: times::shown_ms(job.created_ms),
        finished_at: job.finished_ms.and_then(times::shown_ms),
        total: job.total,
        replayed: job.replayed,
    }
}

impl From<NotReplayed> for Failure {
    fn from(error: NotReplayed) -> Self {
        let conflict =
            |code: &str, error: &NotReplayed| Failure::new(StatusCode::CONFLICT, code, error.to_string());
        match error {
            NotReplayed::Unknown(id) => Failure::bad_identifier(&id.to_string()),
            NotReplayed::Pending => conflict("delivery_pending", &error),
            NotReplayed::Hook { .. } => conflict("hook_not_served", &error),
            NotReplayed::Ended(_) => conflict("replay_ended", &error),
            NotReplayed::Store(error) => error.into(),
            NotReplayed::BrokenOff(_) => {
                tracing::error!(%error, "a replay failed");
                Failure::internal()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_bulk_replay_says_what_it_is_for() {
        let read = |value: Value| replay_of(TypedDocument::read(value.as_object().cloned().unwrap()));
        let all = read(json!({"account": "a", "hook": "h", "status": "dead", "since": "2", "until": "3"}));
        let expected = NewReplay {
            account: Some("a".into()),
            hook: Some("h".into()),
            since_ms: Some(2_000),
            until_ms: Some(3_000),
        };
        assert_eq!(all.unwrap(), expected);
        for (data, field) in [
            (json!({}), "hook"),
            (json!({"status": "dead"}), "hook"),
            (json!({"status": "pending", "hook": "h"}), "status"),
            (json!({"hook": 1}), "hook"),
            (json!({"hooks": "h"}), "hooks"),
            (json!({"hook": "h", "since": "noon"}), "since"),
        ] {
            let failure = read(data).unwrap_err();
            assert!(failure.data.get(field).is_some(), "{}", failure.data);
        }
    }
}
