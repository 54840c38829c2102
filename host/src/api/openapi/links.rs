//! What the types of the description cannot say: how one answer leads to other operations, and that one of some fields
//! must be there. On the description's JSON.

use serde_json::{Map, Value, json};

/// Where an answer has the id that other operations ask for.
const MADE: [(&str, &str, &str, &str); 5] = [
    ("/v2/accounts", "put", "201", "account"),
    ("/v2/accounts/{account}", "put", "201", "account"),
    ("/v2/accounts/{account}/webhooks", "put", "201", "hook"),
    ("/v2/accounts/{account}/tokens", "put", "201", "token"),
    ("/deliveries/replay", "post", "202", "id"),
];

/// Adds both.
pub(super) fn add(description: &mut Value) {
    let paths = description["paths"].as_object().cloned().unwrap_or_default();
    for (path, method, status, id) in MADE {
        let prefix = if id == "id" { "/replays/".to_owned() } else { String::new() };
        let links: Map<String, Value> = operations(&paths)
            .filter(|(other, ..)| other.starts_with(&prefix) && other.contains(&format!("{{{id}}}")))
            .filter_map(|(other, operation)| link(path, other, id, operation))
            .collect();
        description["paths"][path][method]["responses"][status]["links"] = links.into();
    }
    let named = |field: &&str| json!({ "required": [field] });
    let schemas = &mut description["components"]["schemas"];
    schemas["NewReplay"]["anyOf"] = ["account", "hook", "since", "until"].iter().map(named).collect();
    schemas["CloudEvent"]["oneOf"] = ["data", "data_base64"].iter().map(named).collect();
}

fn operations(paths: &Map<String, Value>) -> impl Iterator<Item = (&str, &str)> {
    paths.iter().flat_map(|(path, item)| {
        let ids = item.as_object().into_iter().flat_map(Map::values);
        ids.filter_map(move |operation| Some((path.as_str(), operation["operationId"].as_str()?)))
    })
}

/// Nothing where something else would be missing.
fn link(from: &str, to: &str, id: &str, operation: &str) -> Option<(String, Value)> {
    let mut parameters = Map::from_iter([(id.to_owned(), "$response.body#/data/id".into())]);
    for name in to.split(['{', '}']).skip(1).step_by(2).filter(|name| *name != id) {
        from.contains(&format!("{{{name}}}")).then_some(())?;
        parameters.insert(name.to_owned(), format!("$request.path.{name}").into());
    }
    Some((operation.to_owned(), json!({ "operationId": operation, "parameters": parameters })))
}
