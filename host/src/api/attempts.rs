//! `…/webhooks/attempts` and `…/webhooks/{hook}/attempts`: what was sent for an account and what came back, the newest
//! first, by Crossbar's words for ranges, pages and filters.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;
use utoipa::IntoParams;

use super::envelope::{self, Answer, Reply};
use super::error::Failure;
use super::filters::{FieldFilters, Filters, pairs};
use super::offload::by_size;
use super::shapes::Attempt;
use super::{Api, listing};
use crate::clock;
use crate::hooks::editor::fields;
use crate::model::Document;
use crate::store::{AttemptKey, AttemptQuery, StoredAttempt};

/// What a query asks for beside filters: the first of each key, as in Crossbar. Texts, so that a wrong one is named and not
/// just refused.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AttemptListQuery {
    /// From when on, in Gregorian seconds: 31 days and an hour before `created_to` where it is not said, and at most.
    #[param(value_type = Option<i64>, minimum = 0, maximum = 1_099_511_627_776_i64)]
    created_from: Option<String>,
    /// Until when: now, where it is not said.
    #[param(value_type = Option<i64>, minimum = 0, maximum = 1_099_511_627_776_i64)]
    created_to: Option<String>,
    /// `true`: only those that failed; `false`: only the others.
    #[param(value_type = Option<bool>)]
    failed: Option<String>,
    /// `true`: the oldest first.
    #[param(value_type = Option<bool>)]
    ascending: Option<String>,
    /// How many attempts a page has: 50 where it is not said.
    #[param(value_type = Option<u64>, minimum = 1)]
    page_size: Option<String>,
    /// `false`: as many as one answer may have.
    #[param(value_type = Option<bool>)]
    paginate: Option<String>,
    /// `next_start_key` of the page before, or `follow_key` for what came after it.
    #[param(pattern = "^[0-9]{1,15}[.][0-9]{1,18}$")]
    start_key: Option<String>,
}

/// The query, and its pairs for filters, which are read after it.
pub(super) struct AttemptQueryPairs(AttemptListQuery, Vec<(String, String)>);

impl FromRequestParts<Arc<Api>> for AttemptQueryPairs {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Api>) -> Result<Self, Failure> {
        let pairs = pairs(parts)?;
        let mut first = Document::new();
        for (key, value) in &pairs {
            first.entry(key).or_insert_with(|| value.as_str().into());
        }
        let query = AttemptListQuery::deserialize(&first);
        Ok(Self(query.map_err(|_| Failure::of_framework(StatusCode::BAD_REQUEST))?, pairs))
    }
}

/// The longest range, in seconds: 31 days and an hour (`crossbar` `maximum_range`).
const RANGE: i64 = 2_682_000;

/// Attempts on one page, also where no pages are asked for.
const MOST: usize = 2_000;

/// Attempts that are looked at for one page, and how many of them, with how many bytes, at once.
const SCANNED: usize = 20_000;
const BATCH: usize = 2_000;
const BATCH_BYTES: usize = 1 << 20;

/// Bytes of the attempts that are looked at for one page.
const SCANNED_BYTES: usize = 32 << 20;

/// Lists the attempts for an account
///
/// The newest first. The envelope's `follow_key` is where an ascending listing goes on with what comes later.
#[utoipa::path(
    get,
    path = "/v2/accounts/{account}/webhooks/attempts",
    tag = "Attempts",
    params(AttemptListQuery, FieldFilters)
)]
pub(super) async fn of_account(
    State(api): State<Arc<Api>>,
    Path(account): Path<String>,
    query: AttemptQueryPairs,
) -> Answer<envelope::PagedData<Attempt>> {
    api.editor.account(&account).await?;
    list(&api, &account, None, query).await
}

