//! What was sent and what came back: which tries are kept, and that keeping them holds up no delivery.

pub mod log;
pub mod mask;
pub mod record;
pub mod retention;
pub mod trace;
