//! The figures as the API shows them.

use std::fmt;

use async_trait::async_trait;

use super::HostParts;
use crate::api::FigureSource;

#[async_trait]
impl FigureSource for HostParts {
    async fn exposition(&self) -> Result<String, fmt::Error> {
        // Anybody may ask for them.
        self.shown
            .get(async || self.metrics.exposition(self.ready().is_ok(), self.kept_files.lost()).await)
            .await
    }
}
