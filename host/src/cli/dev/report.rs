//! What is said of one event: whether the module handled it, what it fired, and the requests that came of it, as lines that
//! are the same as long as the module does the same.

use serde_json::{Value, json};

use super::bounded::{ShownLines, shortened};
use super::hiding::{HIDDEN, RunWindow, push_json, shown_header};
use super::planned::PlannedFiring;
use super::receiver::{ArrivedRequest, ArrivedRequests};
use crate::module::HookTarget;

/// Firings of one event that are shown; of the others there is a count and a digest.
const MOST_FIRINGS: usize = 50;

/// Lines and bytes of one payload or body.
const BODY: (usize, usize) = (200, 16 << 10);

/// Lines and bytes of one event.
const EVENT: (usize, usize) = (2_000, 64 << 10);

/// Requests of one firing that are shown.
const MOST_REQUESTS: usize = 10;

/// What came of one event.
pub(super) struct EventRun {
    /// `Event-Category` and `Event-Name`.
    pub(super) kind: (String, String),
    /// Why the module did not handle it, if it did not.
    pub(super) failure: Option<String>,
    /// What else is to be said.
    pub(super) note: Option<String>,
    /// What it fired.
    pub(super) planned: Vec<PlannedFiring>,
    /// What arrived at the receiver.
    pub(super) arrived: ArrivedRequests,
    /// When.
    pub(super) window: RunWindow,
}

/// The same as it is shown.
#[derive(Debug, Default)]
pub(super) struct EventReport {
    /// `category/name`
    pub(super) kind: String,
    /// Why the module did not handle it, or what did not arrive.
    pub(super) failure: Option<String>,
    pub(super) note: Option<String>,
    /// How much it fired.
    pub(super) firings: usize,
    /// How many requests arrived.
    pub(super) requests: usize,
    shown: Vec<FiringReport>,
    /// What is said of the firings that are not shown.
    more: Vec<String>,
}

#[derive(Debug)]
struct FiringReport {
    hook_event: Option<String>,
    account: Option<String>,
    filters: Vec<(String, Option<String>)>,
    internal_leg: bool,
    note: Option<String>,
    requests: Vec<RequestReport>,
    /// Where no request has it.
    payload: Vec<String>,
}

#[derive(Debug)]
struct RequestReport {
    method: String,
    to: String,
    headers: Vec<(String, String)>,
    body: Vec<String>,
    has_arrived: bool,
}

impl EventReport {
    /// Puts together what is shown. Costs as much as what was fired is long.
    pub(super) fn of(run: EventRun) -> Self {
        let EventRun { kind: (category, name), failure, note, planned, mut arrived, window } = run;
        let mut report = EventReport {
            kind: shortened(&format!("{category}/{name}")),
            failure: failure.map(|failure| shortened(&failure)),
            note: note.map(|note| shortened(&note)),
            firings: planned.len(),
            ..EventReport::default()
        };
        let mut rest = ShownLines::new(0, 0);
        let mut missing = 0_usize;
        for (nth, planned) in planned.into_iter().enumerate() {
            let mut requests = Vec::new();
            for request in &planned.requests {
                let came = arrived.get_mut(&request.key).and_then(std::collections::VecDeque::pop_front);
                let came = came.filter(|_| request.is_sent);
                report.requests += usize::from(came.is_some());
                missing += usize::from(request.is_sent && came.is_none());
                requests.push(came);
            }
            if nth < MOST_FIRINGS {
                report.shown.push(FiringReport::of(&planned, requests, &window));
            } else {
                rest.push(&headline(&planned));
                push_json(&text_of(planned.firing.payload.json()), &window, &mut rest);
            }
        }
        if report.firings > MOST_FIRINGS {
            report.more.push(format!("… and {} more firings", report.firings - MOST_FIRINGS));
            report.more.extend(rest.finish());
        }
        if missing > 0 && report.failure.is_none() {
            report.failure = Some(format!("{missing} of its requests did not arrive at the receiver"));
        }
        report
    }

