//! Whose database a name belongs to: KAZOO's `kzs_util:db_classification/1` and `format_account_id/1`.
//!
//! Names are told apart by their shape alone; an account id is any 32 characters.

use std::borrow::Cow;

use plugin_api::Profile;

/// A kind of database, as far as this module tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// One account's own.
    Account,
    /// One account's for one month.
    Month,
    /// One account's for one year.
    Year,
    /// Copies of documents of all accounts.
    Aggregate,
    /// Phone numbers with the same first digits.
    Numbers,
    /// Of KAZOO itself.
    System,
    /// Rates.
    RateDeck,
    /// An account's choices of carriers.
    ResourceSelectors,
    /// Of the database server.
    External,
    /// None of these.
    Unknown,
}

const AGGREGATES: &[&str] =
    &["accounts", "webhooks", "services", "faxes", "sip_auth", "token_auth", "port_requests"];
const SYSTEM: &[&str] = &["system_config", "system_data", "system_schemas", "pending_notifications"];
const EXTERNAL: &[&str] = &["_users", "_replicator", "_global_changes"];

/// Bytes of an account id.
const ACCOUNT: usize = 32;

pub(crate) fn class(database: &str) -> Class {
    match of_account(database) {
        Some((_, "")) => Class::Account,
        Some((_, rest)) if is_period(rest, 6) => Class::Month,
        Some((_, rest)) if is_period(rest, 4) => Class::Year,
        Some((_, "-selectors")) => Class::ResourceSelectors,
        _ if AGGREGATES.contains(&database) => Class::Aggregate,
        _ if SYSTEM.contains(&database) => Class::System,
        _ if EXTERNAL.contains(&database) => Class::External,
        _ if database == "ratedeck" => Class::RateDeck,
        _ if ["numbers/", "numbers%2F", "numbers%2f"].iter().any(|start| database.starts_with(start)) => {
            Class::Numbers
        }
        _ => Class::Unknown,
    }
}

/// The account that a change in this database concerns; `id` is the changed document's.
///
/// `webhooks_object:find_account_id/1` knows two places: an account's own databases and the copies in `accounts`.
pub(crate) fn account(database: &str, id: Option<&str>, profile: Profile) -> Option<String> {
    match class(database) {
        Class::Account | Class::Month => {
            // `kzs_util:format_account_id/1` hands a name back that is written with `%2f`.
            if profile == Profile::Kazoo && database.starts_with("account%2f") {
                return Some(database.to_owned());
            }
            of_account(database).map(|(account, _)| account.into_owned())
        }
        Class::Aggregate if database == "accounts" => id.map(str::to_owned),
        _ => None,
    }
}

/// Splits `account/ab/cd/…`, in one of its spellings, or an account id into the id and what comes after.
fn of_account(database: &str) -> Option<(Cow<'_, str>, &str)> {
    for slash in ["%2F", "%2f", "/"] {
        let parts = database.strip_prefix("account").and_then(|rest| rest.strip_prefix(slash));
        if let Some(parts) = parts {
            let (first, parts) = parts.split_at_checked(2)?;
            let (second, parts) = parts.strip_prefix(slash)?.split_at_checked(2)?;
            let (third, rest) = parts.strip_prefix(slash)?.split_at_checked(ACCOUNT - 4)?;
            return Some((Cow::Owned(format!("{first}{second}{third}")), rest));
        }
    }
    let (account, rest) = database.split_at_checked(ACCOUNT)?;
    Some((Cow::Borrowed(account), rest))
}

fn is_period(rest: &str, digits: usize) -> bool {
    rest.strip_prefix('-')
        .is_some_and(|date| date.len() == digits && date.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "91eb05e5c68d7ca05e7618b6821d2d16";

    #[track_caller]
    fn check(database: &str, expected: Class, expected_account: Option<&str>) {
        assert_eq!(class(database), expected, "{database}");
        assert_eq!(
            account(database, Some("doc1"), Profile::Standard).as_deref(),
            expected_account,
            "{database}"
        );
    }

    #[test]
    fn an_accounts_databases_are_its_own_in_every_spelling() {
        for slash in ["%2F", "%2f", "/"] {
            let name = format!("account{slash}91{slash}eb{slash}05e5c68d7ca05e7618b6821d2d16");
            check(&name, Class::Account, Some(ID));
            check(&format!("{name}-202401"), Class::Month, Some(ID));
            check(&format!("{name}-2024"), Class::Year, None);
            check(&format!("{name}-20240"), Class::Unknown, None);
            check(&format!("{name}x"), Class::Unknown, None);
            check(&name[..name.len() - 1], Class::Unknown, None);
            check(&format!("x{name}"), Class::Unknown, None);
        }
        check(ID, Class::Account, Some(ID));
        check(&format!("{ID}-202401"), Class::Month, Some(ID));
        check(&format!("{ID}-selectors"), Class::ResourceSelectors, None);
    }

    #[test]
    fn only_the_copies_of_accounts_concern_an_account() {
        check("accounts", Class::Aggregate, Some("doc1"));
        check("webhooks", Class::Aggregate, None);
        check("system_config", Class::System, None);
        check("numbers%2F%2B1555", Class::Numbers, None);
        check("ratedeck", Class::RateDeck, None);
        check("_users", Class::External, None);
        check("", Class::Unknown, None);
        assert_eq!(account("accounts", None, Profile::Standard), None);
    }

    #[test]
    fn names_are_cut_between_letters_only() {
        check("account/9é/eb/05e5c68d7ca05e7618b6821d2d16", Class::Unknown, None);
        check(&"é".repeat(16), Class::Account, Some(&"é".repeat(16)));
        check(&format!("x{}", "é".repeat(16)), Class::Unknown, None);
    }

    #[test]
    fn profile_kazoo_takes_the_other_spelling_for_an_id() {
        let name = "account%2f91%2feb%2f05e5c68d7ca05e7618b6821d2d16";
        assert_eq!(account(name, None, Profile::Kazoo).as_deref(), Some(name));
    }
}
