//! Which addresses the API refuses for a hook.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::guard::Guard;

/// Which addresses the API refuses. The scheme must be http or https whatever stands here; names are
/// compared, not resolved. The original's defaults are `localhost`, `127.0.0.1/32` and `0.0.0.0/32`; ours
/// are the guard's, which decides again when a request is sent.
#[derive(Clone, Debug, Default)]
pub struct UriRules {
    /// Host names, in lower case.
    pub hosts: Vec<String>,
    /// Networks that a literal address must not be in.
    pub cidrs: Vec<IpNet>,
    /// Which addresses may be spoken to at all; `None`: any.
    pub guard: Option<Guard>,
}

impl UriRules {
    /// Whether a hook may be sent there. Unlike the original, which takes the user for the host in
    /// `http://user:password@localhost/`, this looks at the host that would be asked.
    pub fn allow(&self, uri: &str) -> bool {
        let Ok(url) = reqwest::Url::parse(uri) else {
            return false;
        };
        if !matches!(url.scheme(), "http" | "https") {
            return false;
        }
        let refused = |address: IpAddr| self.cidrs.iter().any(|net| net.contains(&address));
        match url.host() {
            None => false,
            Some(url::Host::Domain(name)) => {
                let name = name.trim_end_matches('.');
                !self.hosts.iter().any(|host| host.eq_ignore_ascii_case(name))
            }
            Some(url::Host::Ipv4(address)) => !refused(address.into()),
            Some(url::Host::Ipv6(address)) => {
                !refused(address.into())
                    && !address.to_ipv4_mapped().is_some_and(|inner| refused(inner.into()))
            }
        }
    }

    /// Why the guard would never let a request go there.
    pub(super) fn refusal(&self, uri: &str) -> Option<String> {
        let url = reqwest::Url::parse(uri).ok()?;
        self.guard.as_ref()?.check_saved(&url).err().map(|refusal| refusal.to_string())
    }
}
