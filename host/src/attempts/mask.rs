//! What an attempt does not show: credentials in a hook's address, the values of its own headers, and either of them
//! where a receiver repeats it. Pure.

use std::borrow::Cow;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;

use crate::model::Hook;

/// What stands in place of a secret.
pub const MASK: &str = "***";

/// Shorter values are everyday words, which stand in answers without being repeated from requests.
const SHORTEST: usize = 8;

/// Parameters of an address that are credentials, by how their names end, in lower case.
const CREDENTIALS: [&str; 9] =
    ["token", "key", "secret", "password", "passwd", "pwd", "auth", "signature", "sig"];

/// Headers of an answer whose values are credentials.
const ANSWERED: [&str; 2] = ["set-cookie", "set-cookie2"];

/// The secrets of one hook.
pub struct SecretMask(SecretFinder);

/// How secrets are looked for in a text.
enum SecretFinder {
    /// One after the other, the longest first, so that no part of one is left over.
    Each(Vec<String>),
    /// All at once, where there are many: an address can hold thousands.
    All(AhoCorasick),
    /// Everything is hidden, as not all of them can be looked for.
    Nothing,
}

/// Up to so many secrets are looked for one after the other.
const FEW: usize = 8;

impl SecretMask {
    /// All that is secret in the requests of this hook.
    #[must_use]
    pub fn of(hook: &Hook) -> Self {
        let mut secrets: Vec<String> =
            hook.options.headers.iter().map(|(_, value)| value.to_owned()).collect();
        if let Some(url) = hook.uri.url() {
            secrets.extend(user_part(url));
            let given = url.query_pairs().filter(|(name, _)| is_credential(name));
            secrets.extend(given.map(|(_, value)| value.into_owned()));
        }
        secrets.retain(|secret| secret.len() >= SHORTEST);
        // The longest first, so that no part of one is left over.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        if secrets.len() <= FEW {
            return SecretMask(SecretFinder::Each(secrets));
        }
        let all = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&secrets);
        SecretMask(all.map_or(SecretFinder::Nothing, SecretFinder::All))
    }

    /// A text of the receiver without the hook's secrets.
    #[must_use]
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match &self.0 {
            SecretFinder::Each(secrets) => {
                secrets.iter().fold(Cow::Borrowed(text), |text, secret| {
                    match text.contains(secret.as_str()) {
                        true => Cow::Owned(text.replace(secret.as_str(), MASK)),
                        false => text,
                    }
                })
            }
            SecretFinder::All(all) if !all.is_match(text) => Cow::Borrowed(text),
            SecretFinder::All(all) => {
                let mut masked = String::with_capacity(text.len());
                all.replace_all_with(text, &mut masked, |_, _, masked| {
                    masked.push_str(MASK);
                    true
                });
                Cow::Owned(masked)
            }
            SecretFinder::Nothing => Cow::Borrowed(MASK),
        }
    }

    /// A header of the receiver.
    #[must_use]
    pub fn answered<'t>(&self, name: &str, value: &'t str) -> Cow<'t, str> {
        if ANSWERED.contains(&name) { Cow::Borrowed(MASK) } else { self.text(value) }
    }
}

/// What the user part of an address may be repeated as: the password, or the name where it stands alone, and the
/// header that becomes of it.
fn user_part(url: &Url) -> Vec<String> {
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let user = decoded(url.username());
    match url.password() {
        None if user.is_empty() => Vec::new(),
        None => vec![STANDARD.encode(format!("{user}:")), user],
        Some(raw) => {
            let password = decoded(raw);
            vec![STANDARD.encode(format!("{user}:{password}")), raw.to_owned(), password]
        }
    }
}

fn is_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    CREDENTIALS.iter().any(|ending| name.ends_with(ending))
}

/// An address without its credentials: `https://user:***@host/?token=***`.
#[must_use]
pub fn address(text: &str) -> String {
    let start = text.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = text.split_at(start);
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    // The last @ ends the user part, also where a password holds an unescaped one.
    let authority = match authority.rsplit_once('@') {
        None => authority.to_owned(),
        Some((user, host)) => match user.split_once(':') {
            Some((name, _)) => format!("{name}:{MASK}@{host}"),
            None => format!("{MASK}@{host}"),
        },
    };
    let Some((path, query)) = path.split_once('?') else { return format!("{scheme}{authority}{path}") };
    let (query, fragment) = query.split_at(query.find('#').unwrap_or(query.len()));
    let masked: Vec<Cow<'_, str>> = query.split('&').map(parameter).collect();
    format!("{scheme}{authority}{path}?{}{fragment}", masked.join("&"))
}

fn parameter(text: &str) -> Cow<'_, str> {
    match text.split_once('=') {
        Some((name, _)) if is_credential(name) => Cow::Owned(format!("{name}={MASK}")),
        _ => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_address_is_shown_without_its_credentials() {
        for (text, expected) in [
            ("https://host/path?a=b#c", "https://host/path?a=b#c"),
            ("https://user:pass@host/p", "https://user:***@host/p"),
            ("https://user:p@ss@host", "https://user:***@host"),
            ("https://ghp_token@host/", "https://***@host/"),
            ("https://host?access_token=abc&b=1", "https://host?access_token=***&b=1"),
            ("https://host/?ApiKey=abc#f", "https://host/?ApiKey=***#f"),
            ("https://host/?token", "https://host/?token"),
            ("https://host/a@b?c=d@e", "https://host/a@b?c=d@e"),
            ("no address", "no address"),
        ] {
            assert_eq!(address(text), expected);
        }
    }

    #[test]
    fn many_secrets_are_masked_like_few() {
        let query: Vec<String> =
            (0..100).map(|at| format!("k{at}_key=secret-{at}-{}", "x".repeat(at))).collect();
        let document = json!({"_id": "h", "pvt_account_id": "a", "hook": "all",
            "uri": format!("https://host/?{}", query.join("&"))});
        let mask = SecretMask::of(&Hook::from_document(document.as_object().unwrap()).unwrap());
        assert_eq!(mask.text("a secret-3-xxx b secret-12-xxxxxxxxxxxx, secret"), "a *** b ***, secret");
        assert_eq!(mask.text("none of them"), "none of them");
    }

    #[test]
    fn what_a_receiver_repeats_is_masked_too() {
        let document = json!({"_id": "h", "pvt_account_id": "a", "hook": "all",
            "uri": "https://user:pass%2Bword@host/?token=123456789&short_key=1",
            "headers": {"authorization": "Bearer abcdef", "x-env": "blue"}});
        let mask = SecretMask::of(&Hook::from_document(document.as_object().unwrap()).unwrap());
        let basic = format!("Basic {}", STANDARD.encode("user:pass+word"));
        for (text, expected) in [
            ("you sent Bearer abcdef", "you sent ***"),
            ("pass+word pass%2Bword", "*** ***"),
            (basic.as_str(), "Basic ***"),
            ("123456789", "***"),
            ("blue 1", "blue 1"),
        ] {
            assert_eq!(mask.text(text), expected);
        }
        assert_eq!(mask.answered("set-cookie", "a=b"), MASK);
        assert_eq!(mask.answered("x-seen", "Bearer abcdef!"), "***!");
    }
}
