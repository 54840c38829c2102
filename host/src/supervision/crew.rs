//! A thread with a runtime of its own, for children that hand each other work all the time: on it they wake one
//! another without waking another thread.

use std::io;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The thread and its runtime. Dropping it ends the thread with whatever still runs there.
#[derive(Debug)]
pub struct RuntimeThread {
    runtime: Handle,
    _until: DropGuard,
}

impl RuntimeThread {
    /// Starts the thread, which has this name.
    ///
    /// # Errors
    /// The system has no thread or no event queue to give.
    pub fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().thread_name(name).build()?;
        let handle = runtime.handle().clone();
        let until = CancellationToken::new();
        let end = until.clone();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            runtime.block_on(end.cancelled());
            // A name look-up that hangs in the C library keeps nobody.
            runtime.shutdown_background();
        })?;
        Ok(RuntimeThread { runtime: handle, _until: until.drop_guard() })
    }

    /// Where its children run, and what others have run there.
    #[must_use]
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }
}
