//! How a connection to the broker is opened, and how long that and its farewell may take.

use lapin::{Connection, ConnectionProperties};
use std::time::Duration;
use tokio::time::timeout;

use super::AmqpBus;
use super::topology::words_of;

/// How long a farewell to the broker may take.
pub(super) const CLOSE_LIMIT: Duration = Duration::from_secs(2);
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// A new connection, or why there is none.
pub(super) async fn connect(bus: &AmqpBus) -> Result<Connection, String> {
    let properties =
        ConnectionProperties::default().with_connection_name(bus.options.connection_name.clone().into());
    match timeout(CONNECT_LIMIT, Connection::connect_uri(bus.uri.clone(), properties)).await {
        Ok(connected) => connected.map_err(|error| words_of(&error)),
        Err(_) => Err(format!("no answer within {} s", CONNECT_LIMIT.as_secs())),
    }
}
