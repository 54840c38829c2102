//! The first half of the notifications: accounts and what they pay, faxes, numbers that are moved.

use channel_event::validation::Type;

use super::kind::{NONE, NotificationDefinition};

/// In the original's order.
pub(super) const FIRST: &[NotificationDefinition] = &[
    NotificationDefinition {
        name: "notify_update",
        title: "Notify Status Update",
        about: "How the sending of another notification went",
        required: &["Status"],
        optional: &["Failure-Message", "Metadata"],
        values: &[("Status", &["completed", "disabled", "failed", "ignored", "pending"])],
        ..NONE
    },
    NotificationDefinition {
        name: "skel",
        title: "Example Notification",
        about: "An example without a meaning of its own",
        required: &["Account-ID", "User-ID"],
        ..NONE
    },
    NotificationDefinition {
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
    NotificationDefinition {
        name: "low_balance",
        title: "Account Low Balance",
        about: "The account's balance fell below its limit",
        key: Some("account.low_balance"),
        required: &["Account-ID", "Current-Balance"],
        ..NONE
    },
    NotificationDefinition {
        name: "new_account",
        title: "New Account",
        about: "An account was made",
        key: Some("account.new"),
        required: &["Account-ID"],
        optional: &["Account-API-Key", "Account-Name", "Account-Realm"],
        ..NONE
    },
    NotificationDefinition {
        name: "service_added",
        title: "Service Added",
        about: "A service was added to what the account is billed for",
        key: Some("account.service_added"),
        required: &["Account-ID", "Audit-Log", "Items", "Timestamp"],
        types: &[("Items", Type::Objects)],
        ..NONE
    },
    NotificationDefinition {
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
    NotificationDefinition {
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
    NotificationDefinition {
        name: "account_zone_change",
        title: "Account Zone Change",
        about: "The account moved to other zones",
        key: Some("account.zone_change"),
        required: &["Account-ID", "Zones"],
        ..NONE
    },
    NotificationDefinition {
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
    NotificationDefinition {
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
    NotificationDefinition {
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
    NotificationDefinition {
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
    NotificationDefinition {
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
    NotificationDefinition {
        name: "cnam_request",
        title: "CNAM Update",
        about: "The name to be shown for a number was asked to change",
        key: Some("number.cnam_request"),
        required: &["Account-ID", "Number", "Cnam"],
        optional: &["Acquired-For", "Local-Number", "Number-State", "Request"],
        ..NONE
    },
    NotificationDefinition {
        name: "port_request",
        title: "Port Request",
        about: "A number was submitted for moving in from another carrier",
        key: Some("number.port_request"),
        required: &["Account-ID", "Port-Request-ID"],
        optional: &["Authorized-By", "Local-Number", "Number", "Number-State", "Port", "Reason", "Version"],
        types: &[("Reason", Type::Object)],
        ..NONE
    },
    NotificationDefinition {
        name: "port_cancel",
        title: "Port Cancel",
        about: "Moving a number in was called off",
        key: Some("number.port_cancel"),
        required: &["Account-ID", "Port-Request-ID"],
        optional: &["Authorized-By", "Local-Number", "Number", "Number-State", "Port", "Reason", "Version"],
        types: &[("Reason", Type::Object)],
        ..NONE
    },
    NotificationDefinition {
        name: "port_comment",
        title: "Port Comment",
        about: "Somebody commented on moving a number in",
        key: Some("number.port_comment"),
        required: &["Account-ID", "Comment", "Port-Request-ID"],
        optional: &["Authorized-By", "Local-Number", "Number", "Number-State", "Port", "Version"],
        ..NONE
    },
    NotificationDefinition {
        name: "port_pending",
        title: "Port Pending",
        about: "Moving a number in waits for the other carrier",
        key: Some("number.port_pending"),
        required: &["Account-ID", "Port-Request-ID"],
        optional: &["Authorized-By", "Local-Number", "Number", "Number-State", "Port", "Reason", "Version"],
        types: &[("Reason", Type::Object)],
        ..NONE
    },
    NotificationDefinition {
        name: "port_rejected",
        title: "Port Rejected",
        about: "The other carrier refused to let a number go",
        key: Some("number.port_rejected"),
        required: &["Account-ID", "Port-Request-ID"],
        optional: &["Authorized-By", "Local-Number", "Number", "Number-State", "Port", "Reason", "Version"],
        types: &[("Reason", Type::Object)],
        ..NONE
    },
    NotificationDefinition {
        name: "port_scheduled",
        title: "Port Scheduled",
        about: "Moving a number in has a date",
        key: Some("number.port_scheduled"),
        required: &["Account-ID", "Port-Request-ID"],
        optional: &["Authorized-By", "Local-Number", "Number", "Number-State", "Port", "Reason", "Version"],
        types: &[("Reason", Type::Object)],
        ..NONE
    },
    NotificationDefinition {
        name: "port_unconfirmed",
        title: "Port Unconfirmed",
        about: "Moving a number in was begun and is not yet submitted",
        key: Some("number.port_unconfirmed"),
        required: &["Account-ID", "Port-Request-ID"],
        optional: &["Authorized-By", "Local-Number", "Number", "Number-State", "Port", "Reason", "Version"],
        types: &[("Reason", Type::Object)],
        ..NONE
    },
    NotificationDefinition {
        name: "ported",
        title: "Ported",
        about: "A number has moved in",
        key: Some("number.ported"),
        required: &["Account-ID", "Port-Request-ID"],
        optional: &["Authorized-By", "Local-Number", "Number", "Number-State", "Port", "Reason", "Version"],
        types: &[("Reason", Type::Object)],
        ..NONE
    },
];
