//! Events as KAZOO publishes them, and the recorded outputs of the original.

use serde_json::{Value, json};

/// A call event of an account.
#[must_use]
pub fn call_event(name: &str, account: &str, call_id: &str) -> Value {
    json!({
        "App-Name": "ecallmgr", "App-Version": "4.0.0", "Node": "ecallmgr@media.example.com",
        "Event-Category": "call_event", "Event-Name": name, "Msg-ID": format!("{name}-{call_id}"),
        "Call-ID": call_id, "Call-Direction": "inbound", "Timestamp": 63_867_219_200_u64,
        "Caller-ID-Name": "Ann Example", "Caller-ID-Number": "+15550001111",
        "Callee-ID-Name": "Bob Example", "Callee-ID-Number": "1002",
        "From": "1001@acme.example.com", "To": "1002@acme.example.com", "Request": "1002@acme.example.com",
        "Channel-Name": "sofia/sipinterface_1/1001@acme.example.com", "Channel-Is-Loopback": false,
        "Custom-Channel-Vars": {"Account-ID": account, "Authorizing-Type": "device", "Bridge-ID": call_id},
    })
}

/// The lines of a file in `tests/fixtures/vectors`.
///
/// # Panics
/// There is no such file, or a line is not what was expected.
#[must_use]
pub fn vectors<T: serde::de::DeserializeOwned>(name: &str) -> Vec<T> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/vectors");
    let text = std::fs::read_to_string(format!("{folder}/{name}.jsonl")).expect("the vectors");
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}
