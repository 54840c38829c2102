//! Why a store could not do what it was asked, in the words that people read. Each backend puts its own into them.

/// The result of everything that a store does.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Why a store could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The document was saved with another `_rev` than the stored one, or without one although it exists.
    #[error("document {id} was changed meanwhile: read it again and repeat the change")]
    Conflict {
        /// The document's `_id`.
        id: String,
    },
    /// The store cannot be reached or answered with an error that may pass.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// What is stored cannot be read; nothing is repaired or emptied silently. The backend's words: what is damaged, and
    /// what helps.
    #[error("{0}")]
    Corrupt(String),
    /// A question whose answer took too long to find; it can be asked for less at once.
    #[error("the store was asked for something that takes longer than {} s to find", limit.as_secs())]
    TooSlow {
        /// How long it may take.
        limit: std::time::Duration,
    },
    /// What is written now would be lost, as the next start looks for it elsewhere. The backend's words: what has become
    /// of it, and what helps.
    #[error("{0}")]
    Gone(String),
    /// There is no room left where the store lives.
    #[error("the disk of the store is full")]
    Full,
    /// Another host works on what is not to be shared. The backend's words: who, as far as known, and what helps.
    #[error("{0}")]
    InUse(String),
    /// The data was written by a newer program. The backend's words: which versions, and what helps.
    #[error("{0}")]
    TooNew(String),
}
