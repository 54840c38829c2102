//! Where a generation's code runs, in this process or one of its own, and how it is loaded there.

use std::path::Path;

use plugin_api::{BindingsAndResponders, Metadata};

use crate::model::ModuleId;
use crate::module::isolated::{IsolatedRunner, IsolationLimits};
use crate::module::library::{LibraryCall, LoadError, MappedLibrary, ModuleEntry, enter};
use crate::module::probe::ProbeRefusal;
use crate::module::program::ModuleProgram;
use crate::module::services::{CallServices, LendableServices};

/// Where its code runs. There are few of these, and each lives behind an `Arc`.
#[allow(clippy::large_enum_variant)]
pub(super) enum Runner {
    Here(ModuleEntry),
    Apart(IsolatedRunner),
}

/// What loading needs to know.
pub struct LibrarySource<'a> {
    /// Whose library it is.
    pub module: ModuleId,
    /// The generation's number.
    pub number: u64,
    /// The private copy to open: nobody writes to it.
    pub copy: &'a Path,
}

/// Why a generation could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LoadFailure {
    /// In this process.
    #[error(transparent)]
    Here(#[from] LoadError),
    /// In a process of its own.
    #[error(transparent)]
    Apart(#[from] ProbeRefusal),
}

impl LoadFailure {
    /// Whether the library was opened in this process: then it stays mapped, as nobody knows what it has begun.
    pub(in crate::module) fn leaves_it_mapped(&self) -> bool {
        !matches!(self, LoadFailure::Apart(_) | LoadFailure::Here(LoadError::Open(_) | LoadError::Thread(_)))
    }
}

/// What loading comes to.
pub(super) type LoadedParts =
    Result<(Runner, Option<MappedLibrary>, Metadata, BindingsAndResponders), LoadFailure>;

/// How the code is run.
#[derive(Clone)]
pub enum IsolationMode {
    /// In this process.
    Here,
    /// In a process of its own.
    Apart(ModuleProgram, IsolationLimits),
}

/// Loads a library where its code is to run. Blocks: call it on a thread of the module's.
pub(super) fn load_here(
    module: &ModuleId,
    number: u64,
    copy: &Path,
    lendable: &LendableServices,
    how: IsolationMode,
) -> LoadedParts {
    match how {
        IsolationMode::Here => {
            let services = CallServices::new(lendable, module, number);
            let LibraryCall { entry, metadata, wants, mapped } = enter(copy, &services, &|_| {})?;
            Ok((Runner::Here(entry), Some(mapped), metadata, wants))
        }
        IsolationMode::Apart(program, limits) => {
            let (isolated, metadata, wants) =
                IsolatedRunner::start(&program, module.clone(), number, copy, lendable.clone(), limits)?;
            Ok((Runner::Apart(isolated), None, metadata, wants))
        }
    }
}
