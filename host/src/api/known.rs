//! A query of which every key is known. A key that is mistyped would otherwise be passed over, and `?dead` in place of
//! `?status=dead` would list everything.
//!
//! Crossbar's routes pass over what they do not know, as the original does, and do not use this.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor, value};
use serde::{Deserialize, forward_to_deserialize_any};

use super::error::Failure;
use crate::hooks::editor::fields;

/// What a query says, where it has no other keys than the fields of these two.
#[derive(Debug)]
pub(super) struct StrictQuery<T, More = EmptyQuery>(pub(super) T, pub(super) More);

/// No further keys.
#[derive(Debug, Deserialize)]
pub(super) struct EmptyQuery {}

impl<S, T, More> FromRequestParts<S> for StrictQuery<T, More>
where
    S: Send + Sync,
    T: DeserializeOwned,
    More: DeserializeOwned,
{
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let read = |error: axum::extract::rejection::QueryRejection| {
            Failure::validation(fields::invalid("query", "invalid", &error.body_text()))
        };
        let Query(keys): Query<Vec<(String, String)>> = Query::try_from_uri(&parts.uri).map_err(read)?;
        let known: Vec<&str> = [field_names::<T>(), field_names::<More>()].concat();
        if let Some(unknown) = unknown(&keys, &known) {
            return Err(unknown);
        }
        let Query(first) = Query::try_from_uri(&parts.uri).map_err(read)?;
        let Query(more) = Query::try_from_uri(&parts.uri).map_err(read)?;
        Ok(StrictQuery(first, more))
    }
}

/// What to say of the first key that is not known.
fn unknown(keys: &[(String, String)], known: &[&str]) -> Option<Failure> {
    let (key, _) = keys.iter().find(|(key, _)| !known.contains(&key.as_str()))?;
    let message = format!("there is no such key in this query; it knows: {}", known.join(", "));
    Some(Failure::validation(fields::invalid(key, "unknown", &message)))
}

/// The names of a struct's fields, which are what it tells a deserializer that it wants.
pub(super) fn field_names<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // It answers nothing but an error, as it has nothing to give.
    drop(T::deserialize(QueryNames(&mut names)));
    names
}

struct QueryNames<'n>(&'n mut &'static [&'static str]);

impl<'de> Deserializer<'de> for QueryNames<'_> {
    type Error = value::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, value::Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, value::Error> {
        Err(value::Error::custom("there is nothing here"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Wanted {
        status: Option<String>,
        #[serde(rename = "hook")]
        of: Option<String>,
    }

    #[derive(Debug, Deserialize)]
    struct Page {
        page_size: Option<String>,
    }

    async fn read(query: &str) -> Result<StrictQuery<Wanted, Page>, Failure> {
        let (mut parts, ()) = Request::builder().uri(format!("/x{query}")).body(()).unwrap().into_parts();
        StrictQuery::from_request_parts(&mut parts, &()).await
    }

    #[tokio::test]
    async fn a_key_that_is_not_known_is_named_with_those_that_are() {
        for (query, expected) in [
            ("", [None, None, None]),
            ("?status=dead&hook=h&page_size=3", [Some("dead"), Some("h"), Some("3")]),
        ] {
            let StrictQuery(wanted, page) = read(query).await.unwrap();
            assert_eq!([wanted.status.as_deref(), wanted.of.as_deref(), page.page_size.as_deref()], expected);
        }
        for (query, key) in
            [("?dead", "dead"), ("?status=dead&of=h", "of"), ("?page_size=3&Status=x", "Status")]
        {
            let wrong = read(query).await.unwrap_err();
            let message = wrong.data[key]["unknown"]["message"].as_str().unwrap().to_owned();
            assert!(message.ends_with("it knows: status, hook, page_size"), "{query}: {message}");
        }
    }

    #[tokio::test]
    async fn a_key_that_stands_there_twice_is_refused() {
        assert!(read("?status=dead&status=pending").await.unwrap_err().data["query"].is_object());
    }
}
