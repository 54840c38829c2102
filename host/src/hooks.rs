//! What a hook is: who owns it, which events it wants and where they are sent.

pub mod document;
pub mod limits;
pub mod lineage;
pub mod vault;
pub mod table;
mod account_hooks;
mod account_record;
mod account_tree;
mod split_tables;
pub mod accounts;
pub mod matching;
pub mod editor;
pub(crate) mod validation;

#[cfg(test)]
mod vector_tests;
