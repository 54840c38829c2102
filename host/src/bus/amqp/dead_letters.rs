//! Messages that are put into the dead-letter queue by us, with the reason in a header, in place of a rejection: the
//! broker's own dead-lettering has no room for one.

use super::AmqpBus;
use crate::bus::{MessageOrigin, Unhandled};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tracing::warn;

/// Messages on their way to the dead ones.
#[derive(Default)]
pub(super) struct DeadLetterPublishes(FuturesUnordered<BoxFuture<'static, (u64, bool)>>);

impl DeadLetterPublishes {
    /// Begins with one.
    pub(super) fn begin(&mut self, bus: &AmqpBus, tag: u64, address: MessageOrigin, unhandled: Unhandled) {
        let link = bus.link.lock().clone();
        let dead = super::topology::dead_letter_name(&bus.options.queue);
        let burial = async move {
            let Some(link) = link else { return (tag, false) };
            let published = link.publish_dead(&dead, &address, &unhandled).await;
            if let Err(error) = &published {
                warn!(queue = dead, %error, "the reason of a dead-lettered message is lost");
            }
            (tag, published.is_ok())
        };
        self.0.push(burial.boxed());
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next one that has ended, and whether the message is safe with the dead ones.
    pub(super) async fn next(&mut self) -> Option<(u64, bool)> {
        self.0.next().await
    }
}
