//! Every notification: its key on the bus, what people call it, and which fields it has.
//!
//! The facts are those of KAZOO's `kapi_notifications:api_definition/1`, in its order; the sentences are ours.

use channel_event::validation::{Rules, Type};
use plugin_api::{Error, Event};

/// One notification.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
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

impl Definition {
    /// The definition of this name.
    #[must_use]
    pub fn of(name: &str) -> Option<&'static Self> {
        DEFINITIONS.iter().find(|definition| definition.name == name)
    }

    /// Says whether the event is such a notification; the checks are `kapi_notifications`'.
    ///
    /// # Errors
    /// It is not; the message names the field.
    pub fn check(&self, event: &Event<'_>) -> Result<(), Error> {
        let Definition { required, one_of, values, types, .. } = *self;
        let category = Rules { values: &[("Event-Category", &["notification"])], ..Rules::NONE };
        category.check(event)?;
        Rules { required, one_of, values, types }.check(event)
    }
}

const NONE: Definition = Definition {
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

/// All of them.
pub const DEFINITIONS: &[Definition] = &[
    Definition {
        name: "notify_update",
        title: "Notify Status Update",
        about: "How the sending of another notification went",
        required: &["Status"],
        optional: &["Failure-Message", "Metadata"],
        values: &[("Status", &["completed", "disabled", "failed", "ignored", "pending"])],
        ..NONE
    },
    Definition {
        name: "skel",
        title: "Example Notification",
        about: "An example without a meaning of its own",
        required: &["Account-ID", "User-ID"],
        ..NONE
    },
    Definition {
        name: "bill_reminder",
        title: "Bill Reminder",
        about: "A bill of the account falls due soon",
        key: Some("account.reminder"),
        required: &["Account-ID", "Due-Date", "Items", "Timestamp"],
        optional: &["Payment-Token"],
        types: &[
            ("Account-ID", Type::NonEmptyText),
            ("Due-Date", Type::PositiveInteger),
            ("Items", Type::Objects),
            ("Payment-Token", Type::Object),
            ("Timestamp", Type::PositiveInteger),
        ],
        ..NONE
    },
    Definition {
        name: "low_balance",
        title: "Account Low Balance",
        about: "The account's balance fell below its limit",
        key: Some("account.low_balance"),
        required: &["Account-ID", "Current-Balance"],
        ..NONE
    },
    Definition {
        name: "new_account",
        title: "New Account",
        about: "An account was made",
        key: Some("account.new"),
        required: &["Account-ID"],
        optional: &["Account-API-Key", "Account-Name", "Account-Realm"],
        ..NONE
    },
    Definition {
        name: "service_added",
        title: "Service Added",
        about: "A service was added to what the account is billed for",
        key: Some("account.service_added"),
        required: &["Account-ID", "Audit-Log", "Items", "Timestamp"],
        types: &[("Items", Type::Objects)],
        ..NONE
    },
    Definition {
        name: "topup",
        title: "Automatic Account Top-up",
        about: "The balance was topped up by itself, or that failed",
        key: Some("account.topup"),
        required: &["Account-ID", "Amount", "Response", "Success", "Timestamp"],
        optional: &[
            "Add-Ons",
            "Billing-Address",
            "Card-Last-Four",
            "Currency-Code",
            "Discounts",
            "ID",
            "Purchase-Order",
            "Tax-Amount",
        ],
        ..NONE
    },
    Definition {
        name: "transaction",
        title: "Transaction Completed",
        about: "The account was charged or refunded, or that failed",
        key: Some("account.transaction"),
        required: &["Account-ID", "Amount", "Response", "Success", "Timestamp"],
        optional: &[
            "Service-Plan",
            "Add-Ons",
            "Billing-Address",
            "Card-Last-Four",
            "Currency-Code",
            "Discounts",
            "ID",
            "Purchase-Order",
            "Tax-Amount",
        ],
        ..NONE
    },
    Definition {
        name: "account_zone_change",
        title: "Account Zone Change",
        about: "The account moved to other zones",
        key: Some("account.zone_change"),
        required: &["Account-ID", "Zones"],
        ..NONE
    },
    Definition {
        name: "inbound_fax",
        title: "Successful Fax Reception",
        about: "A fax was received",
        key: Some("fax.inbound"),
        required: &["Account-ID", "Fax-ID", "From-Realm", "From-User", "To-Realm", "To-User"],
        optional: &[
            "Call-ID",
            "Callee-ID-Name",
            "Callee-ID-Number",
            "Caller-ID-Name",
            "Caller-ID-Number",
            "Fax-Info",
            "Fax-Notifications",
            "Fax-Timestamp",
            "FaxBox-ID",
            "Owner-ID",
        ],
        ..NONE
    },
    Definition {
        name: "inbound_fax_error",
        title: "Fax Reception Error",
        about: "A fax was coming in and could not be received",
        key: Some("fax.inbound_error"),
        required: &["Account-ID", "From-Realm", "From-User", "To-Realm", "To-User"],
        optional: &[
            "Call-ID",
            "Callee-ID-Name",
            "Callee-ID-Number",
            "Caller-ID-Name",
            "Caller-ID-Number",
            "Fax-Error",
            "Fax-Info",
            "Fax-ID",
            "Fax-Notifications",
            "Fax-Timestamp",
            "FaxBox-ID",
            "Owner-ID",
        ],
        ..NONE
    },
    Definition {
        name: "outbound_fax",
        title: "Successful Fax Transmission",
        about: "A fax was sent",
        key: Some("fax.outbound"),
        required: &["Account-ID", "Callee-ID-Number", "Caller-ID-Number", "Fax-ID", "Fax-JobId"],
        optional: &[
            "Call-ID",
            "Callee-ID-Name",
            "Caller-ID-Name",
            "Fax-Info",
            "Fax-Notifications",
            "Fax-Timestamp",
            "FaxBox-ID",
        ],
        ..NONE
    },
    Definition {
        name: "outbound_fax_error",
        title: "Fax Transmission Error",
        about: "A fax could not be sent",
        key: Some("fax.outbound_error"),
        required: &["Fax-ID", "Fax-JobId"],
        optional: &[
            "Call-ID",
            "Callee-ID-Name",
            "Callee-ID-Number",
            "Caller-ID-Name",
            "Caller-ID-Number",
            "Fax-Error",
            "Fax-Info",
            "Fax-Notifications",
            "Fax-Timestamp",
            "FaxBox-ID",
        ],
        ..NONE
    },
    Definition {
        name: "outbound_smtp_fax_error",
        title: "Invalid Email-to-Fax Email",
        about: "A mail that should have become a fax was refused",
        key: Some("fax.outbound_smtp_error"),
        required: &["Account-ID", "Fax-From-Email", "Errors", "Timestamp"],
        optional: &[
            "Fax-To-Email",
            "FaxBox-ID",
            "FaxBox-Name",
            "FaxBox-Timezone",
            "Number",
            "Owner-ID",
            "Original-Number",
        ],
        types: &[("Errors", Type::NonEmptyList)],
        ..NONE
    },
    Definition {
        name: "cnam_request",
        title: "CNAM Update",
        about: "The name to be shown for a number was asked to change",
        key: Some("number.cnam_request"),
        required: &["Account-ID", "Number", "Cnam"],
        optional: &["Acquired-For", "Local-Number", "Number-State", "Request"],
        ..NONE
    },
    Definition {
        name: "port_request",
        title: "Port Request",
        about: "A number was submitted for moving in from another carrier",
        key: Some("number.port_request"),
        required: &["Account-ID", "Port-Request-ID"],
        optional: &["Authorized-By", "Local-Number", "Number", "Number-State", "Port", "Reason", "Version"],
        types: &[("Reason", Type::Object)],
        ..NONE
    },
    Definition {
        name: "port_cancel",
        title: "Port Cancel",
        about: "Moving a number in was called off",
        key: Some("number.port_cancel"),
        required: &["Account-ID", "Port-Request-ID"],
        optional: &["Authorized-By", "Local-Number", "Number", "Number-State", "Port", "Reason", "Version"],
        types: &[("Reason", Type::Object)],
        ..NONE
    },
    Definition {
        name: "port_comment",
        title: "Port Comment",
        about: "Somebody commented on moving a number in",
        key: Some("number.port_comment"),
        required: &["Account-ID", "Comment", "Port-Request-ID"],
        optional: &["Authorized-By", "Local-Number", "Number", "Number-State", "Port", "Version"],
        ..NONE
    },
    Definition {
        name: "port_pending",
        title: "Port Pending",
        about: "Moving a number in waits for the other carrier",
        key: Some("number.port_pending"),
        required: &["Account-ID", "Port-Request-ID"],
        optional: &["Authorized-By", "Local-Number", "Number", "Number-State", "Port", "Reason", "Version"],
        types: &[("Reason", Type::Object)],
        ..NONE
    },
    Definition {
        name: "port_rejected",
        title: "Port Rejected",
        about: "The other carrier refused to let a number go",
        key: Some("number.port_rejected"),
        required: &["Account-ID", "Port-Request-ID"],
        optional: &["Authorized-By", "Local-Number", "Number", "Number-State", "Port", "Reason", "Version"],
        types: &[("Reason", Type::Object)],
        ..NONE
    },
    Definition {
        name: "port_scheduled",
        title: "Port Scheduled",
        about: "Moving a number in has a date",
        key: Some("number.port_scheduled"),
        required: &["Account-ID", "Port-Request-ID"],
        optional: &["Authorized-By", "Local-Number", "Number", "Number-State", "Port", "Reason", "Version"],
        types: &[("Reason", Type::Object)],
        ..NONE
    },
    Definition {
        name: "port_unconfirmed",
        title: "Port Unconfirmed",
        about: "Moving a number in was begun and is not yet submitted",
        key: Some("number.port_unconfirmed"),
        required: &["Account-ID", "Port-Request-ID"],
        optional: &["Authorized-By", "Local-Number", "Number", "Number-State", "Port", "Reason", "Version"],
        types: &[("Reason", Type::Object)],
        ..NONE
    },
    Definition {
        name: "ported",
        title: "Ported",
        about: "A number has moved in",
        key: Some("number.ported"),
        required: &["Account-ID", "Port-Request-ID"],
        optional: &["Authorized-By", "Local-Number", "Number", "Number-State", "Port", "Reason", "Version"],
        types: &[("Reason", Type::Object)],
        ..NONE
    },
    Definition {
        name: "denied_emergency_bridge",
        title: "Emergency Call Failed",
        about: "A call to an emergency number was refused",
        key: Some("registration.denied_emergency_bridge"),
        required: &["Account-ID", "Call-ID"],
        optional: &[
            "Emergency-Caller-ID-Name",
            "Emergency-Caller-ID-Number",
            "Outbound-Caller-ID-Name",
            "Outbound-Caller-ID-Number",
        ],
        ..NONE
    },
    Definition {
        name: "emergency_bridge",
        title: "Emergency Call Placed",
        about: "Somebody called an emergency number",
        key: Some("registration.emergency_bridge"),
        required: &["Account-ID", "Call-ID"],
        optional: &[
            "Account-Name",
            "Authorizing-ID",
            "Device-Name",
            "Emergency-To-DID",
            "Emergency-Test-Call",
            "Emergency-Caller-ID-Name",
            "Emergency-Caller-ID-Number",
            "Emergency-Address-Street-1",
            "Emergency-Address-Street-2",
            "Emergency-Address-City",
            "Emergency-Address-Region",
            "Emergency-Address-Postal-Code",
            "Emergency-Address-Latitude",
            "Emergency-Address-Longitude",
            "Emergency-Notfication-Contact-Emails",
            "Outbound-Caller-ID-Name",
            "Outbound-Caller-ID-Number",
            "Owner-ID",
            "User-First-Name",
            "User-Last-Name",
            "User-Email",
        ],
        ..NONE
    },
    Definition {
        name: "deregister",
        title: "De-Registration",
        about: "A device's registration ended",
        key: Some("sip.deregister"),
        required: &["Account-ID", "Realm", "Username"],
        optional: &[
            "Authorizing-ID",
            "Call-ID",
            "Contact",
            "Event-Timestamp",
            "Expires",
            "FreeSWITCH-Hostname",
            "From-Host",
            "From-User",
            "Network-IP",
            "Network-Port",
            "Presence-Hosts",
            "Profile-Name",
            "RPid",
            "Status",
            "Suppress-Unregister-Notify",
            "To-Host",
            "To-User",
            "User-Agent",
        ],
        ..NONE
    },
    Definition {
        name: "first_occurrence",
        title: "Account First Occurrence",
        about: "The account registered a device or made a call for the first time",
        key: Some("sip.first_occurrence"),
        required: &["Account-ID", "Occurrence"],
        ..NONE
    },
    Definition {
        name: "missed_call",
        title: "Missed Call",
        about: "A call was not answered",
        key: Some("sip.missed_call"),
        required: &["Account-ID", "Call-Bridged", "Call-ID", "Message-Left"],
        optional: &[
            "Caller-ID-Name",
            "Caller-ID-Number",
            "From-Realm",
            "From-User",
            "Notify",
            "Timestamp",
            "To-Realm",
            "To-User",
        ],
        ..NONE
    },
    Definition {
        name: "register",
        title: "Registration",
        about: "A device registered",
        key: Some("sip.register"),
        required: &["Account-ID", "Realm", "Username"],
        optional: &[
            "Authorizing-ID",
            "Authorizing-Type",
            "Call-ID",
            "Contact",
            "Event-Timestamp",
            "Expires",
            "From-Host",
            "From-User",
            "Network-IP",
            "Network-Port",
            "Owner-ID",
            "Suppress-Unregister-Notify",
            "To-Host",
            "To-User",
            "User-Agent",
        ],
        ..NONE
    },
    Definition {
        name: "system_alert",
        title: "System Alert",
        about: "Something of the system wants attention",
        key: Some("system.alert"),
        required: &["Message", "Subject"],
        optional: &["Details", "Line", "Module", "Node", "Pid", "Request-ID", "Section"],
        ..NONE
    },
    Definition {
        name: "customer_update",
        title: "Customer Update",
        about: "A message from a reseller to its customers",
        key: Some("user.customer_update"),
        required: &["Account-ID"],
        optional: &["DataBag", "Recipient-ID", "Template-ID", "User-Type"],
        ..NONE
    },
    Definition {
        name: "new_user",
        title: "New User",
        about: "A user was made; carries the password if there is one",
        key: Some("user.new"),
        required: &["Account-ID", "User-ID"],
        optional: &["Password"],
        ..NONE
    },
    Definition {
        name: "password_recovery",
        title: "Password Recovery",
        about: "A user asked for a new password; carries the link to set it",
        key: Some("user.password_recovery"),
        required: &["Account-ID", "Email", "Password-Reset-Link"],
        optional: &["First-Name", "Last-Name", "Timezone", "User-ID"],
        ..NONE
    },
    Definition {
        name: "voicemail_full",
        title: "Voicemail Box Full",
        about: "A voicemail box has no room left",
        key: Some("voicemail.full"),
        required: &["Account-ID", "Max-Message-Count", "Message-Count", "Voicemail-Box"],
        ..NONE
    },
    Definition {
        name: "voicemail_new",
        title: "New Voicemail Message",
        about: "A message was left in a voicemail box",
        key: Some("voicemail.new"),
        required: &[
            "Account-ID",
            "From-Realm",
            "From-User",
            "To-Realm",
            "To-User",
            "Voicemail-Box",
            "Voicemail-ID",
            "Voicemail-Timestamp",
        ],
        optional: &[
            "Call-ID",
            "Caller-ID-Name",
            "Caller-ID-Number",
            "Voicemail-Length",
            "Voicemail-Transcription",
        ],
        ..NONE
    },
    Definition {
        name: "voicemail_saved",
        title: "Voicemail Message Saved",
        about: "A message was left and stored in a voicemail box",
        key: Some("voicemail.saved"),
        required: &[
            "Account-ID",
            "From-Realm",
            "From-User",
            "To-Realm",
            "To-User",
            "Voicemail-Box",
            "Voicemail-ID",
            "Voicemail-Timestamp",
        ],
        optional: &[
            "Call-ID",
            "Caller-ID-Name",
            "Caller-ID-Number",
            "Voicemail-Length",
            "Voicemail-Transcription",
        ],
        ..NONE
    },
    Definition {
        name: "webhook",
        title: "Callflow Webhook Triggered",
        about: "A callflow asked for one request to an address of its own",
        key: Some("webhook.callflow"),
        required: &["Data", "Hook"],
        optional: &["Timestamp"],
        ..NONE
    },
    Definition {
        name: "webhook_disabled",
        title: "Webhook Disabled",
        about: "A webhook was switched off as it failed too often",
        key: Some("webhook.disabled"),
        required: &["Account-ID", "Hook-ID"],
        ..NONE
    },
    Definition {
        name: "cf_notification",
        title: "Customer defined notification",
        about: "A callflow asked for a notification by a template of the account",
        key: Some("account.cf_notification"),
        required: &["Account-ID", "Template-ID"],
        optional: &[
            "Caller-ID-Name",
            "Caller-ID-Number",
            "Call-ID",
            "Call-Bridged",
            "Message-Left",
            "From-Realm",
            "From-User",
            "Notify",
            "To-Realm",
            "To-User",
            "Timestamp",
            "Comments",
            "Notification-Media",
        ],
        ..NONE
    },
    Definition {
        name: "number_feature_manual_action",
        title: "Number Feature Manual Action Required",
        about: "A feature of a number needs somebody to do something by hand",
        key: Some("account.number_feature_manual_action"),
        required: &["Account-ID", "Number", "Feature"],
        types: &[
            ("Account-ID", Type::NonEmptyText),
            ("Number", Type::NonEmptyText),
            ("Feature", Type::Object),
        ],
        ..NONE
    },
];
