//! What has to arrive for an event: the requests that each firing means under the private host's hooks, and why one means
//! none.

use foldhash::HashMap;

use super::receiver::RequestKey;
use crate::config::Config;
use crate::delivery::queue::carried_hook;
use crate::delivery::request::SharedBodies;
use crate::hooks::accounts::Accounts;
use crate::hooks::matching::{HookCandidate, matching};
use crate::hooks::table::HookTable;
use crate::model::{Hook, OutgoingRequest};
use crate::module::{Firing, HookTarget};

/// A firing with what it means.
pub(super) struct PlannedFiring {
    pub(super) firing: Firing,
    pub(super) requests: Vec<PlannedRequest>,
    /// Why there is no request, or why none is sent.
    pub(super) note: Option<String>,
}

/// A request that a firing means.
pub(super) struct PlannedRequest {
    pub(super) key: RequestKey,
    pub(super) request: OutgoingRequest,
    /// Whether it goes to the private host's receiver, and so anywhere at all.
    pub(super) is_sent: bool,
}

/// What requests are made with, and whom they are for.
pub(super) struct RequestPlanner<'h> {
    pub(super) config: &'h Config,
    pub(super) table: &'h HookTable,
    pub(super) accounts: &'h Accounts,
    /// The hook event that the private host's hooks ask for.
    pub(super) hook_event: &'h str,
}

impl RequestPlanner<'_> {
    /// What these firings mean, each for itself.
    pub(super) fn plan(&self, firings: Vec<Firing>) -> Vec<PlannedFiring> {
        firings.into_iter().map(|firing| self.plan_one(firing)).collect()
    }

    fn plan_one(&self, firing: Firing) -> PlannedFiring {
        let bodies = self.bodies(&firing);
        let mut planned = PlannedFiring { requests: Vec::new(), note: None, firing };
        match &planned.firing.target {
            HookTarget::Hooks { event, account, internal_leg, filters } => {
                let candidate =
                    HookCandidate { hook_event: event, account, internal_leg: *internal_leg, filters };
                let hooks = matching(self.table, self.accounts, &candidate, &planned.firing.payload);
                for hook in &hooks {
                    add(&bodies, hook, true, &mut planned.requests, &mut planned.note);
                }
                if hooks.is_empty() {
                    planned.note = Some(self.nobody_wants(event, account.as_str()));
                }
            }
            HookTarget::Carried(document) => match carried_hook(document) {
                Some(hook) => {
                    add(&bodies, &hook, false, &mut planned.requests, &mut planned.note);
                    let why = "not sent: it goes to the address in the event, and this host speaks to its own receiver only";
                    planned.note.get_or_insert_with(|| why.to_owned());
                }
                None => {
                    planned.note = Some("no request: the hook that the event carries is not one".to_owned())
                }
            },
        }
        planned
    }

    fn bodies(&self, firing: &Firing) -> SharedBodies {
        let cluster_id = self.config.kazoo.cluster_id.clone().unwrap_or_default();
        SharedBodies::new(self.config.delivery.profile, cluster_id, firing.payload.clone())
    }

    fn nobody_wants(&self, event: &str, account: &str) -> String {
        if !event.eq_ignore_ascii_case(self.hook_event) {
            return format!(
                "no request: hooks can ask this module for {:?}, the name in its id, and not for {event:?}",
                self.hook_event
            );
        }
        format!("no request: no event of the samples names the account {account:?}, so it has no hook here")
    }
}

fn add(
    bodies: &SharedBodies,
    hook: &Hook,
    is_sent: bool,
    requests: &mut Vec<PlannedRequest>,
    note: &mut Option<String>,
) {
    match bodies.request(hook, None) {
        Ok(request) => {
            let key = RequestKey::of(hook.id.as_str(), &request.body);
            requests.push(PlannedRequest { key, request, is_sent });
        }
        Err(unsendable) => *note = Some(format!("no request: {unsendable}")),
    }
}

/// How many of which requests have to arrive.
pub(super) fn wanted(planned: &[PlannedFiring]) -> HashMap<RequestKey, usize> {
    let mut wanted = HashMap::default();
    for request in planned.iter().flat_map(|planned| &planned.requests).filter(|request| request.is_sent) {
        *wanted.entry(request.key.clone()).or_default() += 1;
    }
    wanted
}
