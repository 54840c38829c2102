//! `/modules/{id}/failed`, `/modules/{id}/replay` and `/modules/{id}/replays`: events that a module could not handle, and
//! handing them to the generation that serves.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::body::DataIfAny;
use super::deliveries::{JobListQuery, start};
use super::envelope::{Answer, PagedData, Reply};
use super::error::Failure;
use super::known::{StrictQuery, field_names};
use super::typed::TypedDocument;
use super::{Api, listing};
use crate::hooks::editor::fields;
use crate::listener::replaying::{NotHandedOver, ReplayChoice};
use crate::store::FailedEventQuery;
use crate::times;

mod shapes;

pub(super) use shapes::{DryRunShape, FailedEventShape, FailedEventWithBody, ModuleReplayShape};

/// Entries on one page.
const MOST: usize = 1_000;

/// Events that a dry run looks at unless told, and at most.
const DRY_RUN: usize = 100;
const DRY_RUN_MOST: u64 = 1_000;

/// What stands behind the `?`. Texts, so that a wrong one is named and not just refused.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct FailedListQuery {
    /// Only those that failed first then or later.
    #[param(value_type = Option<times::Moment>)]
    since: Option<String>,
    /// Only those that failed first before.
    #[param(value_type = Option<times::Moment>)]
    until: Option<String>,
    /// How many a page has: 50 where it is not said.
    #[param(value_type = Option<u64>, minimum = 1)]
    page_size: Option<String>,
    /// `next_start_key` of the page before.
    #[param(pattern = "^[0-9]{1,18}$")]
    start_key: Option<String>,
}

/// Lists the events that a module could not handle
///
/// The newest first.
#[utoipa::path(
    get,
    path = "/modules/{id}/failed",
    tag = "Modules",
    operation_id = "failed_events_list",
    params(FailedListQuery)
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    StrictQuery(wanted, _): StrictQuery<FailedListQuery>,
) -> Answer<PagedData<FailedEventShape>> {
    let module = api.module_replays.known(&id).await?;
    let size = listing::size(wanted.page_size.as_deref(), None)?.min(MOST);
    let query = FailedEventQuery {
        module,
        since_ms: listing::moment("since", wanted.since.as_deref())?,
        until_ms: listing::moment("until", wanted.until.as_deref())?,
        start: start(wanted.start_key.as_deref())?,
        limit: size + 1,
    };
    let rows = api.ledger.failed_events(query).await?;
    let next = rows.get(size).map(|row| row.id.to_string());
    let shown: Vec<FailedEventShape> = rows.iter().take(size).map(FailedEventShape::of).collect();
    Ok(Reply::page(&shown, wanted.start_key, next))
}

/// Shows an event that a module could not handle
///
/// With the event as it came.
#[utoipa::path(
    get,
    path = "/modules/{id}/failed/{event}",
    tag = "Modules",
    operation_id = "failed_event_show"
)]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Path((id, event)): Path<(String, String)>,
) -> Answer<FailedEventWithBody> {
    let module = api.module_replays.known(&id).await?;
    let kept = api.module_replays.kept(&module, listing::path_number(&event)?).await?;
    Ok(Reply::of(&FailedEventWithBody::of(&kept)))
}

/// How many were forgotten.
#[derive(Serialize, ToSchema)]
#[schema(as = ForgottenEvents)]
pub(super) struct ForgottenCount {
    forgotten: usize,
}

/// Forgets the events that a module could not handle
///
/// All that failed until now.
#[utoipa::path(delete, path = "/modules/{id}/failed", tag = "Modules", operation_id = "failed_events_forget")]
pub(super) async fn forget_all(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
) -> Answer<ForgottenCount> {
    let module = api.module_replays.known(&id).await?;
    Ok(Reply::of(&ForgottenCount { forgotten: api.module_replays.forget(&module, None).await? }))
}

/// Forgets one event that a module could not handle
#[utoipa::path(
    delete,
    path = "/modules/{id}/failed/{event}",
    tag = "Modules",
    operation_id = "failed_event_forget"
)]
pub(super) async fn forget(
    State(api): State<Arc<Api>>,
    Path((id, event)): Path<(String, String)>,
) -> Answer<ForgottenCount> {
    let module = api.module_replays.known(&id).await?;
    let event = Some(listing::path_number(&event)?);
    Ok(Reply::of(&ForgottenCount { forgotten: api.module_replays.forget(&module, event).await? }))
}

/// What stands behind the `?` of a replay; the same may stand in its data.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ReplayQuery {
    /// Only events that failed first then or later.
    #[param(value_type = Option<times::Moment>)]
    since: Option<String>,
    /// Only this event.
    #[param(pattern = "^[0-9]{1,18}$")]
    event: Option<String>,
    /// Only says what would be fired, and to whom.
    #[param(value_type = Option<bool>)]
    dry_run: Option<String>,
    /// How many events a dry run looks at: 100 where it is not said.
    #[param(value_type = Option<u64>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
}

