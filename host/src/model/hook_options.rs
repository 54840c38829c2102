//! What most hooks leave at its defaults. A host may have a million hooks, so nothing is held of those that say nothing.

use std::ops::{Deref, DerefMut};

use super::CompactFields;
use super::headers::HookHeaders;
use super::rate::RateBound;
use super::sign::HookSigning;

/// What a hook may say beside what it must.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HookOptions {
    /// Waits before its further tries in milliseconds, in place of the configured ones. Profile `kazoo` has its own.
    pub retry_schedule_ms: Option<Box<[u64]>>,
    /// How many requests it is sent within a time, in place of the configured limit.
    pub rate_limit: Option<RateBound>,
    /// Headers of its own.
    pub headers: HookHeaders,
    /// What its requests are signed with. Encrypted secrets are locked until the vault opens them.
    pub signing: HookSigning,
    /// Merged into the payload; `type` and `action` in it are filters and stay at home.
    pub custom_data: Option<Box<CompactFields>>,
    /// What a payload must look like; `None` when there is nothing to check.
    pub modifiers: Option<Box<CompactFields>>,
}

static NONE: HookOptions = HookOptions {
    retry_schedule_ms: None,
    rate_limit: None,
    headers: HookHeaders::none(),
    signing: HookSigning::none(),
    custom_data: None,
    modifiers: None,
};

/// The options of one hook, which take up a pointer as long as all of them are at their defaults.
#[derive(Clone, Debug, Default)]
pub struct SetOptions(Option<Box<HookOptions>>);

impl From<HookOptions> for SetOptions {
    fn from(options: HookOptions) -> Self {
        Self((options != NONE).then(|| Box::new(options)))
    }
}

impl Deref for SetOptions {
    type Target = HookOptions;

    fn deref(&self) -> &HookOptions {
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl DerefMut for SetOptions {
    fn deref_mut(&mut self) -> &mut HookOptions {
        self.0.get_or_insert_default()
    }
}

impl PartialEq for SetOptions {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_at_their_defaults_take_up_nothing() {
        let mut options = SetOptions::from(HookOptions::default());
        assert!(options.0.is_none() && *options == HookOptions::default());
        options.rate_limit = RateBound::new(5, 1_000);
        assert_ne!(options, SetOptions::default());
        assert_eq!(SetOptions::from((*options).clone()), options);
    }
}
