//! One payload to one hook: what is sent, what the answer means, and when it is tried again.

pub mod json;
pub mod form;
pub mod request;
pub mod verdict;
pub mod schedule;
pub mod resolve;
pub mod names;
pub mod http;
pub mod client;
pub mod work;
pub mod attempt;
pub mod sending_thread;
pub mod load_sign;
pub mod scheduler;
pub mod line_key;
pub mod due;
pub mod shards;
pub mod earlier_run;
pub mod queue;
pub mod dispatch;
pub mod outcomes;
pub mod worker;
pub mod test_send;

#[cfg(test)]
mod life_tests;
#[cfg(test)]
pub(crate) mod vector_tests;