/// Which of a module's failed events are to be handed to it.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = NewModuleReplay, example = json!({"since": "2h"}))]
pub(super) struct NewModuleReplayShape {
    /// Those that failed first then or later.
    #[schema(required = false, value_type = times::Moment)]
    since: Option<String>,
    /// This one.
    #[schema(required = false, value_type = u64)]
    event: Option<i64>,
    /// Only says what would be fired, and to whom.
    #[schema(required = false, value_type = bool)]
    dry_run: Option<bool>,
    /// How many events a dry run looks at: 100 where it is not said.
    #[schema(required = false, value_type = u64, minimum = 1, maximum = 1000)]
    limit: Option<u64>,
}

/// A job, or what it would do.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = ModuleReplayAnswer)]
pub(super) enum ReplayAnswerShape {
    Job(ModuleReplayShape),
    Planned(DryRunShape),
}

/// Hands events that a module could not handle to the generation that serves
///
/// All of them, where nothing is said. The header `location` says where to see how far it has come. Hooks that got theirs
/// already do not get them again. A dry run answers what would be fired by which generation, and to whom.
#[utoipa::path(post, path = "/modules/{id}/replay", tag = "Modules", operation_id = "module_replay", params(ReplayQuery), request_body = NewModuleReplayShape, responses(
    (status = 409, description = "The module is not loaded, or quarantined")
))]
pub(super) async fn replay(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    StrictQuery(query, _): StrictQuery<ReplayQuery>,
    DataIfAny(data, _): DataIfAny<NewModuleReplayShape>,
) -> Answer<ReplayAnswerShape, 202> {
    let wanted = wanted(query, data)?;
    if let Some(limit) = wanted.dry_run {
        let planned = api.module_replays.dry_run(&id, wanted.choice, limit).await?;
        return Ok(Reply::of(&ReplayAnswerShape::Planned(DryRunShape::of(&id, &planned))));
    }
    let job = api.module_replays.begin(&id, wanted.choice).await?;
    let location = format!("/modules/{}/replays/{}", job.wanted.module, job.id);
    Ok(Reply::of(&ReplayAnswerShape::Job(ModuleReplayShape::of(&job))).at(&location))
}

/// Lists the replays of a module
#[utoipa::path(
    get,
    path = "/modules/{id}/replays",
    tag = "Modules",
    operation_id = "module_replays_list",
    params(JobListQuery)
)]
pub(super) async fn replays(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    StrictQuery(wanted, _): StrictQuery<JobListQuery>,
) -> Answer<PagedData<ModuleReplayShape>> {
    let module = api.module_replays.known(&id).await?;
    let size = listing::size(wanted.page_size.as_deref(), None)?.min(MOST);
    let start = start(wanted.start_key.as_deref())?;
    let below = start.map_or(i64::MAX, |start| start.saturating_add(1));
    let jobs = api.ledger.module_replays(&module, below, size + 1).await?;
    let next = jobs.get(size).map(|job| job.id.to_string());
    let shown: Vec<ModuleReplayShape> = jobs.iter().take(size).map(ModuleReplayShape::of).collect();
    Ok(Reply::page(&shown, wanted.start_key, next))
}

/// Shows how far a replay of a module has come
#[utoipa::path(
    get,
    path = "/modules/{id}/replays/{replay}",
    tag = "Modules",
    operation_id = "module_replay_show"
)]
pub(super) async fn show_replay(
    State(api): State<Arc<Api>>,
    Path((id, replay)): Path<(String, String)>,
) -> Answer<ModuleReplayShape> {
    let module = api.module_replays.known(&id).await?;
    Ok(Reply::of(&ModuleReplayShape::of(
        &api.module_replays.job(&module, listing::path_number(&replay)?).await?,
    )))
}

/// Ends a replay of a module before its end
#[utoipa::path(post, path = "/modules/{id}/replays/{replay}/cancel", tag = "Modules", operation_id = "module_replay_cancel", responses(
    (status = 409, description = "It has ended already")
))]
pub(super) async fn cancel_replay(
    State(api): State<Arc<Api>>,
    Path((id, replay)): Path<(String, String)>,
) -> Answer<ModuleReplayShape> {
    let module = api.module_replays.known(&id).await?;
    Ok(Reply::of(&ModuleReplayShape::of(
        &api.module_replays.cancel(&module, listing::path_number(&replay)?).await?,
    )))
}

/// What a replay is for; with the number of events that are looked at, where it is a dry run.
#[derive(Debug, PartialEq, Eq)]
struct WantedReplay {
    choice: ReplayChoice,
    dry_run: Option<usize>,
}

