//! What makes a delivery the same delivery to its receiver, however often its event comes and whichever version of a
//! module answers it.

use rustc_hash::FxHashMap;
use sha2::{Digest as _, Sha256};

use crate::model::AccountId;
use crate::module::HookTarget;

/// What a firing is for: all firings of one call that are for the same are counted through.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum FiringPurpose {
    /// Hooks of an account for a hook event.
    Hooks {
        /// `channel_create`
        event: String,
        /// Whose.
        account: AccountId,
    },
    /// A hook that the event carries.
    Carried,
}

/// Which of the firings of one call a firing is, whatever others the module fires for the same event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FiringPlace {
    purpose: FiringPurpose,
    /// The how-manieth for this purpose, from 0.
    nth: usize,
}

/// Counts the firings of one call.
#[derive(Debug, Default)]
pub struct FiringCounts(FxHashMap<FiringPurpose, usize>);

impl FiringCounts {
    /// The place of the next firing.
    pub fn place(&mut self, target: &HookTarget) -> FiringPlace {
        let purpose = match target {
            HookTarget::Hooks { event, account, .. } => {
                FiringPurpose::Hooks { event: event.clone(), account: account.clone() }
            }
            HookTarget::Carried(_) => FiringPurpose::Carried,
        };
        let count = self.0.entry(purpose.clone()).or_default();
        let nth = *count;
        *count += 1;
        FiringPlace { purpose, nth }
    }
}

/// The `webhook-id` (Standard Webhooks) of one delivery: made from what makes the event, the firing and the
/// hook what they are, so that an event which comes again, or which a mended module handles, has the same one; random for
/// an event without identity.
#[must_use]
pub fn webhook_id(identity: Option<&str>, module: &str, place: &FiringPlace, hook: &str) -> String {
    let Some(identity) = identity else {
        return format!("msg_{:032x}", rand::random::<u128>());
    };
    let (event, account) = match &place.purpose {
        FiringPurpose::Hooks { event, account } => (event.as_str(), account.as_str()),
        // No hook event is empty.
        FiringPurpose::Carried => ("", ""),
    };
    let nth = place.nth.to_string();
    let mut digest = Sha256::new();
    for part in [identity, module, event, account, &nth, hook] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    let digest = digest.finalize();
    let short = digest.iter().take(16).fold(0_u128, |number, byte| (number << 8) | u128::from(*byte));
    format!("msg_{short:032x}")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn hooks(event: &str, account: &str) -> HookTarget {
        HookTarget::Hooks {
            event: event.to_owned(),
            account: account.into(),
            internal_leg: false,
            filters: Vec::new(),
        }
    }

    fn carried() -> HookTarget {
        HookTarget::Carried(Bytes::from_static(b"{}"))
    }

    /// The ids of these firings of one call, to one hook.
    fn ids(identity: Option<&str>, module: &str, targets: &[HookTarget]) -> Vec<String> {
        let mut counts = FiringCounts::default();
        let id = |target| webhook_id(identity, module, &counts.place(target), "hook");
        targets.iter().map(id).collect()
    }

    #[test]
    fn a_redelivered_event_has_the_same_webhook_id_and_every_other_delivery_another() {
        let place = FiringCounts::default().place(&hooks("created", "a1"));
        let id = webhook_id(Some("event1"), "webhooks_x", &place, "hook");
        assert_eq!(id, webhook_id(Some("event1"), "webhooks_x", &place, "hook"));
        assert_eq!(id.len(), "msg_".len() + 32);
        let other = FiringCounts::default().place(&hooks("create", "da1"));
        let others = [
            ("event2", "webhooks_x", &place, "hook"),
            ("event1", "webhooks_y", &place, "hook"),
            ("event1", "webhooks_x", &place, "hooks"),
            ("event1w", "ebhooks_x", &place, "hook"),
            ("event1", "webhooks_x", &other, "hook"),
        ];
        for (identity, module, place, hook) in others {
            assert_ne!(id, webhook_id(Some(identity), module, place, hook));
        }
        assert_ne!(
            webhook_id(None, "webhooks_x", &place, "hook"),
            webhook_id(None, "webhooks_x", &place, "hook")
        );
    }

    #[test]
    fn what_else_a_module_fires_and_in_which_order_makes_no_difference() {
        let of = |targets: &[HookTarget]| ids(Some("event"), "webhooks_x", targets);
        let (created, answered, other) =
            (hooks("created", "a1"), hooks("answered", "a1"), hooks("created", "a2"));
        let first = of(&[created.clone(), answered.clone(), other.clone(), carried()]);
        let mended = of(&[carried(), other, created.clone(), answered.clone()]);
        assert_eq!(
            [&first[0], &first[1], &first[2], &first[3]],
            [&mended[2], &mended[3], &mended[1], &mended[0]]
        );
        // Of those for the same, the how-manieth counts.
        let twice = of(&[created.clone(), answered, created]);
        assert_eq!((&twice[0], &twice[1]), (&first[0], &first[1]));
        assert_ne!(twice[0], twice[2]);
    }
}
