//! What became of a file, and of a wish to load one again.

use crate::model::ModuleId;

/// What became of one file.
#[derive(Debug)]
pub enum ReloadOutcome {
    /// A generation of this number serves now.
    Loaded {
        /// Whose.
        id: ModuleId,
        /// Its number.
        generation: u64,
    },
    /// What it holds serves already.
    Unchanged,
    /// Somebody still writes it.
    Unfinished,
    /// It is not taken.
    Refused(String),
}

/// Why a module was not loaded again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReloaded {
    /// No such module.
    #[error("there is no module {0}")]
    Unknown(String),
    /// Its file is being written.
    #[error("{0} is still being written; try again")]
    Unfinished(String),
    /// Its file was turned down; the old generation serves.
    #[error("{0}")]
    Refused(String),
}
