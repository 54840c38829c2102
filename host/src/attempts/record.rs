//! What an attempt says: the original's fields in profile `kazoo`, the same and more in profile `standard`. Pure.

use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::mask::{self, MASK, SecretMask};
use crate::attempts::trace::{AttemptClass, ExchangeTrace};
use crate::model::DeliveryOutcome;
use crate::model::EndpointAnswer;
use crate::model::HttpExchange;
use crate::model::OutgoingRequest;
use crate::model::Profile;
use crate::model::{Document, Hook};
use crate::store::NewAttempt;
use crate::times;

/// Bytes of an address that are kept: that of a `get` carries the payload.
const ADDRESS: usize = 8192;

/// One try, as it ended.
pub struct AttemptResult<'a> {
    /// Of which delivery; a test is of none.
    pub delivery: Option<i64>,
    /// What the request is recognised by.
    pub webhook_id: &'a str,
    /// Tries before it.
    pub tries: u32,
    /// To which hook.
    pub hook: &'a Hook,
    /// What was sent; nothing where no request could be made.
    pub request: Option<&'a OutgoingRequest>,
    /// What is known of it.
    pub trace: &'a ExchangeTrace,
    /// What came back.
    pub sent: &'a HttpExchange,
    /// What follows.
    pub next: &'a DeliveryOutcome,
}

