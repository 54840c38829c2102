//! How a listing is cut into pages: descending by id, `page_size` at once, from `start_key` on. Pure.
//!
//! No answer has more than [`MOST`] items, whatever was asked for; `next_start_key` says that there are more.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::IntoParams;

use super::envelope::{self, Answer, Reply};
use super::error::Failure;
use super::filters::Filters;
use super::offload::by_size;
use crate::clock::now_ms;
use crate::hooks::editor::fields;
use crate::hooks::limits::document_bytes;
use crate::model::Document;
use crate::store::{Documents, HookIdQuery, ListedKind};
use crate::times;

const PAGE_SIZE: usize = 50;
/// Items of one answer, also without pagination.
const MOST: usize = 10_000;

/// The query of a listing, as Crossbar spells it. Texts, so that a wrong one is named and not just refused.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListingQuery {
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
pub(super) struct NumberedPage {
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

impl NumberedPage {
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

/// Bytes of the items of one answer. A page that would have more ends before, and says where the next one begins.
pub(super) const ANSWER_BYTES: usize = 4 << 20;

/// Documents that are looked at for one answer, and their bytes, where filters leave out most of them.
const SCANNED: usize = 20_000;
const SCANNED_BYTES: usize = 32 << 20;

/// How long is looked, where filters leave something out, for the items of one answer. What was found until then is a page,
/// however many others look at once.
pub(super) const LONGEST_SEARCH: Duration = Duration::from_secs(2);

/// Documents, and their bytes, that are in memory at once for one listing.
const BATCH: usize = 200;
const BATCH_BYTES: usize = 1 << 20;

/// One page of the documents with these ids: those that the filters want, as `show` writes them. Documents are read in
/// pieces and only until the page is full.
pub(super) async fn documents<T: Serialize>(
    store: &dyn Documents,
    kind: ListedKind,
    ids: Vec<String>,
    query: &ListingQuery,
    filters: &Filters,
    show: impl Fn(&Document) -> Option<T> + Clone + Send + 'static,
) -> Answer<envelope::PagedData<T>> {
    let (size, ids) = (query.size()?, query.in_order(ids)?);
    let mut listed = ListedItems::default();
    let (begun, mut at) = (Instant::now(), 0);
    while at < ids.len() && listed.goes_on(size) {
        if at > 0 && !filters.want_all() && begun.elapsed() >= LONGEST_SEARCH {
            break;
        }
        let piece = if filters.want_all() { BATCH.min(size - listed.items.len()) } else { BATCH };
        let piece: Vec<String> = ids[at..].iter().take(piece).cloned().collect();
        let read = store.listed(kind, piece, BATCH_BYTES).await?;
        let (bytes, filters, show) = (read.bytes, filters.clone(), show.clone());
        let (grown, looked_at) = by_size(bytes, move || {
            let looked_at = listed.take(&read.documents, size, &filters, show);
            (listed, looked_at)
        })
        .await?;
        listed = grown;
        at += looked_at;
    }
    Ok(Reply::written_page(&listed.items, query.start_key.clone(), ids.get(at).cloned()))
}

/// The items of a page that is being made.
#[derive(Default)]
struct ListedItems {
    items: Vec<String>,
    bytes: usize,
    scanned: usize,
    scanned_bytes: usize,
}

impl ListedItems {
    fn goes_on(&self, size: usize) -> bool {
        self.items.len() < size
            && self.bytes < ANSWER_BYTES
            && self.scanned < SCANNED
            && self.scanned_bytes < SCANNED_BYTES
    }

    /// Adds what is wanted of these; answers how many of them were looked at.
    fn take<T: Serialize>(
        &mut self,
        documents: &[Option<Document>],
        size: usize,
        filters: &Filters,
        show: impl Fn(&Document) -> Option<T>,
    ) -> usize {
        for (looked_at, document) in documents.iter().enumerate() {
            if !self.goes_on(size) {
                return looked_at;
            }
            self.scanned += 1;
            let Some(document) = document else { continue };
            self.scanned_bytes += usize::try_from(document_bytes(document)).unwrap_or(usize::MAX);
            if let Some(item) = Some(document).filter(|doc| filters.want(doc)).and_then(&show) {
                let item = envelope::written(&item);
                self.bytes += item.len();
                self.items.push(item);
            }
        }
        documents.len()
    }
}

/// The ids of the hooks that a page may show: one more than it has, where none is left out.
pub(super) async fn hook_ids(
    store: &dyn Documents,
    account: Option<&str>,
    query: &ListingQuery,
    filters: &Filters,
) -> Result<Vec<String>, Failure> {
    let limit = if filters.want_all() { query.size()? + 1 } else { SCANNED + 1 };
    let wanted = HookIdQuery {
        account: account.map(Into::into),
        start: query.start().cloned(),
        ascending: query.is_ascending()?,
        limit,
    };
    Ok(store.hook_ids(wanted).await?)
}

/// One page of ids, and where the next one begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ListingPage {
    pub(super) ids: Vec<String>,
    start: Option<String>,
    next: Option<String>,
}

impl ListingQuery {
    fn size(&self) -> Result<usize, Failure> {
        size(self.page_size.as_deref(), self.paginate.as_deref())
    }

