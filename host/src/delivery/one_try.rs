//! One try of a payload at a hook: the request, the exchange, and what is known of it after.

use super::client::Client;
use super::request::{SharedBodies, Stamp, Unsendable};
use crate::attempts::trace::Trace;
use crate::clock::now_ms;
use crate::model::Answer;
use crate::model::Outgoing;
use crate::model::Sent;
use crate::model::{Hook, Verb};

/// What was sent, and what came back.
#[derive(Debug)]
pub struct OneTry {
    /// The request; nothing where none could be made.
    pub request: Option<Outgoing>,
    /// How it went.
    pub trace: Trace,
    /// What came back.
    pub sent: Sent,
}

impl OneTry {
    /// Sends a payload to a hook, now. `marks` are headers that go along.
    pub async fn of(
        client: &Client,
        bodies: &SharedBodies,
        hook: &Hook,
        webhook_id: &str,
        marks: &[(&str, &str)],
    ) -> Self {
        let stamp = Stamp { webhook_id, timestamp: now_ms() / 1000 };
        let mut trace = Trace::default();
        let mut request = match bodies.request(hook, Some(stamp)) {
            Ok(request) => request,
            Err(why) => return OneTry { request: None, trace, sent: unsent(&why) },
        };
        request.headers.extend(marks.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        // The hook's own address was parsed once; only a query makes another one of it.
        let url = if request.method == Verb::Get { None } else { hook.url.clone() };
        let sent = client.send(&request, url, &mut trace).await;
        OneTry { request: Some(request), trace, sent }
    }
}

fn unsent(why: &Unsendable) -> Sent {
    let answer = match why {
        Unsendable::Locked(_) => Answer::ClientError,
        // No other try would find another request.
        Unsendable::Header { .. } | Unsendable::TooLong { .. } => Answer::Refused,
    };
    Sent { answer, told: why.to_string() }
}
