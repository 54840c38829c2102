//! `/deliveries` and `/replays`: what waits and what is dead, and what is sent again.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::envelope::Reply;
use super::error::Failure;
use super::known::Known;
use super::{Api, body, listing};
use crate::delivery::retries::now_ms;
use crate::hooks::Document;
use crate::hooks::editor::fields;
use crate::replays::NotReplayed;
use crate::store::{DeliveryQuery, DeliveryRow, NewReplay, Replay};
use crate::times;

type Answer = Result<Reply, Failure>;

/// Entries on one page.
const MOST: usize = 1_000;

/// What stands behind the `?`. Texts, so that a wrong one is named and not just refused.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Wanted {
    status: Option<String>,
    account: Option<String>,
    hook: Option<String>,
    since: Option<String>,
    until: Option<String>,
    page_size: Option<String>,
    start_key: Option<String>,
}

/// What stands behind the `?` of `GET /replays`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Page {
    page_size: Option<String>,
    start_key: Option<String>,
}

pub(super) async fn list(State(api): State<Arc<Api>>, Known(wanted, _): Known<Wanted>) -> Answer {
    let size = listing::size(wanted.page_size.as_deref(), None)?.min(MOST);
    let query = DeliveryQuery {
        dead: status(wanted.status.as_deref())?,
        account: wanted.account.map(Into::into),
        hook: wanted.hook.map(Into::into),
        since_ms: moment("since", wanted.since.as_deref())?,
        until_ms: moment("until", wanted.until.as_deref())?,
        start: start(wanted.start_key.as_deref())?,
        limit: size + 1,
    };
    let rows = api.store.deliveries(query).await?;
    let next = rows.get(size).map(|row| row.id);
    Ok(page(rows.iter().take(size).map(shown).collect(), wanted.start_key, next))
}

pub(super) async fn show(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer {
    let (row, payload) =
        api.store.delivery(number(&id)?).await?.ok_or_else(|| Failure::bad_identifier(&id))?;
    let mut delivery = shown(&row);
    delivery["payload"] = serde_json::from_slice(&payload).unwrap_or_default();
    Ok(Reply::ok(delivery))
}

pub(super) async fn replay(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer {
    let row = api.replays.one(number(&id)?).await?;
    Ok(Reply::ok(shown(&row)).with_status(StatusCode::ACCEPTED))
}

pub(super) async fn replay_many(State(api): State<Arc<Api>>, headers: HeaderMap, body: Body) -> Answer {
    let data = body::data(&headers, body, &api.limits).await?;
    let job = api.replays.begin(replay_of(&data)?).await?;
    let location = format!("/replays/{}", job.id);
    Ok(Reply::created(shown_job(&job), &location).with_status(StatusCode::ACCEPTED))
}

pub(super) async fn replays(State(api): State<Arc<Api>>, Known(wanted, _): Known<Page>) -> Answer {
    let size = listing::size(wanted.page_size.as_deref(), None)?.min(MOST);
    let below = start(wanted.start_key.as_deref())?.map_or(i64::MAX, |start| start.saturating_add(1));
    let jobs = api.store.replays(below, size + 1).await?;
    let next = jobs.get(size).map(|job| job.id);
    Ok(page(jobs.iter().take(size).map(shown_job).collect(), wanted.start_key, next))
}

pub(super) async fn show_replay(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer {
    let job = api.store.replay(number(&id)?).await?.ok_or_else(|| Failure::bad_identifier(&id))?;
    Ok(Reply::ok(shown_job(&job)))
}

pub(super) async fn cancel_replay(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer {
    Ok(Reply::ok(shown_job(&api.replays.cancel(number(&id)?).await?)))
}

/// What a job is to send again.
fn replay_of(data: &Document) -> Result<NewReplay, Failure> {
    let invalid =
        |field: &str, code: &str, message: &str| Failure::validation(fields::invalid(field, code, message));
    let known = ["account", "hook", "status", "since", "until"];
    for (field, value) in data {
        if !known.contains(&field.as_str()) {
            let message = format!("there is no such field: {} are", known.join(", "));
            return Err(invalid(field, "unknown", &message));
        }
        if !value.is_string() {
            return Err(invalid(field, "type", "must be a text"));
        }
    }
    let text = |field: &str| data.get(field).and_then(Value::as_str);
    if !matches!(text("status"), None | Some("dead")) {
        let message = "only dead deliveries are sent again; pending ones are sent without being asked to";
        return Err(invalid("status", "enum", message));
    }
    if data.keys().all(|field| field == "status") {
        return Err(invalid("hook", "required", "say which: account, hook, since or until"));
    }
    Ok(NewReplay {
        account: text("account").map(Into::into),
        hook: text("hook").map(Into::into),
        since_ms: moment("since", text("since"))?,
        until_ms: moment("until", text("until"))?,
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

fn moment(field: &str, text: Option<&str>) -> Result<Option<i64>, Failure> {
    let read = text.map(|text| times::moment(text, now_ms())).transpose();
    read.map_err(|message| Failure::validation(fields::invalid(field, "invalid", &message)))
}

fn start(key: Option<&str>) -> Result<Option<i64>, Failure> {
    let read = key.map(str::parse).transpose();
    read.map_err(|_| {
        let message = "start_key must be the next_start_key of an earlier page";
        Failure::validation(fields::invalid("start_key", "invalid", message))
    })
}

fn number(id: &str) -> Result<i64, Failure> {
    id.parse().map_err(|_| Failure::bad_identifier(id))
}

fn page(items: Vec<Value>, start_key: Option<String>, next: Option<i64>) -> Reply {
    let size = items.len();
    let reply = Reply::ok(items).beside("page_size", size);
    let reply = start_key.into_iter().fold(reply, |reply, key| reply.beside("start_key", key));
    next.into_iter().fold(reply, |reply, id| reply.beside("next_start_key", id.to_string()))
}

fn shown(row: &DeliveryRow) -> Value {
    let mut delivery = json!({
        "id": row.id,
        "status": if row.dead { "dead" } else { "pending" },
        "account_id": row.account.as_str(),
        "hook_id": row.hook.as_str(),
        "webhook_id": row.webhook_id,
        "tries": row.tries,
        "created_at": times::shown_ms(row.created_ms),
    });
    let (when, due) = (if row.dead { "died_at" } else { "due_at" }, times::shown_ms(row.due_ms));
    delivery[when] = due.into();
    if let Some(reason) = &row.reason {
        delivery["reason"] = reason.as_str().into();
    }
    delivery
}

fn shown_job(job: &Replay) -> Value {
    json!({
        "id": job.id,
        "state": job.state.as_str(),
        "account_id": job.wanted.account.as_ref().map(AsRef::<str>::as_ref),
        "hook_id": job.wanted.hook.as_ref().map(AsRef::<str>::as_ref),
        "since": job.wanted.since_ms.and_then(times::shown_ms),
        "until": job.wanted.until_ms.and_then(times::shown_ms),
        "created_at": times::shown_ms(job.created_ms),
        "finished_at": job.finished_ms.and_then(times::shown_ms),
        "total": job.total,
        "replayed": job.replayed,
    })
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
    use super::*;

    #[test]
    fn a_bulk_replay_says_what_it_is_for() {
        let read = |value: Value| replay_of(value.as_object().unwrap());
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
