//! How much an account has, counted while changes are under way.

use serde_json::json;

use super::*;
use crate::config::limits::MOST;

fn books(limits: AccountLimits) -> AccountBooks {
    AccountBooks::new(limits)
}

fn document(value: Value) -> Document {
    value.as_object().cloned().unwrap()
}

fn enter(
    books: &AccountBooks,
    kind: EntryKind,
    value: Value,
    reserved: Option<GrowthReservation<'_>>,
) -> bool {
    let doc = document(value);
    books.enter(&mut books.entries(), DocumentFacts::of(kind, &doc), reserved).is_some()
}

#[test]
fn a_change_that_has_begun_counts_until_it_is_given_up() {
    let books = books(AccountLimits { hooks: 2, ..MOST });
    let first = books.reserve_hook("a").ok();
    let second = books.reserve_hook("a").ok();
    let refused = books.reserve_hook("a").err().unwrap();
    assert_eq!((refused.limit, refused.most, refused.wanted), (LimitName::Hooks, 2, 3));
    drop(second);
    let hook = json!({"_id": "h", "_rev": "1-x", "pvt_account_id": "a"});
    assert!(enter(&books, EntryKind::Hook, hook, first));
    assert!(books.reserve_hook("a").is_ok());
    let deleted = json!({"_id": "h", "_rev": "2-x", "pvt_account_id": "a", "pvt_deleted": true});
    assert!(enter(&books, EntryKind::Hook, deleted, None));
    let both = [books.reserve_hook("a"), books.reserve_hook("a")];
    assert!(both.iter().all(Result::is_ok));
}

#[test]
fn an_older_revision_changes_nothing() {
    let books = books(AccountLimits { hooks: 1, ..MOST });
    let deleted = json!({"_id": "h", "_rev": "2-x", "pvt_account_id": "a", "pvt_deleted": true});
    assert!(enter(&books, EntryKind::Hook, deleted, None));
    assert!(!enter(&books, EntryKind::Hook, json!({"_id": "h", "_rev": "1-x", "pvt_account_id": "a"}), None));
    assert!(books.reserve_hook("a").is_ok());
}

#[test]
fn bytes_may_shrink_where_they_are_over_the_limit_and_not_grow() {
    let books = books(AccountLimits { documents_bytes: 100, hook_bytes: 50, ..MOST });
    let of =
        |bytes: usize| json!({"_id": "h", "_rev": "1-x", "pvt_account_id": "a", "name": "n".repeat(bytes)});
    assert!(enter(&books, EntryKind::Hook, of(200), None));
    let before = document_bytes(&document(of(200)));
    for (bytes, allowed) in [(100, true), (200, true), (201, false)] {
        let doc = document(of(bytes));
        assert_eq!(books.check_size("a", &doc, before).is_ok(), allowed, "{bytes}");
        assert_eq!(books.reserve_bytes("a", &doc, before, None).is_ok(), allowed, "{bytes}");
    }
    assert!(books.check_size("a", &document(of(60)), 0).is_err());
    assert!(books.reserve_bytes("b", &document(of(60)), 0, None).is_ok());
}

#[test]
fn the_accounts_above_count_what_is_below_and_say_how_deep_it_may_go() {
    let books = books(AccountLimits { accounts_below: 2, depth: 3, ..MOST });
    for account in [
        json!({"_id": "top", "_rev": "1-x", "pvt_tree": []}),
        json!({"_id": "mid", "_rev": "1-x", "pvt_tree": ["top"]}),
    ] {
        assert!(enter(&books, EntryKind::Account, account, None));
    }
    let below = |tree: Value| books.reserve_below(tree.as_array().unwrap()).map_err(|reached| reached.limit);
    let third = below(json!(["top", "mid"])).ok();
    assert!(third.is_some());
    assert_eq!(below(json!(["top"])).err(), Some(LimitName::AccountsBelow));
    drop(third);
    assert!(below(json!(["top"])).is_ok() && below(json!([])).is_ok());
    assert_eq!(below(json!(["top", "mid", "low"])).err(), Some(LimitName::Depth));
    let own = json!({"_id": "top", "_rev": "2-x", "pvt_tree": [], "pvt_limits": {"depth": 4}});
    assert!(enter(&books, EntryKind::Account, own, None));
    assert!(below(json!(["top", "mid", "low"])).is_ok());
    assert_eq!(books.usage("top").accounts_below, 1);
}
