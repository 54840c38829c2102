//! What a log-in answers: a token that names the API key that it was made with, for a day. It is a JSON Web Token
//! (RFC 7519, HS256), as KAZOO's clients look into theirs; it is not kept, and ends with its API key.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::tokens::Holder;

/// How long a log-in lasts. KAZOO's last an hour since they were used last; here nothing is written down of a use.
pub const LASTS: Duration = Duration::from_hours(24);

/// Who issues these tokens, as they say themselves.
const ISSUER: &str = "hookline";

/// Bytes of the longest token that is looked at; ours have about 400.
const LONGEST: usize = 2_048;

/// Makes the tokens of log-ins, and reads them again.
pub struct LogIns {
    /// With the key worked in.
    signer: Hmac<Sha256>,
}

/// What a token of this form is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogIn {
    /// One of ours, made with the API key of this id.
    Of(String),
    /// One of ours whose time is over.
    Ended,
}

impl LogIns {
    /// With this key: hosts that have the same one take each other's tokens.
    #[must_use]
    pub fn signed_with(key: &[u8; 32]) -> Self {
        // A key that is shorter than a block of SHA-256 is filled up with zeros, by the definition of HMAC.
        let mut block = [0; 64];
        block[..key.len()].copy_from_slice(key);
        Self { signer: Hmac::new(&block.into()) }
    }

    /// A token for whoever showed this API key; `now` is in Unix seconds. Nothing for the one in `admin.token`, which
    /// belongs to no account.
    #[must_use]
    pub fn issue(&self, holder: &Holder, now: i64) -> Option<String> {
        let account = holder.account.as_ref()?;
        let lasts = i64::try_from(LASTS.as_secs()).unwrap_or(0);
        let claims = json!({
            "iss": ISSUER,
            "iat": now,
            "exp": now.saturating_add(lasts),
            "account_id": account.as_str(),
            "owner_id": holder.id,
            "method": "api_auth",
        });
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&json!({"alg": "HS256", "typ": "JWT"})), encode(&claims));
        let signature = self.over(&signed).finalize().into_bytes();
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// What a token says, where it is one of ours. Nothing of it is believed before its signature was.
    #[must_use]
    pub fn read(&self, token: &str, now: i64) -> Option<LogIn> {
        let claims = self.claims(token)?;
        let id = claims["owner_id"].as_str().filter(|_| claims["iss"] == ISSUER)?;
        Some(match claims["exp"].as_i64() {
            Some(exp) if now < exp => LogIn::Of(id.to_owned()),
            _ => LogIn::Ended,
        })
    }

    /// For how long a token is still good. None where it is not of a log-in: those last until they are revoked.
    #[must_use]
    pub fn lasts(&self, token: &str, now: i64) -> Option<Duration> {
        let ends = self.claims(token)?["exp"].as_i64()?;
        Some(Duration::from_secs(u64::try_from(ends.saturating_sub(now)).unwrap_or(0)))
    }

    fn claims(&self, token: &str) -> Option<Value> {
        if token.len() > LONGEST {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        self.over(signed).verify_slice(&signature).ok()?;
        let (_, claims) = signed.split_once('.')?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
    }

    fn over(&self, signed: &str) -> Hmac<Sha256> {
        let mut mac = self.signer.clone();
        mac.update(signed.as_bytes());
        mac
    }
}

impl fmt::Debug for LogIns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogIns(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoredToken;

    const NOW: i64 = 1_800_000_000;

    fn holder() -> Holder {
        Holder::of(StoredToken {
            id: "0123456789abcdef".to_owned(),
            account: "a1".into(),
            administrator: false,
            name: None,
            hash: [0; 32],
            created_ms: 0,
            created_by: String::new(),
            used_ms: None,
        })
    }

    #[test]
    fn a_token_is_read_by_whoever_has_the_key_until_its_time_is_over() {
        let ours = LogIns::signed_with(&[1; 32]);
        let token = ours.issue(&holder(), NOW).unwrap();
        let day = 86_400;
        let of = |id: &str| Some(LogIn::Of(id.to_owned()));
        for (now, expected) in [
            (NOW, of("0123456789abcdef")),
            (NOW + day - 1, of("0123456789abcdef")),
            (NOW + day, Some(LogIn::Ended)),
        ] {
            assert_eq!(ours.read(&token, now), expected);
            assert_eq!(LogIns::signed_with(&[1; 32]).read(&token, now), expected);
        }
        assert_eq!(LogIns::signed_with(&[2; 32]).read(&token, NOW), None);
    }

    #[test]
    fn what_is_begun_with_it_ends_with_it_and_other_tokens_have_no_end() {
        let ours = LogIns::signed_with(&[1; 32]);
        let token = ours.issue(&holder(), NOW).unwrap();
        assert_eq!(ours.lasts(&token, NOW + 60), Some(LASTS - Duration::from_mins(1)));
        assert_eq!(ours.lasts(&token, NOW + 200_000), Some(Duration::ZERO));
        assert_eq!(ours.lasts("hlt_0123456789abcdef_0123456789abcdef", NOW), None);
    }

    #[test]
    fn clients_find_in_it_whose_it_is() {
        let token = LogIns::signed_with(&[1; 32]).issue(&holder(), NOW).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let read =
            |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        assert_eq!(parts.len(), 3);
        assert_eq!(read(parts[0]), json!({"alg": "HS256", "typ": "JWT"}));
        let claims = read(parts[1]);
        assert_eq!((&claims["account_id"], &claims["iss"]), (&json!("a1"), &json!("hookline")));
        assert_eq!(claims["exp"], NOW + 86_400);
    }

    #[test]
    fn what_was_changed_by_one_letter_is_nobodys() {
        let ours = LogIns::signed_with(&[1; 32]);
        let token = ours.issue(&holder(), NOW).unwrap();
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(ours.read(&changed, NOW), None, "{at}");
        }
        let unsigned = format!("{}.", token.rsplit_once('.').unwrap().0);
        for foreign in ["", ".", "..", "hlt_1_2", unsigned.as_str(), &".".repeat(5_000)] {
            assert_eq!(ours.read(foreign, NOW), None, "{foreign}");
        }
    }
}
