//! The description as it was written last: once after each change of the modules.

use axum::http::{HeaderMap, HeaderValue, header};
use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use super::live;
use crate::api::views::MetadataView;
use crate::background::spawn_background;

/// Makes the description but for what modules add. It is handed in, since what it describes are all the routes, the one
/// that sends it too.
#[derive(Clone, Copy)]
pub(in crate::api) struct FixedDescription(pub(in crate::api) fn() -> Value);

/// The description that was written last.
#[derive(Default)]
pub(in crate::api) struct KeptDescription(Mutex<Option<WrittenDescription>>);

/// A text, of some state of the modules.
#[derive(Clone)]
pub(super) struct WrittenDescription {
    version: u64,
    pub(super) text: Bytes,
    pub(super) tag: EntityTag,
}

impl KeptDescription {
    /// As the modules are now.
    pub(super) async fn now(
        &self,
        metadata: &dyn MetadataView,
        fixed: FixedDescription,
    ) -> WrittenDescription {
        let version = metadata.version();
        let mut last = self.0.lock().await;
        if let Some(written) = last.as_ref().filter(|written| written.version == version) {
            return written.clone();
        }
        let events = metadata.events();
        let write = move || {
            let mut described = (fixed.0)();
            live::complete(&mut described, &events);
            described.to_string()
        };
        // It takes milliseconds, which others need this thread for.
        let text = Bytes::from(spawn_background(write).await.unwrap_or_default());
        let written = WrittenDescription { version, tag: EntityTag::of(&text), text };
        *last = Some(written.clone());
        written
    }
}

/// What tells one text from another.
#[derive(Clone, Debug)]
pub(in crate::api) struct EntityTag(HeaderValue);

impl EntityTag {
    pub(in crate::api) fn of(bytes: &[u8]) -> Self {
        let digest: String =
            Sha256::digest(bytes).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        EntityTag(HeaderValue::from_str(&format!("\"{digest}\"")).unwrap_or(HeaderValue::from_static("\"\"")))
    }

    /// As the header `etag` has it.
    pub(super) fn value(self) -> HeaderValue {
        self.0
    }

    /// Whether the client says that it has it.
    pub(super) fn is_known(&self, headers: &HeaderMap) -> bool {
        let named = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let mut named = named.flat_map(|value| value.split(',')).map(str::trim);
        named.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == self.0.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_names_the_tag_has_it() {
        let tag = EntityTag::of(b"text");
        let own = tag.0.to_str().unwrap().to_owned();
        let known = |value: &str| {
            let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, value.parse().unwrap())]);
            tag.is_known(&headers)
        };
        assert!(known(&own) && known(&format!("W/{own}")) && known(&format!("\"x\", {own}")) && known("*"));
        assert!(!known("\"x\"") && !known(&own[..8]) && !tag.is_known(&HeaderMap::new()));
    }
}
