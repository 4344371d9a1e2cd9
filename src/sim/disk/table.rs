//! A sorted map in one piece of memory, which copies share until one of them changes: a disk has few files,
//! directories and names, and is copied for every crash image.

use std::borrow::Borrow;
use std::ops::Index;
use std::sync::Arc;

use super::names::Inode;

/// See the module. Ascending.
pub(super) struct Table<K, V>(Arc<Vec<(K, V)>>);

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Ord + Clone, V: Clone> Table<K, V> {
    /// Of `entries`, whose keys all differ.
    pub(super) fn of(mut entries: Vec<(K, V)>) -> Self {
        entries.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Self(Arc::new(entries))
    }

    pub(super) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let at = self.place(key).ok()?;
        Some(&self.0[at].1)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let at = self.place(key).ok()?;
        Some(&mut Arc::make_mut(&mut self.0)[at].1)
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.place(key).is_ok()
    }

    /// Puts `value` in the place of another one, if there is one.
    pub(super) fn insert(&mut self, key: K, value: V) {
        let place = self.place(&key);
        let entries = Arc::make_mut(&mut self.0);
        match place {
            Ok(at) => entries[at].1 = value,
            Err(at) => entries.insert(at, (key, value)),
        }
    }

    pub(super) fn remove(&mut self, key: &K) {
        if let Ok(at) = self.place(key) {
            Arc::make_mut(&mut self.0).remove(at);
        }
    }

    pub(super) fn retain(&mut self, keeps: impl Fn(&K) -> bool) {
        if !self.0.iter().all(|(key, _)| keeps(key)) {
            self.0 = Arc::new(self.0.iter().filter(|(key, _)| keeps(key)).cloned().collect());
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        Arc::make_mut(&mut self.0).iter_mut().map(|(_, value)| value)
    }

    /// Whether the two are known to be equal, for they share their memory.
    pub(super) fn is_shared_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn place<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        // Numbers are given in order, so that what is new is last.
        match self.0.last() {
            Some((last, _)) if last.borrow() < key => Err(self.0.len()),
            _ => self.0.binary_search_by(|(other, _)| other.borrow().cmp(key)),
        }
    }
}

impl<T: Clone> Index<Inode> for Table<Inode, T> {
    type Output = T;

    fn index(&self, inode: Inode) -> &T {
        self.get(&inode).unwrap_or_else(|| panic!("nothing has number {}", inode.number()))
    }
}