fn wanted(query: ReplayQuery, data: TypedDocument<NewModuleReplayShape>) -> Result<WantedReplay, Failure> {
    let invalid =
        |field: &str, code: &str, message: &str| Failure::validation(fields::invalid(field, code, message));
    if let Some((field, value)) = data.rest.iter().find(|(_, value)| !value.is_null()) {
        let known = field_names::<NewModuleReplayShape>();
        let message = match known.contains(&field.as_str()) {
            true => format!("has the wrong type: {value}"),
            false => format!("there is no such field: {} are", known.join(", ")),
        };
        return Err(invalid(field, "type", &message));
    }
    let data = data.known;
    let since = data.since.or(query.since);
    let event = data.event.map_or_else(|| number("event", query.event.as_deref()), |id| Ok(Some(id)))?;
    if since.is_some() && event.is_some() {
        return Err(invalid("event", "forbidden", "give either since or event"));
    }
    let limit = match data.limit {
        Some(limit) => Some(limit),
        None => number("limit", query.limit.as_deref())?.map(|limit| u64::try_from(limit).unwrap_or(0)),
    };
    if limit.is_some_and(|limit| !(1..=DRY_RUN_MOST).contains(&limit)) {
        return Err(invalid("limit", "invalid", &format!("must be a number from 1 to {DRY_RUN_MOST}")));
    }
    let dry_run = match data.dry_run {
        Some(dry_run) => dry_run,
        None => listing::flag("dry_run", query.dry_run.as_deref())?.unwrap_or(false),
    };
    if limit.is_some() && !dry_run {
        return Err(invalid("limit", "forbidden", "is for a dry run; a replay takes since or event"));
    }
    let limit = limit.map_or(DRY_RUN, |limit| usize::try_from(limit).unwrap_or(DRY_RUN));
    Ok(WantedReplay {
        choice: ReplayChoice { since_ms: listing::moment("since", since.as_deref())?, event },
        dry_run: dry_run.then_some(limit),
    })
}

fn number(field: &str, text: Option<&str>) -> Result<Option<i64>, Failure> {
    let read = text.map(str::parse).transpose();
    read.map_err(|_| {
        let message = format!("must be a number, not {:?}", text.unwrap_or_default());
        Failure::validation(fields::invalid(field, "invalid", &message))
    })
}

impl From<NotHandedOver> for Failure {
    fn from(error: NotHandedOver) -> Self {
        let conflict = |code: &str| Failure::new(StatusCode::CONFLICT, code, error.to_string());
        match &error {
            NotHandedOver::UnknownModule(id) => Failure::bad_identifier(id),
            NotHandedOver::Unknown(id) => Failure::bad_identifier(&id.to_string()),
            NotHandedOver::NotLoaded(_) => conflict("module_not_loaded"),
            NotHandedOver::Quarantined(_) => conflict("module_quarantined"),
            NotHandedOver::Ended(_) => conflict("replay_ended"),
            NotHandedOver::Store(failed) => failed.clone().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(query: ReplayQuery, data: &Value) -> Result<WantedReplay, Failure> {
        wanted(query, TypedDocument::read(data.as_object().cloned().unwrap()))
    }

    #[test]
    fn a_replay_is_asked_for_in_the_data_or_in_the_query() {
        let all = WantedReplay { choice: ReplayChoice::default(), dry_run: None };
        assert_eq!(read(ReplayQuery::default(), &json!({})).unwrap(), all);
        let one = ReplayChoice { since_ms: None, event: Some(7) };
        let query = || ReplayQuery {
            event: Some("7".to_owned()),
            dry_run: Some("true".to_owned()),
            ..ReplayQuery::default()
        };
        let expected = WantedReplay { choice: one, dry_run: Some(DRY_RUN) };
        assert_eq!(read(query(), &json!({})).unwrap(), expected);
        let data = json!({"event": 7, "dry_run": true, "limit": 5});
        let expected = WantedReplay { choice: one, dry_run: Some(5) };
        assert_eq!(read(ReplayQuery::default(), &data).unwrap(), expected);
        let since = ReplayChoice { since_ms: Some(2_000), event: None };
        let expected = WantedReplay { choice: since, dry_run: None };
        assert_eq!(read(ReplayQuery::default(), &json!({"since": "2"})).unwrap(), expected);
        for (data, field) in [
            (json!({"event": "x"}), "event"),
            (json!({"events": 1}), "events"),
            (json!({"since": "noon"}), "since"),
            (json!({"since": "2h", "event": 1}), "event"),
            (json!({"dry_run": true, "limit": 0}), "limit"),
            (json!({"limit": 5}), "limit"),
            (json!({"dry_run": "yes"}), "dry_run"),
        ] {
            let failure = read(ReplayQuery::default(), &data).unwrap_err();
            assert!(failure.data.get(field).is_some(), "{}", failure.data);
        }
    }
}