    /// Its lines, at most a few thousand.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = ShownLines::new(EVENT.0, EVENT.1);
        lines.push(&self.kind);
        self.failure.iter().for_each(|failure| lines.push(&format!("failed: {failure}")));
        self.note.iter().for_each(|note| lines.push(note));
        for firing in &self.shown {
            lines.push(&firing.headline());
            firing.note.iter().for_each(|note| lines.push(&format!("  {note}")));
            for request in &firing.requests {
                request.push_to(&mut lines);
            }
            firing.payload.iter().for_each(|line| lines.push(&format!("  {line}")));
        }
        self.more.iter().for_each(|line| lines.push(line));
        lines.finish()
    }

    /// For programs; without what was fired where that is too much.
    pub(super) fn json(&self) -> Value {
        let shown: Vec<Value> = self.shown.iter().map(FiringReport::json).collect();
        let bytes: usize = shown.iter().map(|firing| firing.to_string().len()).sum();
        json!({
            "kind": self.kind,
            "failure": self.failure,
            "note": self.note,
            "firings": self.firings,
            "requests": self.requests,
            "shown": (bytes <= EVENT.1).then_some(shown),
        })
    }
}

impl FiringReport {
    fn of(planned: &PlannedFiring, came: Vec<Option<ArrivedRequest>>, window: &RunWindow) -> Self {
        let (hook_event, account, filters, internal_leg) = match &planned.firing.target {
            HookTarget::Hooks { event, account, internal_leg, filters } => {
                let filter = |filter: &crate::hooks::matching::PayloadFilter| {
                    (shortened(&filter.key), filter.value.as_deref().map(shortened))
                };
                let filters = filters.iter().take(MOST_REQUESTS).map(filter).collect();
                (Some(shortened(event)), Some(shortened(account.as_str())), filters, *internal_leg)
            }
            HookTarget::Carried(_) => (None, None, Vec::new(), false),
        };
        let requests: Vec<RequestReport> = planned
            .requests
            .iter()
            .zip(came)
            .take(MOST_REQUESTS)
            .map(|(request, came)| {
                let body = shown_json(&request.request.body, window);
                let (method, to) = (request.request.method.as_str(), request.request.url.clone());
                match came {
                    Some(ArrivedRequest { method, path, headers }) => {
                        RequestReport { method, to: path, headers, body, has_arrived: true }
                    }
                    None => RequestReport {
                        method: method.to_ascii_uppercase(),
                        to,
                        headers: headers_of(&request.request.headers),
                        body,
                        has_arrived: false,
                    },
                }
            })
            .collect();
        let payload = match requests.is_empty() {
            true => shown_json(planned.firing.payload.json(), window),
            false => Vec::new(),
        };
        let note = planned.note.as_deref().map(shortened);
        FiringReport { hook_event, account, filters, internal_leg, note, requests, payload }
    }

    fn headline(&self) -> String {
        let (Some(event), Some(account)) = (&self.hook_event, &self.account) else {
            return "fires at the hook that the event carries".to_owned();
        };
        let mut line = format!("fires {event} for {account}");
        for (key, value) in &self.filters {
            line.push_str(&match value {
                Some(value) => format!(", {key} {value:?}"),
                None => format!(", {key} none"),
            });
        }
        if self.internal_leg {
            line.push_str(", internal leg");
        }
        line
    }

    fn json(&self) -> Value {
        let filters: serde_json::Map<String, Value> =
            self.filters.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
        json!({
            "hook_event": self.hook_event,
            "account": self.account,
            "filters": filters,
            "internal_leg": self.internal_leg,
            "note": self.note,
            "payload": (!self.payload.is_empty()).then(|| self.payload.join("\n")),
            "requests": self.requests.iter().map(RequestReport::json).collect::<Vec<_>>(),
        })
    }
}

impl RequestReport {
    fn push_to(&self, lines: &mut ShownLines) {
        lines.push(&format!("  {} {}", self.method, self.to));
        for (name, value) in &self.headers {
            lines.push(&format!("    {name}: {value}"));
        }
        for line in &self.body {
            lines.push(&format!("    {line}"));
        }
    }

