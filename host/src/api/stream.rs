//! `GET /stream`: what happens, as server-sent events with ids, from which a client that was cut off goes on
//! (`Last-Event-ID`, as the HTML standard has it).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse as _;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, StreamExt as _};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::IntoParams;

use super::Api;
use super::caller::ApiCaller;
use super::envelope::RawResponse;
use super::error::Failure;
use super::known::StrictQuery;
use crate::clock;
use crate::hooks::editor::fields;
use crate::model::AccountId;
use crate::stream::{HostEvent, HostStream, StreamEntry};

/// How many may watch at once.
pub(super) const WATCHERS: usize = 256;

/// How much is written in one go.
const AT_ONCE: usize = 100;

/// A quiet stream shows this often that it is there.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// What a watcher wants.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StreamQuery {
    /// Only what belongs to this account.
    account: Option<String>,
    /// Only these kinds, with commas between them.
    #[param(
        pattern = "^(?:delivery|module|failed_events|module_replay|hook)(?:,(?:delivery|module|failed_events|module_replay|hook))*$"
    )]
    kinds: Option<String>,
    /// In place of the header, which browsers only send when they come back.
    #[param(pattern = "^[0-9a-f]{8}-[0-9]{1,18}$")]
    last_event_id: Option<String>,
}

impl StreamQuery {
    fn check(&self) -> Result<(), Failure> {
        let known = ["delivery", "module", "failed_events", "module_replay", "hook"];
        let mut kinds = self.kinds.iter().flat_map(|kinds| kinds.split(','));
        match kinds.find(|kind| !known.contains(kind)) {
            None => Ok(()),
            Some(kind) => {
                let message = format!("{kind:?} is no kind: {} are", known.join(", "));
                Err(Failure::validation(fields::invalid("kinds", "enum", &message)))
            }
        }
    }

    fn wants(&self, what: &HostEvent) -> bool {
        let own = |account: &AccountId| self.account.as_ref().is_none_or(|wanted| wanted == account.as_str());
        let kind = self.kinds.as_ref().is_none_or(|kinds| kinds.split(',').any(|kind| kind == what.kind()));
        kind && what.account().map_or(self.account.is_none(), own)
    }
}

/// What is left to do for one watcher.
struct StreamWatcher {
    stream: Arc<HostStream>,
    wish: StreamQuery,
    after: u64,
    _place: OwnedSemaphorePermit,
}

/// Watches what happens
///
/// Server-sent events `delivery`, `module` and `hook` with ids; with the last id that it has seen (`Last-Event-ID`) a
/// client that was cut off goes on where it was. `missed` says how much was forgotten meanwhile.
#[utoipa::path(get, path = "/stream", tag = "Events", params(StreamQuery), responses(
    (status = 200, description = "What happens, until the client goes", content_type = "text/event-stream", body = String)
))]
pub(super) async fn watch(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<ApiCaller>,
    StrictQuery(wish, _): StrictQuery<StreamQuery>,
    headers: HeaderMap,
) -> Result<RawResponse, Failure> {
    wish.check()?;
    let place =
        Arc::clone(&api.watchers).try_acquire_owned().map_err(|_| Failure::too_many_watchers(WATCHERS))?;
    let known =
        headers.get("last-event-id").and_then(|id| id.to_str().ok()).or(wish.last_event_id.as_deref());
    let after = match known {
        None => api.stream.now(),
        Some(id) => api.stream.number_of(id).ok_or_else(|| {
            Failure::validation(fields::invalid("last_event_id", "invalid", "it is no id of this stream"))
        })?,
    };
    let watching = StreamWatcher { stream: Arc::clone(&api.stream), wish, after, _place: place };
    let events = stream::unfold(watching, |mut watching| async move {
        let events = watching.next().await;
        Some((stream::iter(events.into_iter().map(Ok::<_, Infallible>)), watching))
    });
    let stop = api.stop.clone();
    let lasts = match &caller {
        ApiCaller::Known { token, .. } => api.access.log_ins.lasts(token, clock::unix_now()),
        ApiCaller::Anybody(_) | ApiCaller::Throttled { .. } => None,
    };
    let log_in_ended = async move {
        match lasts {
            Some(lasts) => tokio::time::sleep(lasts).await,
            None => std::future::pending().await,
        }
    };
    let revoked = caller.holder().map(|holder| holder.revoked()).unwrap_or_default();
    let over = async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = revoked.cancelled() => {}
            () = log_in_ended => {}
        }
    };
    let until_over = events.flatten().take_until(over);
    let begun = stream::iter([Ok(Event::default().comment("watching"))]);
    let sse = Sse::new(begun.chain(until_over).boxed());
    Ok(RawResponse(sse.keep_alive(KeepAlive::new().interval(SIGN_OF_LIFE)).into_response()))
}

impl StreamWatcher {
    async fn next(&mut self) -> Vec<Event> {
        let news = self.stream.after(self.after, AT_ONCE).await;
        let mut events = Vec::new();
        if news.missed > 0 {
            events.push(event("missed", None, &json!({"missed": news.missed})));
        }
        if let Some(last) = news.happened.last() {
            self.after = last.number;
        }
        for happened in news.happened.iter().filter(|happened| self.wish.wants(&happened.what)) {
            events.push(self.told(happened));
        }
        events
    }

    fn told(&self, happened: &StreamEntry) -> Event {
        event(happened.what.kind(), Some(self.stream.id_of(happened.number)), &happened.json())
    }
}

fn event(kind: &str, id: Option<String>, data: &serde_json::Value) -> Event {
    let event = Event::default().event(kind).data(data.to_string());
    match id {
        Some(id) => event.id(id),
        None => event,
    }
}
