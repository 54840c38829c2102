//! What a module and its host agree on.
