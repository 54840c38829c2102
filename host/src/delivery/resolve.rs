//! How names become addresses, and that only vetted ones are connected to.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::guard::Guard;
use super::trace::{Unresolved, looking_up};

/// Looks names up.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// The addresses of a name.
    ///
    /// # Errors
    /// There are none, or nobody can be asked.
    async fn resolve(&self, name: &str) -> std::io::Result<Vec<IpAddr>>;
}

/// The system's own resolver, with its hosts file and search domains.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

#[async_trait]
impl Resolver for System {
    async fn resolve(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((name, 0)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }
}

/// What the HTTP client resolves with. It connects to what it is given here and asks nobody else, so what was
/// vetted is what is spoken to.
pub(super) struct Vetted {
    pub(super) resolver: Arc<dyn Resolver>,
    /// `None` where every name is the proxy's: whom it is to speak to was looked at before.
    pub(super) guard: Option<Arc<Guard>>,
}

impl Resolve for Vetted {
    fn resolve(&self, name: Name) -> Resolving {
        let (resolver, guard) = (Arc::clone(&self.resolver), self.guard.clone());
        Box::pin(async move {
            let name = name.as_str();
            let found = looking_up(resolver.resolve(name)).await.map_err(Unresolved)?;
            let vetted = match guard {
                Some(guard) => guard.vet(name, found)?,
                None => found,
            };
            // The client puts the port of the URL in the place of 0.
            Ok(Box::new(vetted.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}
