//! The figures as the API shows them.

use std::fmt;

use async_trait::async_trait;

use super::Parts;
use crate::api::Figures;

#[async_trait]
impl Figures for Parts {
    async fn exposition(&self) -> Result<String, fmt::Error> {
        // Anybody may ask for them.
        self.shown
            .get(async || self.metrics.exposition(self.ready().is_ok(), self.kept_files.lost()).await)
            .await
    }
}
