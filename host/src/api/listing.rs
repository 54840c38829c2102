//! How a listing is cut into pages: descending by id, `page_size` at once, from `start_key` on. Pure.
//!
//! No answer has more than [`MOST`] items, whatever was asked for; `next_start_key` says that there are more.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::IntoParams;

use super::envelope::{self, Reply};
use super::error::Failure;
use crate::hooks::editor::fields;

const PAGE_SIZE: usize = 50;
/// Items of one answer, also without pagination.
const MOST: usize = 10_000;

/// The query of a listing, as Crossbar spells it. Texts, so that a wrong one is named and not just refused.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Query {
    /// How many items a page has: 50 where it is not said.
    #[param(value_type = Option<u64>, minimum = 1)]
    page_size: Option<String>,
    /// `false`: as many as one answer may have.
    #[param(value_type = Option<bool>)]
    paginate: Option<String>,
    /// `true`: the other way round.
    #[param(value_type = Option<bool>)]
    ascending: Option<String>,
    /// `next_start_key` of the page before.
    start_key: Option<String>,
}

/// The query of a listing by number.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Numbered {
    /// How many items a page has: 50 where it is not said.
    #[param(value_type = Option<u64>, minimum = 1)]
    page_size: Option<String>,
    /// `false`: as many as one answer may have.
    #[param(value_type = Option<bool>)]
    paginate: Option<String>,
    /// `next_start_key` of the page before.
    #[param(pattern = "^[0-9]{1,18}$")]
    start_key: Option<String>,
}

impl Numbered {
    /// How many items the answer may have.
    pub(super) fn size(&self) -> Result<usize, Failure> {
        size(self.page_size.as_deref(), self.paginate.as_deref())
    }

    /// Where it begins.
    pub(super) fn start(&self) -> Result<Option<i64>, Failure> {
        let number = |text: &String| {
            text.parse().map_err(|_| {
                let message = format!("start_key must be a number, not {text}");
                Failure::validation(fields::invalid("start_key", "invalid", &message))
            })
        };
        self.start_key.as_ref().map(number).transpose()
    }
}

/// One page of ids, and where the next one begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) ids: Vec<String>,
    start: Option<String>,
    next: Option<String>,
}

impl Query {
    pub(super) fn page(&self, mut ids: Vec<String>) -> Result<Page, Failure> {
        let size = size(self.page_size.as_deref(), self.paginate.as_deref())?;
        let ascending = flag("ascending", self.ascending.as_deref())?.unwrap_or(false);
        ids.sort_unstable();
        if !ascending {
            ids.reverse();
        }
        if let Some(start) = self.start_key.as_ref().filter(|start| !start.is_empty()) {
            ids.retain(|id| if ascending { id >= start } else { id <= start });
        }
        let next = ids.get(size).cloned();
        ids.truncate(size);
        Ok(Page { ids, start: self.start_key.clone(), next })
    }
}

/// How many entries a page has at most.
pub(super) fn size(page_size: Option<&str>, paginate: Option<&str>) -> Result<usize, Failure> {
    let whole = flag("paginate", paginate)? == Some(false);
    let size = match page_size {
        None => PAGE_SIZE,
        Some(text) => match text.parse::<i64>() {
            Ok(size @ 1..) => MOST.min(usize::try_from(size).unwrap_or(MOST)),
            Ok(_) | Err(_) => {
                let message = format!("page_size must be a number above 0, not {text}");
                return Err(Failure::validation(fields::invalid("page_size", "invalid", &message)));
            }
        },
    };
    Ok(if whole { MOST } else { size })
}

/// `true` or `false`.
pub(super) fn flag(key: &str, text: Option<&str>) -> Result<Option<bool>, Failure> {
    match text {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(other) => {
            let message = format!("{key} must be true or false, not {other:?}");
            Err(Failure::validation(fields::invalid(key, "enum", &message)))
        }
    }
}

impl Page {
    /// The answer with these items, which belong to the page's ids.
    pub(super) fn reply<T: Serialize>(self, items: &[T]) -> Reply<envelope::Page<T>> {
        Reply::page(items, self.start, self.next)
    }

    /// The same for documents.
    pub(super) fn documents<T>(self, items: Vec<Value>) -> Reply<envelope::Page<T>> {
        Reply::documents(items, self.start, self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: Query, expected: &[&str], next: Option<&str>) {
        let page = query.page(["b", "d", "a", "c"].map(str::to_owned).to_vec()).unwrap();
        assert_eq!(page.ids, expected);
        assert_eq!(page.next.as_deref(), next);
    }

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn a_listing_descends() {
        check(Query::default(), &["d", "c", "b", "a"], None);
    }

    #[test]
    fn ascending_turns_it_round() {
        check(Query { ascending: text("true"), ..Query::default() }, &["a", "b", "c", "d"], None);
    }

    #[test]
    fn a_page_names_where_the_next_one_begins() {
        check(Query { page_size: text("3"), ..Query::default() }, &["d", "c", "b"], Some("a"));
    }

    #[test]
    fn a_start_key_begins_its_page() {
        let query = Query { page_size: text("2"), start_key: text("c"), ..Query::default() };
        check(query, &["c", "b"], Some("a"));
    }

    #[test]
    fn without_pagination_all_are_listed() {
        let query = Query { page_size: text("1"), paginate: text("false"), ..Query::default() };
        check(query, &["d", "c", "b", "a"], None);
    }

    #[test]
    fn no_answer_is_without_bounds() {
        let ids: Vec<String> = (0..MOST + 1).map(|n| format!("{n:08}")).collect();
        let all = Query { paginate: text("false"), ..Query::default() };
        let huge = Query { page_size: text("4000000000"), ..Query::default() };
        for query in [all, huge] {
            let page = query.page(ids.clone()).unwrap();
            assert_eq!((page.ids.len(), page.next.as_deref()), (MOST, Some("00000000")));
        }
    }

    #[test]
    fn a_listing_by_number_begins_at_a_number() {
        let query = |start| Numbered { start_key: text(start), ..Numbered::default() };
        assert_eq!(query("42").start().unwrap(), Some(42));
        query("x").start().unwrap_err();
    }

    #[test]
    fn a_page_of_nothing_is_refused() {
        let failure = Query { page_size: text("0"), ..Query::default() }.page(Vec::new()).unwrap_err();
        assert!(failure.data["page_size"]["invalid"]["message"].as_str().unwrap().contains("not 0"));
    }
}