impl AttemptResult<'_> {
    /// At which part it failed, or that it did not.
    #[must_use]
    pub fn class(&self) -> AttemptClass {
        if self.next == &DeliveryOutcome::Delivered { AttemptClass::Delivered } else { self.trace.class }
    }

    /// Whether somebody asked for it, in place of an event.
    #[must_use]
    pub fn is_test(&self) -> bool {
        self.delivery.is_none()
    }

    /// The attempt as it is kept, with up to `body_limit` bytes of each body. `now` is when it ended.
    #[must_use]
    pub fn attempt(&self, profile: Profile, body_limit: usize, now: OffsetDateTime) -> NewAttempt {
        let document = match profile {
            Profile::Standard => self.standard(body_limit, now),
            Profile::Kazoo => self.original(body_limit),
        };
        NewAttempt {
            account: self.hook.account.clone(),
            hook: self.hook.id.clone(),
            failed: self.next != &DeliveryOutcome::Delivered,
            document: Value::Object(document).to_string(),
        }
    }

    /// The attempt by the fields of profile `standard`, as [`AttemptResult::attempt`] has them.
    #[must_use]
    pub fn standard(&self, body_limit: usize, now: OffsetDateTime) -> Document {
        let (hook, trace) = (self.hook, self.trace);
        let (tries, mask) = (hook.total_tries(Profile::Standard), SecretMask::of(hook));
        let number = self.tries + 1;
        let begun = now.checked_sub(trace.total.try_into().unwrap_or_default()).unwrap_or(now);
        let request_body = self.request.map_or(&[][..], |request| &request.body);
        let mut document = object(json!({
            "hook_id": hook.id.as_str(),
            "hook_event": hook.event.as_str(),
            "delivery_id": self.delivery,
            "webhook_id": self.webhook_id,
            "at": times::shown(begun),
            "result": if self.next == &DeliveryOutcome::Delivered { "success" } else { "failure" },
            "class": self.class().as_str(),
            "reason": mask.text(&self.reason()),
            "try": number,
            "retries_left": if matches!(self.next, DeliveryOutcome::Retry(_)) { tries.saturating_sub(number) } else { 0 },
            "uri": mask::address(&hook.uri),
            "url": self.request.map(|request| text(mask::address(&request.url).as_bytes(), ADDRESS)),
            "method": hook.verb.as_str(),
            "req_headers": self.request_headers(),
            "req_body": text(request_body, body_limit),
            "req_body_bytes": request_body.len(),
            "timing_ms": {
                "resolve": trace.resolve().map(milliseconds),
                "connect": trace.connect().map(milliseconds),
                "stream": trace.stream().map(milliseconds),
                "first_byte": trace.first_byte.map(milliseconds),
                "total": milliseconds(trace.total),
            },
        }));
        if let Some(address) = trace.address {
            document.insert("address".to_owned(), address.to_string().into());
        }
        if let Some(status) = trace.status {
            document.insert("resp_status_code".to_owned(), status.into());
            document.extend(self.response(&mask, body_limit));
        }
        if trace.repeats > 0 {
            document.insert("resent".to_owned(), trace.repeats.into());
        }
        if trace.headers_left_out > 0 {
            document.insert("resp_headers_left_out_bytes".to_owned(), trace.headers_left_out.into());
        }
        if let Some(lost) = &trace.body_lost {
            document.insert("resp_body_lost".to_owned(), lost.as_str().into());
        }
        if let DeliveryOutcome::Retry(wait) = self.next {
            document.insert("next_try_in_ms".to_owned(), milliseconds(*wait).into());
        }
        document.extend(self.mark());
        document
    }

    /// `webhooks_util:save_attempt/1` and what calls it. A counter runs down from the hook's tries; of answers the
    /// original counts one try less as left than of none.
    fn original(&self, body_limit: usize) -> Document {
        let (hook, trace, mask) = (self.hook, self.trace, SecretMask::of(self.hook));
        let tries = if self.is_test() { 1 } else { hook.total_tries(Profile::Kazoo) };
        let counter = tries.saturating_sub(self.tries).max(1);
        let body = self.request.map_or(&[][..], |request| &request.body);
        let mut document = object(json!({
            "hook_id": hook.id.as_str(),
            "hook_event": hook.event.internal_name(),
            "event_id": event_id(self.webhook_id),
            "uri": mask::address(&hook.uri),
            "method": hook.verb.as_str(),
            "req_headers": lowered(self.request_headers()),
            "req_body": text(body, body_limit),
        }));
        let left = |left: u32| if counter == 1 { Value::from("retries exceeded") } else { left.into() };
        let outcome = match self.sent.answer {
            EndpointAnswer::Status { code: 200, .. } => json!({"result": "success"}),
            // A 201 of a put is delivered, and logged as a failure all the same.
            EndpointAnswer::Status { code: 201, .. } if self.next == &DeliveryOutcome::Delivered => {
                json!({"result": "failure", "reason": "bad response code"})
            }
            EndpointAnswer::Status { .. } => json!({
                "result": "failure", "reason": "bad response code", "try": counter, "retries_left": left(counter - 1),
            }),
            EndpointAnswer::ClientError | EndpointAnswer::Refused | EndpointAnswer::Local { .. } => json!({
                "result": "failure", "reason": "kazoo http client error",
                "client_error": self.original_error(&mask),
                "retries": counter, "retries_left": left(counter),
            }),
        };
        document.extend(object(outcome));
        if let (EndpointAnswer::Status { .. }, Some(status)) = (self.sent.answer, trace.status) {
            document.insert("resp_status_code".to_owned(), status.to_string().into());
            document.extend(lowered(self.response(&mask, body_limit)));
        }
        document.extend(self.mark());
        document
    }

    /// What a test has more than the attempt of a delivery.
    fn mark(&self) -> Option<(String, Value)> {
        self.is_test().then(|| ("test".to_owned(), true.into()))
    }

    /// As the original's HTTP client names what went wrong. It has no words for what only this host refuses.
    fn original_error(&self, mask: &SecretMask) -> String {
        let named = match self.trace.class {
            AttemptClass::Timeout | AttemptClass::Stream => "timeout",
            AttemptClass::Connect => "failed_connect: econnrefused",
            AttemptClass::Resolve => "failed_connect: nxdomain",
            AttemptClass::Broken => "socket_closed_remotely",
            AttemptClass::Guard | AttemptClass::Unsent | AttemptClass::Local => {
                return mask.text(&self.sent.told).into_owned();
            }
            AttemptClass::Delivered
            | AttemptClass::Status
            | AttemptClass::ConnectTimeout
            | AttemptClass::Tls => "unknown",
        };
        named.to_owned()
    }

    fn reason(&self) -> String {
        match self.next {
            DeliveryOutcome::Dead(reason) | DeliveryOutcome::Gone(reason) => reason.clone(),
            DeliveryOutcome::Delivered | DeliveryOutcome::Retry(_) | DeliveryOutcome::Postponed(_) => {
                self.sent.told.clone()
            }
        }
    }

    /// Values of the hook's own headers may be passwords.
    fn request_headers(&self) -> Document {
        let own = |name: &str| self.hook.options.headers.iter().any(|(own, _)| own == name);
        let headers = self.request.map_or(&[][..], |request| &request.headers);
        let shown = |value: &str, name: &str| if own(name) { MASK.to_owned() } else { value.to_owned() };
        headers.iter().map(|(name, value)| (name.clone(), shown(value, name).into())).collect()
    }

    fn response(&self, mask: &SecretMask, body_limit: usize) -> Document {
        let mut headers = Document::new();
        for (name, value) in &self.trace.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            let value = mask.answered(name.as_str(), &value);
            match headers.get_mut(name.as_str()) {
                Some(Value::String(before)) => {
                    before.push_str(", ");
                    before.push_str(&value);
                }
                _ => _ = headers.insert(name.as_str().to_owned(), Value::from(&*value)),
            }
        }
        // Masked before it is cut, so that no half of a secret stays at the end.
        let body = String::from_utf8_lossy(&self.trace.body);
        let body = text(mask.text(&body).as_bytes(), body_limit);
        object(json!({"resp_headers": headers, "resp_body": body}))
    }
}

/// The original draws ten hexadecimal digits for each firing; these are the same for every try.
fn event_id(webhook_id: &str) -> String {
    let digits = webhook_id.trim_start_matches("msg_");
    digits.get(..10).unwrap_or(digits).to_owned()
}

/// Names stand in lower case already; of headers the original also lowers the values.
fn lowered(document: Document) -> Document {
    let lower = |value: Value| match value {
        Value::String(text) => Value::String(text.to_lowercase()),
        other => other,
    };
    let one = |(key, value): (String, Value)| match (key.as_str(), value) {
        ("resp_headers", Value::Object(headers)) => (key, Value::Object(lowered(headers))),
        ("resp_body", body) => (key, body),
        (_, value) => (key, lower(value)),
    };
    document.into_iter().map(one).collect()
}

/// The beginning of a text, up to `limit` bytes, cut between characters.
fn text(bytes: &[u8], limit: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let end = (0..=limit.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text[..end].to_owned()
}

fn milliseconds(duration: std::time::Duration) -> f64 {
    // Microseconds are as much as anybody can mean.
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests;
