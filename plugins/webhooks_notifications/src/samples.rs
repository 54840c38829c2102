//! A sample of every notification, made of its definition: what a hook is sent in profile `standard`.

use plugin_api::serde_json::{Map, Value as Json, json};

use crate::definitions::{NotificationDefinition, definitions};

/// One sample for each notification that hooks are told of. The first is the one that is most often wanted.
pub(crate) fn samples() -> Vec<Json> {
    let told = definitions().filter(|definition| definition.key.is_some());
    let (first, others): (Vec<_>, Vec<_>) = told.partition(|definition| definition.name == "voicemail_new");
    first.into_iter().chain(others).map(sample).collect()
}

fn sample(definition: &NotificationDefinition) -> Json {
    let mut fields = Map::new();
    // A callflow's own request carries its call and nothing of the message; that its sample is found by the name that all
    // others have is why it has that.
    if definition.name != "webhook" {
        fields.insert("app_name".to_owned(), application(definition.key.unwrap_or_default()).into());
        fields.insert("app_version".to_owned(), "4.0.0".into());
        fields.insert("event_category".to_owned(), "notification".into());
        fields.insert("msg_id".to_owned(), "8c1de0a4b27f".into());
        fields.insert("node".to_owned(), "kazoo_apps@apps.example.com".into());
    }
    fields.insert("event_name".to_owned(), definition.name.into());
    let named: &[&str] = match definition.name {
        "webhook" => CALL,
        _ => &[],
    };
    let own = definition.required.iter().chain(definition.optional).filter(|_| definition.name != "webhook");
    for field in own.chain(named) {
        if let Some(value) = value(field) {
            fields.insert(field.to_ascii_lowercase().replace('-', "_"), value);
        }
    }
    fields.insert("hook_event".to_owned(), "notifications".into());
    Json::Object(fields)
}

/// What a callflow's request says of its call.
const CALL: &[&str] = &[
    "Account-ID",
    "Call-ID",
    "Caller-ID-Name",
    "Caller-ID-Number",
    "From-Realm",
    "From-User",
    "To-Realm",
    "To-User",
];

/// Which of KAZOO's applications says so.
fn application(key: &str) -> &'static str {
    match key.split('.').next().unwrap_or_default() {
        "fax" => "fax",
        "registration" | "voicemail" | "webhook" => "callflow",
        "sip" | "system" => "ecallmgr",
        _ => "crossbar",
    }
}

/// An example of a field; none of those that say little.
fn value(field: &str) -> Option<Json> {
    Some(match field {
        "Account-ID" => json!("91eb05e5c68d7ca05e7618b6821d2d16"),
        "Account-Name" => json!("Acme"),
        "Account-Realm" | "Realm" | "From-Realm" | "To-Realm" => json!("office.example.com"),
        "Username" | "From-User" => json!("ada"),
        "To-User" => json!("1002"),
        "Amount" => json!(25.5),
        "Audit-Log" => json!({"audit": {"added_by": "ada@example.com"}}),
        "Call-Bridged" | "Message-Left" => json!(false),
        "Call-ID" => json!("NDlk"),
        "Caller-ID-Name" | "Emergency-Caller-ID-Name" => json!("Ada Park"),
        "Caller-ID-Number" | "Emergency-Caller-ID-Number" => json!("+15550001111"),
        "Callee-ID-Name" => json!("Office"),
        "Callee-ID-Number" | "Number" => json!("+15550002222"),
        "Cnam" => json!({"display_name": "ACME"}),
        "Comment" => json!({"content": "The bill is from another month", "timestamp": 63_871_286_400_u64}),
        "Contact" => json!("<sip:ada@192.0.2.7:5060>"),
        "Current-Balance" => json!(4.2),
        "Due-Date" => json!(63_871_891_200_u64),
        "Email" | "User-Email" => json!("ada@example.com"),
        "Errors" => json!(["no fax box has this number"]),
        "Expires" => json!(300),
        "Fax-Error" => json!("the other side hung up"),
        "Fax-From-Email" => json!("ada@example.com"),
        "Fax-ID" => json!("202401-31aa"),
        "Fax-Info" => json!({"fax_result_text": "OK", "fax_transferred_pages": 2}),
        "Fax-JobId" => json!("5d0e21"),
        "Fax-Timestamp" | "Timestamp" | "Voicemail-Timestamp" => json!(63_871_286_400_u64),
        "FaxBox-ID" => json!("b7c3"),
        "Feature" => json!({"feature": "cnam"}),
        "First-Name" => json!("Ada"),
        "Hook-ID" => json!("d0c2a1b34f5e60718293a4b5c6d7e8f9"),
        "Items" => json!([{"category": "devices", "item": "sip_device", "quantity": 3}]),
        "Last-Name" => json!("Park"),
        "Max-Message-Count" | "Message-Count" => json!(100),
        "Message" => json!("a carrier does not answer"),
        "Network-IP" => json!("192.0.2.7"),
        "Network-Port" => json!(5060),
        "Occurrence" => json!("registration"),
        "Owner-ID" | "User-ID" => json!("c4c0b1d2e3f405162738495a6b7c8d9e"),
        "Password-Reset-Link" => json!("https://ui.example.com/#/recover:4b1c"),
        "Port-Request-ID" => json!("d4e1c0"),
        "Reason" => json!({"port_type": "local"}),
        "Response" => json!("approved"),
        "Status" => json!("Registered"),
        "Subject" => json!("Carrier"),
        "Success" => json!(true),
        "Template-ID" => json!("office_closed"),
        "To" => json!("1002@office.example.com"),
        "User-Agent" => json!("Desk Phone 3"),
        "Voicemail-Box" => json!("6b1f"),
        "Voicemail-ID" => json!("202401-77aa"),
        "Voicemail-Length" => json!(12),
        "Zones" => json!({"home": "west"}),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_notification_has_one_sample_with_all_that_it_must_have() {
        let samples = samples();
        let told: Vec<&NotificationDefinition> =
            definitions().filter(|definition| definition.key.is_some()).collect();
        assert_eq!(samples.len(), told.len());
        assert_eq!(samples[0]["event_name"], "voicemail_new");
        for definition in told.into_iter().filter(|definition| definition.name != "webhook") {
            let of_it = samples.iter().filter(|sample| sample["event_name"] == definition.name);
            let [sample] = of_it.collect::<Vec<_>>()[..] else { panic!("{} has not one", definition.name) };
            for field in definition.required {
                let name = field.to_ascii_lowercase().replace('-', "_");
                assert!(!sample[&name].is_null(), "{}: {name} is missing in {sample}", definition.name);
            }
        }
    }
}
