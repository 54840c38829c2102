//! What is said of a part that does not work although the host is ready.

use serde::Serialize;
use utoipa::ToSchema;

/// A part that does not work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Degraded)]
pub struct DegradedPart {
    /// The module, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// The broker's queue, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The file, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// What is wrong.
    pub reason: String,
}
