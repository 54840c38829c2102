//! The settings that modules may read, by their names in the configuration.

use serde_json::{Value, json};

use super::services::ModuleSettings;
use crate::config::Config;

/// What modules see of the configuration. Nothing secret is among it: no address of a broker, no proxy.
#[must_use]
pub fn settings_for_modules(config: &Config) -> ModuleSettings {
    let settings: [(&str, Value); 3] = [
        ("delivery.profile", json!(config.delivery.profile.as_str())),
        ("kazoo.reserved_ccv_keys", json!(config.kazoo.reserved_ccv_keys)),
        ("kazoo.object_types", json!(config.kazoo.object_types)),
    ];
    settings.into_iter().map(|(name, value)| (name.to_owned(), value.to_string())).collect()
}
