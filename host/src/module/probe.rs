//! Whether a module survives being loaded, tried in a process that may die of it.

use std::path::Path;
use std::time::Duration;

use plugin_api::{BindingsAndResponders, Metadata};

use super::isolated::{CallOwner, ChildSession};
use super::program::ModuleProgram;
use super::services::LendableServices;
use crate::model::ModuleId;

mod refusal;

pub use refusal::ProbeRefusal;

/// What a module said when it was tried.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeResult {
    /// The answer of `init`.
    pub metadata: Metadata,
    /// The answer of `bindings_and_responders`.
    pub wants: BindingsAndResponders,
}

/// Loads a private copy of a module in a process that ends afterwards: opened, checked, `init` and
/// `bindings_and_responders` called, exactly as the host itself does it.
///
/// # Errors
/// [`ProbeRefusal`]. Whatever the module does, the process is gone when this returns.
pub async fn probe(
    program: &ModuleProgram,
    module: &ModuleId,
    number: u64,
    copy: &Path,
    lendable: &LendableServices,
    within: Duration,
) -> Result<ProbeResult, ProbeRefusal> {
    let (program, module, copy) = (program.clone(), module.clone(), copy.to_owned());
    let lendable = lendable.clone();
    // It ends within the limit, also where nobody waits for it any more.
    let tried = tokio::task::spawn_blocking(move || {
        let whose =
            CallOwner { program: &program, module: &module, number, copy: &copy, lendable: &lendable };
        ChildSession::try_load(&whose, within)
    });
    match tried.await {
        Ok(said) => said.map(|(metadata, wants)| ProbeResult { metadata, wants }),
        Err(error) => Err(ProbeRefusal::Broken(error.to_string())),
    }
}
