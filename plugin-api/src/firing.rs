//! What a module wants fired.

/// A firing: the hook event and account whose hooks are to be told, and which of them want it.
///
/// The module does not know hooks; the host finds those of the account (and of its ancestors, where they ask
/// for it) and applies these conditions to each.
#[derive(Clone, Debug)]
pub struct Firing<'a> {
    pub(crate) hook_event: &'a str,
    pub(crate) account: &'a str,
    pub(crate) internal_leg: bool,
    pub(crate) filters: Vec<(&'a str, Option<&'a str>)>,
}

impl<'a> Firing<'a> {
    /// A firing at the hooks of `account` for `hook_event` (and at those for `all`).
    #[must_use]
    pub fn new(hook_event: &'a str, account: &'a str) -> Self {
        Firing { hook_event, account, internal_leg: false, filters: Vec::new() }
    }

    /// Hooks with `include_internal_legs` false do not want it when this is true.
    #[must_use]
    pub fn internal_leg(mut self, internal: bool) -> Self {
        self.internal_leg = internal;
        self
    }

    /// Hooks (other than for `all`) that have `custom_data` want it only when `custom_data[key]` is `all` or
    /// equals `value`; no value equals only an absent key.
    #[must_use]
    pub fn filter(mut self, key: &'a str, value: Option<&'a str>) -> Self {
        self.filters.push((key, value));
        self
    }
}
