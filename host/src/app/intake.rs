//! How posted events are taken: without a route straight to the listener, with one onto the bus.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;

use crate::api::{EventIntake, IntakeError};
use crate::bus::embedded::{EventInlet, PostError};
use crate::bus::{Bus, PublishError};
use crate::event::ArrivingEvent;
use crate::store::{Ledger, StoreError};
use crate::trail::Origin;

/// The way in for posted events.
pub(super) struct ListenerIntake {
    /// To the listener.
    pub(super) inlet: EventInlet,
    /// Where routes lead.
    pub(super) bus: Arc<dyn Bus>,
    /// Whether what is taken could be kept.
    pub(super) ledger: Arc<dyn Ledger>,
}

#[async_trait]
impl EventIntake for ListenerIntake {
    async fn take(
        &self,
        events: Vec<ArrivingEvent>,
        route: Option<(String, String)>,
        origin: Origin,
    ) -> Result<usize, IntakeError> {
        // Also where nothing would be written: what is taken now may be told to people as kept.
        if let Some(gone @ StoreError::Gone(_)) = self.ledger.trouble() {
            return Err(IntakeError::Unavailable(gone.to_string()));
        }
        let Some((exchange, key)) = route else {
            return self.inlet.post_from(&origin, events, None).await.map_err(|error| match error {
                PostError::Unroutable { exchange, routing_key } => {
                    IntakeError::Unroutable { exchange, routing_key }
                }
                PostError::Unavailable(reason) => IntakeError::Unavailable(match self.ledger.trouble() {
                    Some(trouble) => format!("{reason}, as the store cannot be written: {trouble}"),
                    None => reason,
                }),
                PostError::Unhandled { module, reason } => IntakeError::Unhandled { module, reason },
                PostError::Refused(index, refusal) => {
                    IntakeError::Malformed { index, reason: refusal.to_string() }
                }
            });
        };
        let count = events.len();
        let publish =
            |event: ArrivingEvent| self.bus.publish_from(&origin, &exchange, &key, event.into_raw());
        let published = events.into_iter().map(publish);
        for published in join_all(published).await {
            published.map_err(|error| match error {
                PublishError::Unroutable { exchange, routing_key } => {
                    IntakeError::Unroutable { exchange, routing_key }
                }
                other => IntakeError::Unavailable(other.to_string()),
            })?;
        }
        Ok(count)
    }
}