    fn is_ascending(&self) -> Result<bool, Failure> {
        Ok(flag("ascending", self.ascending.as_deref())?.unwrap_or(false))
    }

    /// Where the page begins; an empty key is none.
    fn start(&self) -> Option<&String> {
        self.start_key.as_ref().filter(|start| !start.is_empty())
    }

    /// The ids from the start on, in the order of the listing.
    fn in_order(&self, mut ids: Vec<String>) -> Result<Vec<String>, Failure> {
        let ascending = self.is_ascending()?;
        if let Some(start) = self.start() {
            ids.retain(|id| if ascending { id >= start } else { id <= start });
        }
        ids.sort_unstable();
        if !ascending {
            ids.reverse();
        }
        Ok(ids)
    }

    pub(super) fn page(&self, ids: Vec<String>) -> Result<ListingPage, Failure> {
        let (size, mut ids) = (self.size()?, self.in_order(ids)?);
        let next = ids.get(size).cloned();
        ids.truncate(size);
        Ok(ListingPage { ids, start: self.start_key.clone(), next })
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

/// A time, as people write it, in Unix milliseconds.
pub(super) fn moment(field: &str, text: Option<&str>) -> Result<Option<i64>, Failure> {
    let read = text.map(|text| times::moment(text, now_ms())).transpose();
    read.map_err(|message| Failure::validation(fields::invalid(field, "invalid", &message)))
}

/// A number in a path.
pub(super) fn path_number(id: &str) -> Result<i64, Failure> {
    id.parse().map_err(|_| Failure::bad_identifier(id))
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

impl ListingPage {
    /// The answer with these items, which belong to the page's ids.
    pub(super) fn reply<T: Serialize>(self, items: &[T]) -> Reply<envelope::PagedData<T>> {
        Reply::page(items, self.start, self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: ListingQuery, expected: &[&str], next: Option<&str>) {
        let page = query.page(["b", "d", "a", "c"].map(str::to_owned).to_vec()).unwrap();
        assert_eq!(page.ids, expected);
        assert_eq!(page.next.as_deref(), next);
    }

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn a_listing_descends() {
        check(ListingQuery::default(), &["d", "c", "b", "a"], None);
    }

    #[test]
    fn ascending_turns_it_round() {
        check(
            ListingQuery { ascending: text("true"), ..ListingQuery::default() },
            &["a", "b", "c", "d"],
            None,
        );
    }

    #[test]
    fn a_page_names_where_the_next_one_begins() {
        check(ListingQuery { page_size: text("3"), ..ListingQuery::default() }, &["d", "c", "b"], Some("a"));
    }

    #[test]
    fn a_start_key_begins_its_page() {
        let query = ListingQuery { page_size: text("2"), start_key: text("c"), ..ListingQuery::default() };
        check(query, &["c", "b"], Some("a"));
    }

    #[test]
    fn without_pagination_all_are_listed() {
        let query = ListingQuery { page_size: text("1"), paginate: text("false"), ..ListingQuery::default() };
        check(query, &["d", "c", "b", "a"], None);
    }

    #[test]
    fn no_answer_is_without_bounds() {
        let ids: Vec<String> = (0..MOST + 1).map(|n| format!("{n:08}")).collect();
        let all = ListingQuery { paginate: text("false"), ..ListingQuery::default() };
        let huge = ListingQuery { page_size: text("4000000000"), ..ListingQuery::default() };
        for query in [all, huge] {
            let page = query.page(ids.clone()).unwrap();
            assert_eq!((page.ids.len(), page.next.as_deref()), (MOST, Some("00000000")));
        }
    }

    #[test]
    fn a_listing_by_number_begins_at_a_number() {
        let query = |start| NumberedPage { start_key: text(start), ..NumberedPage::default() };
        assert_eq!(query("42").start().unwrap(), Some(42));
        query("x").start().unwrap_err();
    }

    #[test]
    fn a_page_of_nothing_is_refused() {
        let failure =
            ListingQuery { page_size: text("0"), ..ListingQuery::default() }.page(Vec::new()).unwrap_err();
        assert!(failure.data["page_size"]["invalid"]["message"].as_str().unwrap().contains("not 0"));
    }
}
