//! The accounts above an account, shared with all that stand below the same one.

use std::sync::Arc;

use crate::model::AccountId;

/// Ancestors from the topmost to the parent. Accounts on one branch share them, so that a branch costs its length.
#[derive(Clone, Debug, Default)]
pub struct AccountLineage(Option<Arc<LineageLink>>);

#[derive(Debug)]
struct LineageLink {
    above: AccountLineage,
    id: AccountId,
    length: usize,
}

impl AccountLineage {
    /// This one, and `id` below it.
    #[must_use]
    pub fn below(&self, id: &AccountId) -> Self {
        let length = self.len() + 1;
        Self(Some(Arc::new(LineageLink { above: self.clone(), id: id.clone(), length })))
    }

    /// The parent.
    #[must_use]
    pub fn last(&self) -> Option<&AccountId> {
        self.0.as_ref().map(|link| &link.id)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |link| link.length)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether an account is one of them.
    #[must_use]
    pub fn contains(&self, id: &AccountId) -> bool {
        self.find(id).is_some()
    }

    /// The one with this id, as it stands here.
    #[must_use]
    pub fn find(&self, id: &AccountId) -> Option<&AccountId> {
        self.upwards().map(|link| &link.id).find(|own| *own == id)
    }

    /// All of them, the topmost first.
    #[must_use]
    pub fn from_top(&self) -> Vec<&AccountId> {
        let mut ids = Vec::with_capacity(self.len());
        ids.extend(self.upwards().map(|link| &link.id));
        ids.reverse();
        ids
    }

    fn upwards(&self) -> impl Iterator<Item = &Arc<LineageLink>> {
        std::iter::successors(self.0.as_ref(), |link| link.above.0.as_ref())
    }
}

impl PartialEq for AccountLineage {
    fn eq(&self, other: &Self) -> bool {
        if self.len() != other.len() {
            return false;
        }
        for (own, others) in self.upwards().zip(other.upwards()) {
            if Arc::ptr_eq(own, others) {
                return true;
            }
            if own.id != others.id {
                return false;
            }
        }
        true
    }
}

impl Eq for AccountLineage {}

impl FromIterator<AccountId> for AccountLineage {
    fn from_iter<I: IntoIterator<Item = AccountId>>(ids: I) -> Self {
        ids.into_iter().fold(Self::default(), |above, id| above.below(&id))
    }
}

impl Drop for LineageLink {
    /// One after the other: a long branch would otherwise need a stack of its length.
    fn drop(&mut self) {
        let mut above = self.above.0.take();
        while let Some(link) = above {
            above = Arc::into_inner(link).and_then(|mut link| link.above.0.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lineage_reads_from_the_top_and_is_the_same_however_it_was_made() {
        let ids = ["top", "mid"].map(AccountId::from);
        let made: AccountLineage = ids.iter().cloned().collect();
        let grown = AccountLineage::default().below(&ids[0]).below(&ids[1]);
        assert_eq!(made, grown);
        assert_eq!(made.from_top(), [&ids[0], &ids[1]]);
        assert_eq!((made.last(), made.len()), (Some(&ids[1]), 2));
        assert!(made.contains(&ids[0]) && !made.contains(&AccountId::from("low")));
        assert_ne!(made, AccountLineage::default().below(&ids[1]).below(&ids[0]));
    }

    #[test]
    fn a_branch_of_any_length_is_dropped_without_a_deep_stack() {
        let id = AccountId::from("x");
        drop((0..1_000_000).fold(AccountLineage::default(), |above, _| above.below(&id)));
    }
}
