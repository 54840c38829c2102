//! Call events, each with an identity of its own.

/// The event of the small benchmarks; 2.3 KB.
const EVENT: &str = include_str!("../fixtures/call_event.json");

/// What differs from event to event.
const IDENTITY: &str = "1701286404183921";
const CALL: &str = "7c1e-52d0-9b3f@198.51.100.17";
const ACCOUNT: &str = "4f3c1f0e9a7d4a5cb1f6a2d07e5b9c83";

/// Makes events; no two are the same.
#[derive(Default)]
pub(crate) struct Events {
    made: u64,
}

impl Events {
    /// An event of an account.
    pub(crate) fn next(&mut self, account: &str) -> String {
        self.made += 1;
        let event = EVENT.trim_end().replacen(ACCOUNT, account, 1);
        event.replacen(IDENTITY, &format!("{:016}", self.made), 1)
    }

    /// An event of an account, and the `Call-ID` that no other has.
    pub(crate) fn named(&mut self, account: &str) -> (String, String) {
        let event = self.next(account);
        let id = format!("call-{}", self.made);
        (event.replacen(CALL, &id, 1), id)
    }

    /// `count` events, one account after another.
    pub(crate) fn of(&mut self, accounts: &[String], count: usize) -> Vec<String> {
        accounts.iter().cycle().take(count).map(|account| self.next(account)).collect()
    }
}
