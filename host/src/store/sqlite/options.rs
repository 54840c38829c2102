//! How the store is opened: how much a commit promises.

/// How much a commit promises.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// A commit survives a power cut.
    #[default]
    Full,
    /// A commit survives the end of the process; a power cut may cost the last ones, never the file.
    Normal,
}

/// How the store is opened.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// How much a commit promises.
    pub synchronous: Synchronous,
}
