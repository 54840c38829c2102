//! What is known of a notification, and when an event is one.

use channel_event::validation::{Rules, Type};
use plugin_api::{Error, Event};

/// One notification.
#[derive(Clone, Copy, Debug)]
pub struct NotificationDefinition {
    /// `Event-Name`.
    pub name: &'static str,
    /// Its routing key without `notifications.`; none where the original hands it to no webhook.
    pub key: Option<&'static str>,
    /// What people call it.
    pub title: &'static str,
    /// One sentence.
    pub about: &'static str,
    /// Fields that must be there.
    pub required: &'static [&'static str],
    /// Of each of these at least one field must be there.
    pub one_of: &'static [&'static [&'static str]],
    /// Fields that a publisher may add, besides [`OPTIONAL`] and those of every KAZOO message.
    pub optional: &'static [&'static str],
    /// Fields that have one of these values.
    pub values: &'static [(&'static str, &'static [&'static str])],
    /// Fields whose type is checked.
    pub types: &'static [(&'static str, Type)],
}

/// Fields that a publisher may add to any notification.
pub const OPTIONAL: &[&str] = &[
    "Account-DB",
    "Attachment-URL",
    "Bcc",
    "Cc",
    "From",
    "HTML",
    "Preview",
    "Reply-To",
    "Subject",
    "Text",
    "To",
];

impl NotificationDefinition {
    /// Says whether the event is such a notification; the checks are `kapi_notifications`'.
    ///
    /// # Errors
    /// It is not; the message names the field.
    pub fn check(&self, event: &Event<'_>) -> Result<(), Error> {
        let NotificationDefinition { required, one_of, values, types, .. } = *self;
        let category = Rules { values: &[("Event-Category", &["notification"])], ..Rules::NONE };
        category.check(event)?;
        Rules { required, one_of, values, types }.check(event)
    }
}

/// What a definition says nothing of.
pub(super) const NONE: NotificationDefinition = NotificationDefinition {
    name: "",
    key: None,
    title: "",
    about: "",
    required: &[],
    one_of: &[],
    optional: &[],
    values: &[],
    types: &[],
};
