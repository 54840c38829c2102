//! Large sets and maps that grow in small steps: a single one would be hashed anew as a whole each time it doubles, and whoever
//! looks into it meanwhile would wait for a million entries.

use std::borrow::Borrow;
use std::hash::{BuildHasher as _, Hash};

use foldhash::fast::RandomState;
use foldhash::{HashMap, HashSet};

/// A power of two.
const PARTS: usize = 64;

/// Entries that are found by a text that stands in them.
#[derive(Debug)]
pub(super) struct SplitSet<T> {
    parts: [HashSet<T>; PARTS],
    places: RandomState,
}

impl<T> Default for SplitSet<T> {
    fn default() -> Self {
        Self { parts: std::array::from_fn(|_| HashSet::default()), places: RandomState::default() }
    }
}

impl<T: Hash + Eq + Borrow<str>> SplitSet<T> {
    pub(super) fn get(&self, text: &str) -> Option<&T> {
        self.parts[self.place(text)].get(text)
    }

    pub(super) fn take(&mut self, text: &str) -> Option<T> {
        self.parts[self.place(text)].take(text)
    }

    /// Puts an entry, in place of the one with its text.
    pub(super) fn put(&mut self, entry: T) -> Option<T> {
        let place = self.place(entry.borrow());
        self.parts[place].replace(entry)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.parts.iter().flatten()
    }

    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(HashSet::len).sum()
    }

    fn place(&self, text: &str) -> usize {
        place(&self.places, text)
    }
}

/// Values that are found by a text.
#[derive(Debug)]
pub(super) struct SplitMap<K, V> {
    parts: [HashMap<K, V>; PARTS],
    places: RandomState,
}

impl<K, V> Default for SplitMap<K, V> {
    fn default() -> Self {
        Self { parts: std::array::from_fn(|_| HashMap::default()), places: RandomState::default() }
    }
}

impl<K: Hash + Eq + Borrow<str>, V: Default> SplitMap<K, V> {
    pub(super) fn get(&self, text: &str) -> Option<&V> {
        self.part(text).get(text)
    }

    pub(super) fn get_mut(&mut self, text: &str) -> Option<&mut V> {
        self.parts[place(&self.places, text)].get_mut(text)
    }

    /// The key with this text, as it stands here.
    pub(super) fn key(&self, text: &str) -> Option<&K> {
        self.part(text).get_key_value(text).map(|(key, _)| key)
    }

    /// What stands under a key, or a new value.
    pub(super) fn of(&mut self, key: K) -> &mut V {
        let place = place(&self.places, key.borrow());
        self.parts[place].entry(key).or_default()
    }

    fn part(&self, text: &str) -> &HashMap<K, V> {
        &self.parts[place(&self.places, text)]
    }
}

/// The high bits: the map inside uses the low ones.
fn place(places: &RandomState, text: &str) -> usize {
    (places.hash_one(text) >> 48) as usize % PARTS
}
