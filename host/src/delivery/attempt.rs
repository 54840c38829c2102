//! One try of a payload at a hook: the request, the exchange, and what is known of it after.

use std::sync::Arc;

use super::client::EndpointClient;
use super::request::{SharedBodies, UnsendableHook, WebhookHeaders};
use crate::attempts::trace::ExchangeTrace;
use crate::background::spawn_background;
use crate::clock::now_ms;
use crate::model::EndpointAnswer;
use crate::model::HttpExchange;
use crate::model::OutgoingRequest;
use crate::model::{Hook, Verb};

/// What was sent, and what came back.
#[derive(Debug)]
pub struct SentAttempt {
    /// The request; nothing where none could be made.
    pub request: Option<OutgoingRequest>,
    /// How it went.
    pub trace: ExchangeTrace,
    /// What came back.
    pub sent: HttpExchange,
}

impl SentAttempt {
    /// Sends a payload to a hook, now. `marks` are headers that go along.
    pub async fn of(
        client: &EndpointClient,
        bodies: &Arc<SharedBodies>,
        hook: &Arc<Hook>,
        webhook_id: &str,
        marks: &[(&str, &str)],
    ) -> Self {
        let mut trace = ExchangeTrace::default();
        let mut request = match made(bodies, hook, webhook_id).await {
            Ok(request) => request,
            Err(why) => return SentAttempt { request: None, trace, sent: unsent(&why) },
        };
        request.headers.extend(marks.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        // The hook's own address was parsed once; only a query makes another one of it.
        let url = if request.method == Verb::Get { None } else { hook.uri.url().cloned() };
        let sent = client.send(&request, url, &mut trace).await;
        SentAttempt { request: Some(request), trace, sent }
    }
}

/// The request. One that takes long to make leaves the thread, which others wait for.
async fn made(
    bodies: &Arc<SharedBodies>,
    hook: &Arc<Hook>,
    webhook_id: &str,
) -> Result<OutgoingRequest, UnsendableHook> {
    let timestamp = now_ms() / 1000;
    if bodies.are_soon_made(hook) {
        return bodies.request(hook, Some(WebhookHeaders { webhook_id, timestamp }));
    }
    let (bodies, hook, webhook_id) = (Arc::clone(bodies), Arc::clone(hook), webhook_id.to_owned());
    let stamped = move || bodies.request(&hook, Some(WebhookHeaders { webhook_id: &webhook_id, timestamp }));
    match spawn_background(stamped).await {
        Ok(request) => request,
        // As if it had been made here.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn unsent(why: &UnsendableHook) -> HttpExchange {
    let answer = match why {
        UnsendableHook::Locked(_) => EndpointAnswer::ClientError,
        // No other try would find another request.
        UnsendableHook::Header { .. } | UnsendableHook::TooLong { .. } => EndpointAnswer::Refused,
    };
    HttpExchange { answer, told: why.to_string() }
}