    fn json(&self) -> Value {
        let headers: serde_json::Map<String, Value> =
            self.headers.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        json!({
            "method": self.method,
            "to": self.to,
            "headers": headers,
            "body": self.body.join("\n"),
            "arrived": self.has_arrived,
        })
    }
}

fn headline(planned: &PlannedFiring) -> String {
    match &planned.firing.target {
        HookTarget::Hooks { event, account, .. } => format!("{event} {account}"),
        HookTarget::Carried(_) => String::new(),
    }
}

fn headers_of(headers: &[(String, String)]) -> Vec<(String, String)> {
    let shown = |(name, value): &(String, String)| Some((name.clone(), shown_header(name, value)?));
    let mut headers: Vec<(String, String)> = headers.iter().filter_map(shown).collect();
    headers.extend(["webhook-id", "webhook-timestamp"].map(|name| (name.to_owned(), HIDDEN.to_owned())));
    headers.sort();
    headers.dedup_by(|one, other| one.0 == other.0);
    headers
}

fn shown_json(bytes: &[u8], window: &RunWindow) -> Vec<String> {
    let mut lines = ShownLines::new(BODY.0, BODY.1);
    push_json(&text_of(bytes), window, &mut lines);
    lines.finish()
}

fn text_of(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::model::AccountId;
    use crate::model::payload::Payload;
    use crate::module::Firing;

    const WINDOW: RunWindow = RunWindow { from_ms: 1_767_323_045_678, to_ms: 1_767_323_046_678 };

    fn firing(payload: &str) -> PlannedFiring {
        let target = HookTarget::Hooks {
            event: "tide".to_owned(),
            account: AccountId::from("acct1"),
            internal_leg: false,
            filters: Vec::new(),
        };
        let payload = Payload::parse(Bytes::copy_from_slice(payload.as_bytes())).unwrap();
        let note = Some("no request".to_owned());
        PlannedFiring { firing: Firing { target, payload }, requests: Vec::new(), note }
    }

    fn report(planned: Vec<PlannedFiring>) -> EventReport {
        let kind = ("sea".to_owned(), "turned".to_owned());
        let arrived = ArrivedRequests::default();
        EventReport::of(EventRun { kind, failure: None, note: None, planned, arrived, window: WINDOW })
    }

    #[test]
    fn a_firing_without_a_request_shows_its_payload_and_why() {
        assert_eq!(
            report(vec![firing(r#"{"a":1,"at":1767323046}"#)]).lines(),
            [
                "sea/turned",
                "fires tide for acct1",
                "  no request",
                "  {",
                "    \"a\": 1,",
                "    \"at\": (now)",
                "  }"
            ]
        );
    }

    #[test]
    fn of_a_module_that_fires_very_often_the_first_firings_are_shown_and_a_change_of_the_last_is_noticed() {
        let many = |last: &str| {
            let mut planned: Vec<PlannedFiring> =
                (0..999).map(|n| firing(&format!("{{\"n\":{n}}}"))).collect();
            planned.push(firing(last));
            report(planned)
        };
        let (one, same, other) = (many("{\"x\":1}"), many("{\"x\":1}"), many("{\"x\":2}"));
        assert_eq!(one.firings, 1_000);
        let lines = one.lines();
        assert!(lines.len() < 400 && lines.contains(&"… and 950 more firings".to_owned()), "{lines:?}");
        assert_eq!(lines, same.lines());
        assert_ne!(lines, other.lines());
    }

    #[test]
    fn a_module_that_fires_megabytes_fills_no_memory() {
        let large = format!("{{\"x\":[{}0]}}", "\"word\",".repeat(100_000));
        let lines = report((0..5).map(|_| firing(&large)).collect()).lines();
        assert!(lines.len() <= EVENT.0 + 1 && lines.iter().map(String::len).sum::<usize>() < EVENT.1 + 4_000);
    }
}