/// Lists the attempts of a hook
///
/// Those of a hook that was deleted stay where they are.
#[utoipa::path(
    get,
    path = "/v2/accounts/{account}/webhooks/{hook}/attempts",
    tag = "Attempts",
    params(AttemptListQuery, FieldFilters)
)]
pub(super) async fn of_hook(
    State(api): State<Arc<Api>>,
    Path((account, hook)): Path<(String, String)>,
    query: AttemptQueryPairs,
) -> Answer<envelope::PagedData<Attempt>> {
    api.editor.account(&account).await?;
    list(&api, &account, Some(&hook), query).await
}

async fn list(
    api: &Api,
    account: &str,
    hook: Option<&str>,
    query: AttemptQueryPairs,
) -> Answer<envelope::PagedData<Attempt>> {
    let AttemptQueryPairs(asked, mut pairs) = query;
    let size = listing::size(asked.page_size.as_deref(), asked.paginate.as_deref())?;
    let size = size.min(MOST);
    let ascending = listing::flag("ascending", asked.ascending.as_deref())?.unwrap_or(false);
    let (from, to) = (asked.created_from.as_deref(), asked.created_to.as_deref());
    let (from, to) = range(from, to, clock::gregorian_now())?;
    let start_key = asked.start_key.filter(|key| !key.is_empty());
    let failed = listing::flag("failed", asked.failed.as_deref())?;
    // The range stands for itself.
    pairs.retain(|(key, _)| !key.starts_with("created_"));
    let filters = Filters::of(&pairs)?;
    let wanted = AttemptQuery {
        account: account.into(),
        hook: hook.map(Into::into),
        failed,
        from_ms: clock::unix(from) * 1000,
        to_ms: clock::unix(to) * 1000 + 999,
        start: start_key.as_deref().map(read_key).transpose()?,
        ascending,
        limit: size + 1,
        scan: BATCH,
        bytes: BATCH_BYTES,
    };
    let page = Page::read(api, wanted, filters, size).await?;
    Ok(page.reply(start_key))
}

/// One page, and where the next one begins.
struct Page {
    items: Vec<String>,
    bytes: usize,
    next: Option<AttemptKey>,
    /// An ascending listing that begins here goes on behind the newest attempt of this page.
    follow: AttemptKey,
}

impl Page {
    async fn read(
        api: &Api,
        mut wanted: AttemptQuery,
        filters: Filters,
        size: usize,
    ) -> Result<Self, Failure> {
        let begins = AttemptKey { created_ms: wanted.from_ms, id: 0 };
        let follow = wanted.start.filter(|_| wanted.ascending).unwrap_or(begins);
        let mut page = Page { items: Vec::new(), bytes: 0, next: None, follow };
        let (filters, mut scanned, mut scanned_bytes) = (Arc::new(filters), 0, 0);
        let (begun, searches) = (Instant::now(), wanted.failed.is_some() || !filters.want_all());
        loop {
            let batch = api.ledger.attempts(wanted.clone()).await?;
            let bytes: usize = batch.attempts.iter().map(|attempt| attempt.document.len()).sum();
            let (reached, filters) = (batch.reached, Arc::clone(&filters));
            scanned += batch.scanned;
            scanned_bytes += bytes;
            page = by_size(bytes, move || page.with(&batch.attempts, &filters, size)).await?;
            let Some(reached) = reached.filter(|_| page.next.is_none()) else { return Ok(page) };
            page.follow = page.follow.max(after(reached));
            let behind = if wanted.ascending { after(reached) } else { before(reached) };
            let long = searches && begun.elapsed() >= listing::LONGEST_SEARCH;
            if long || scanned >= SCANNED || scanned_bytes >= SCANNED_BYTES {
                page.next = Some(behind);
                return Ok(page);
            }
            wanted.start = Some(behind);
        }
    }

    /// Adds those that are wanted, up to the first for which there is no room: there the next page begins.
    fn with(mut self, attempts: &[StoredAttempt], filters: &Filters, size: usize) -> Self {
        for attempt in attempts {
            if self.items.len() == size || self.bytes >= listing::ANSWER_BYTES {
                self.next = Some(attempt.key);
                break;
            }
            self.follow = self.follow.max(after(attempt.key));
            if let Some(item) = shown(attempt, filters) {
                self.bytes += item.len();
                self.items.push(item);
            }
        }
        self
    }

