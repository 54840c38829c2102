//! How names become addresses.

use std::net::IpAddr;

use async_trait::async_trait;

/// Looks names up.
#[async_trait]
pub trait NameResolver: Send + Sync {
    /// The addresses of a name.
    ///
    /// # Errors
    /// There are none; or nobody can be asked, which is an error with [`OutOfOrder`] in it.
    async fn resolve(&self, name: &str) -> std::io::Result<Vec<IpAddr>>;
}

/// It is not known whether there are addresses: that is no fault of whom the name belongs to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OutOfOrder(pub String);

/// Whether a look-up failed because of those who were asked.
#[must_use]
pub fn is_out_of_order(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<OutOfOrder>())
}
