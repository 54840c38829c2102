//! What the owner of a hook is told on the bus, and where; and what is said of it here.

use bytes::Bytes;
use serde_json::{Value, json};
use tracing::{info, warn};

use crate::clock::GREGORIAN;
use crate::model::Profile;
use crate::model::{AccountId, HookId};
use crate::stream::{HostEvent, HostStream};

/// The exchange of notifications (`kapi_notifications`).
pub const EXCHANGE: &str = "notifications";

/// What has become of a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// It was switched off, for this reason.
    Disabled(String),
    /// It is paused.
    Paused {
        /// Which pause since the last success, from 1.
        step: u32,
        /// When it ends, Unix milliseconds.
        until_ms: i64,
    },
    /// A try has succeeded after a pause.
    Resumed,
}

/// What has become of which hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerNotice {
    /// The hook's owner.
    pub account: AccountId,
    /// The hook.
    pub hook: HookId,
    /// What has become of it.
    pub news: NoticeKind,
}

impl NoticeKind {
    /// As logs, the stream of events and figures call it.
    #[must_use]
    pub fn change(&self) -> &'static str {
        match self {
            Self::Disabled(_) => "disabled",
            Self::Paused { .. } => "paused",
            Self::Resumed => "resumed",
        }
    }

    /// Why, for people.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Disabled(reason) => reason.clone(),
            Self::Paused { step, until_ms } => {
                let until = fields_time(*until_ms);
                format!("too many failed attempts: pause {step}, until {until}")
            }
            Self::Resumed => "a request has succeeded".to_owned(),
        }
    }
}

fn fields_time(ms: i64) -> String {
    crate::hooks::editor::fields::iso_time(ms.div_euclid(1000)).unwrap_or_default()
}

impl OwnerNotice {
    /// The routing key and the message.
    ///
    /// That a hook was switched off is told as the original tells it (`kapi_notifications:webhook_disabled/1`), in
    /// profile `kazoo` to the letter. Without `Server-ID`, as nobody here waits for what the mail application reports.
    /// The original knows no pauses, so nothing of it is bound to their keys. `msg_id` is the message's own name.
    #[must_use]
    pub fn message(&self, profile: Profile, node: &str, msg_id: &str) -> (&'static str, Bytes) {
        let (key, name) = match self.news {
            NoticeKind::Disabled(_) => ("notifications.webhook.disabled", "webhook_disabled"),
            NoticeKind::Paused { .. } => ("notifications.webhook.paused", "webhook_paused"),
            NoticeKind::Resumed => ("notifications.webhook.resumed", "webhook_resumed"),
        };
        let (app, version) = match profile {
            Profile::Kazoo => ("webhooks", "4.0.0"),
            Profile::Standard => ("hookline", env!("CARGO_PKG_VERSION")),
        };
        let mut message = json!({
            "Event-Category": "notification",
            "Event-Name": name,
            "Account-ID": self.account.as_str(),
            "Hook-ID": self.hook.as_str(),
            "App-Name": app,
            "App-Version": version,
            "Node": node,
            "Msg-ID": msg_id,
            "System-Log-ID": msg_id,
        });
        if let (Profile::Standard, Value::Object(fields)) = (profile, &mut message) {
            fields.insert("Reason".to_owned(), self.news.reason().into());
            if let NoticeKind::Paused { step, until_ms } = self.news {
                fields.insert("Pause-Step".to_owned(), step.into());
                fields.insert("Paused-Until".to_owned(), (until_ms.div_euclid(1000) + GREGORIAN).into());
            }
        }
        (key, Bytes::from(message.to_string()))
    }
}

/// Says it at once where nobody has to be waited for: in the log, and to those who watch.
pub(super) fn note(notice: &OwnerNotice, stream: &HostStream) {
    let OwnerNotice { account, hook, news } = notice;
    let (change, reason) = (news.change(), news.reason());
    match news {
        NoticeKind::Resumed => info!(%hook, %account, change, reason, "hook is sent to again"),
        NoticeKind::Paused { .. } => warn!(%hook, %account, change, reason, "hook paused"),
        NoticeKind::Disabled(_) => warn!(%hook, %account, change, reason, "hook switched off"),
    }
    stream.tell(HostEvent::Hook { hook: hook.clone(), account: account.clone(), change, reason });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(profile: Profile, news: NoticeKind) -> (&'static str, Value) {
        let notice = OwnerNotice { account: "a".into(), hook: "h".into(), news };
        let (key, body) = notice.message(profile, "hookline@here", "m1");
        (key, serde_json::from_slice(&body).unwrap())
    }

    #[test]
    fn a_hook_that_was_switched_off_is_told_as_the_original_tells_it() {
        let (key, message) =
            message(Profile::Kazoo, NoticeKind::Disabled("too many failed attempts".to_owned()));
        assert_eq!(key, "notifications.webhook.disabled");
        assert_eq!(
            message,
            json!({"Event-Category": "notification", "Event-Name": "webhook_disabled", "Account-ID": "a",
                "Hook-ID": "h", "App-Name": "webhooks", "App-Version": "4.0.0", "Node": "hookline@here",
                "Msg-ID": "m1", "System-Log-ID": "m1"}),
        );
    }

    #[test]
    fn a_pause_says_when_it_ends() {
        let (key, message) =
            message(Profile::Standard, NoticeKind::Paused { step: 2, until_ms: 1_704_067_200_999 });
        assert_eq!(key, "notifications.webhook.paused");
        assert_eq!(
            (&message["Pause-Step"], &message["Paused-Until"]),
            (&json!(2), &json!(63_871_286_400_i64))
        );
        assert_eq!(message["Reason"], "too many failed attempts: pause 2, until 2024-01-01T00:00:00Z");
    }
}
