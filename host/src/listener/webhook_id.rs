//! What makes a delivery the same delivery to its receiver, however often its event comes.

use sha2::{Digest as _, Sha256};

/// The `webhook-id` (Standard Webhooks) of one delivery: made from what makes the event, the firing and the
/// hook what they are, so that a redelivered event has the same one; random for an event without identity.
#[must_use]
pub fn webhook_id(identity: Option<&str>, place: &str, hook: &str) -> String {
    let Some(identity) = identity else {
        return format!("msg_{:032x}", rand::random::<u128>());
    };
    let mut digest = Sha256::new();
    for part in [identity, place, hook] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    let digest = digest.finalize();
    let short = digest.iter().take(16).fold(0_u128, |number, byte| (number << 8) | u128::from(*byte));
    format!("msg_{short:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redelivered_event_has_the_same_webhook_id_and_every_other_delivery_another() {
        let id = webhook_id(Some("call_event/X/1"), "webhooks_x/0", "hook");
        assert_eq!(id, webhook_id(Some("call_event/X/1"), "webhooks_x/0", "hook"));
        assert_eq!(id.len(), "msg_".len() + 32);
        let others = [
            ("call_event/X/2", "webhooks_x/0", "hook"),
            ("call_event/X/1", "webhooks_x/1", "hook"),
            ("call_event/X/1", "webhooks_x/0", "hooks"),
            ("call_event/X/1w", "ebhooks_x/0", "hook"),
        ];
        for (identity, place, hook) in others {
            assert_ne!(id, webhook_id(Some(identity), place, hook));
        }
        assert_ne!(webhook_id(None, "webhooks_x/0", "hook"), webhook_id(None, "webhooks_x/0", "hook"));
    }
}
