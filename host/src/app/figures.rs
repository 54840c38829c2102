//! The figures as the API shows them.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::health::HostCondition;
use crate::api::pacing::SharedWork;
use crate::api::{FigureSource, HostHealth as _};
use crate::metrics::Metrics;

/// What `/metrics` answers.
pub(super) struct HostFigures {
    metrics: Metrics,
    condition: Arc<HostCondition>,
    shown: SharedWork<Result<String, fmt::Error>>,
}

impl HostFigures {
    /// These figures, and whether the host is ready.
    pub(super) fn new(metrics: Metrics, condition: Arc<HostCondition>) -> Self {
        HostFigures { metrics, condition, shown: SharedWork::default() }
    }
}

#[async_trait]
impl FigureSource for HostFigures {
    async fn exposition(&self) -> Result<String, fmt::Error> {
        let condition = &self.condition;
        // Anybody may ask for them.
        self.shown
            .get(async || {
                self.metrics.exposition(condition.ready().is_ok(), condition.kept_files.lost()).await
            })
            .await
    }
}