    fn reply(self, start_key: Option<String>) -> Reply<envelope::PagedData<Attempt>> {
        Reply::written_page(&self.items, start_key, self.next.map(write_key))
            .follow_key(write_key(self.follow))
    }
}

/// The attempt with when it was kept, unless it is filtered out; nothing of a document that cannot be read.
fn shown(attempt: &StoredAttempt, filters: &Filters) -> Option<String> {
    let timestamp = clock::gregorian(attempt.key.created_ms.div_euclid(1000));
    if filters.want_all() {
        return Attempt::written(&attempt.document, timestamp);
    }
    let document: Document = serde_json::from_str(&attempt.document).ok()?;
    if filters.want(&document) { Attempt::written_of(document, timestamp) } else { None }
}

/// From when to when, both in Gregorian seconds.
fn range(from: Option<&str>, to: Option<&str>, now: i64) -> Result<(i64, i64), Failure> {
    let read = |field: &str, text: &str| {
        text.parse::<i64>().ok().filter(|seconds| (0..=1 << 40).contains(seconds)).ok_or_else(|| {
            let message = format!("{field} must be Gregorian seconds, not {text:?}");
            Failure::validation(fields::invalid(field, "invalid", &message))
        })
    };
    let to = to.map_or(Ok(now), |text| read("created_to", text))?;
    let from = from.map_or(Ok(to - RANGE), |text| read("created_from", text))?;
    let wrong = |message: String| {
        let data = json!({"created_from": {"date_range": {"message": message, "cause": from}}});
        Err(Failure::validation(data))
    };
    if from > to {
        return wrong(format!("created_from {from} is later than created_to {to}"));
    }
    if to - from > RANGE {
        return wrong(format!("created_to {to} is more than {RANGE} seconds from created_from {from}"));
    }
    Ok((from, to))
}

fn after(key: AttemptKey) -> AttemptKey {
    AttemptKey { id: key.id + 1, ..key }
}

fn before(key: AttemptKey) -> AttemptKey {
    AttemptKey { id: key.id - 1, ..key }
}

fn write_key(key: AttemptKey) -> String {
    format!("{}.{}", key.created_ms, key.id)
}

fn read_key(text: &str) -> Result<AttemptKey, Failure> {
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let read = || {
        let (created_ms, id) = text.split_once('.')?;
        Some(AttemptKey { created_ms: number(created_ms)?, id: number(id)? })
    };
    read().ok_or_else(|| {
        let message = "start_key must be the next_start_key of an earlier page";
        Failure::validation(fields::invalid("start_key", "invalid", message))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_up_to_now_and_no_longer_than_a_month() {
        let now = 63_900_000_000;
        let read = |from: Option<&str>, to: Option<&str>| range(from, to, now);
        assert_eq!(read(None, None).unwrap(), (now - RANGE, now));
        assert_eq!(read(None, Some("63800000000")).unwrap(), (63_800_000_000 - RANGE, 63_800_000_000));
        assert_eq!(read(Some("63899999999"), None).unwrap(), (63_899_999_999, now));
        for (from, to, field, code) in [
            (Some("63800000000"), None, "created_from", "date_range"),
            (Some("63900000001"), None, "created_from", "date_range"),
            (Some("noon"), None, "created_from", "invalid"),
            (None, Some("-1"), "created_to", "invalid"),
        ] {
            let failure = read(from, to).unwrap_err();
            assert!(failure.data[field][code]["message"].is_string(), "{}", failure.data);
        }
    }

    #[test]
    fn a_key_comes_back_as_it_was_and_nonsense_is_refused() {
        let key = AttemptKey { created_ms: 1_700_000_000_123, id: 42 };
        assert_eq!(read_key(&write_key(key)).unwrap(), key);
        for nonsense in ["", "x", "1", "1.", ".1", "1.x", "-1.1", "1.+1", "1.99999999999999999999"] {
            assert!(read_key(nonsense).is_err(), "{nonsense:?}");
        }
    }
}
