//! Who asks: the token that a request shows, and the address that it comes from.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request};
use axum::http::{Extensions, HeaderMap, header};

use super::asked::QueryToken;
use super::error::Failure;
use crate::access::tokens::Holder;
use crate::access::{Access, Recognised};

/// Who asks. Every request carries one as an extension.
#[derive(Debug, Clone)]
pub(super) enum ApiCaller {
    /// Nobody who is known.
    Anybody(NotKnown),
    /// Somebody whose token was not looked at.
    Throttled {
        /// When the next one will be.
        wait: Duration,
    },
    /// Somebody whose token is known.
    Known {
        /// The token, which the envelope repeats.
        token: String,
        /// Whose it is.
        holder: Arc<Holder>,
    },
}

/// Why somebody is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotKnown {
    /// There was no token.
    NoToken,
    /// It is nobody's.
    WrongToken,
    /// It is one of a log-in whose time is over, or whose API key was revoked.
    LogInEnded,
}

impl NotKnown {
    pub(super) fn failure(self) -> Failure {
        Failure::credentials(match self {
            Self::NoToken => "send a token as X-Auth-Token or as Authorization: Bearer",
            Self::WrongToken => "the token is not known",
            Self::LogInEnded => {
                "the log-in has ended: its time is over or its API key was revoked; log in again"
            }
        })
    }
}

impl ApiCaller {
    /// Whose token was shown, by a client at this address.
    pub(super) async fn of(token: Option<String>, from: IpAddr, access: &Access) -> Self {
        let Some(token) = token else { return Self::Anybody(NotKnown::NoToken) };
        match access.recognise(&token, from).await {
            Recognised::Holder(holder) => Self::Known { token, holder },
            Recognised::Unknown => Self::Anybody(NotKnown::WrongToken),
            Recognised::Ended => Self::Anybody(NotKnown::LogInEnded),
            Recognised::Wait(wait) => Self::Throttled { wait },
        }
    }

    pub(super) fn is_administrator(&self) -> bool {
        self.holder().is_some_and(|holder| holder.administrator)
    }

    /// Whose token it is, where it is known.
    pub(super) fn holder(&self) -> Option<&Arc<Holder>> {
        match self {
            Self::Known { holder, .. } => Some(holder),
            Self::Anybody(_) | Self::Throttled { .. } => None,
        }
    }
}

/// The token that a request shows. A header goes before the query.
pub(super) fn token(request: &Request) -> Option<String> {
    let in_query = || Some(request.extensions().get::<QueryToken>()?.0.trim());
    let token = of_headers(request.headers()).filter(|token| !token.is_empty()).or_else(in_query);
    token.map(str::to_owned)
}

fn of_headers(headers: &HeaderMap) -> Option<&str> {
    if let Some(token) = headers.get("x-auth-token") {
        return token.to_str().ok().map(str::trim);
    }
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The other end of the connection; a proxy's headers are not believed.
pub(super) fn address(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip().to_canonical())
}

/// The address that guesses are counted under.
pub(super) fn address_or_none(extensions: &Extensions) -> IpAddr {
    address(extensions).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}
