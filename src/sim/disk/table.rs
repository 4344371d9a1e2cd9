//! A map from numbers of files and directories that costs one allocation to copy: a disk has few of them, and is
//! copied for every crash image.

use std::ops::Index;

use super::names::Inode;

/// See the module. Ascending.
#[derive(Clone)]
pub(super) struct Table<T>(Vec<(Inode, T)>);

impl<T> Table<T> {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn get(&self, inode: Inode) -> Option<&T> {
        let at = self.place(inode).ok()?;
        Some(&self.0[at].1)
    }

    pub(super) fn get_mut(&mut self, inode: Inode) -> Option<&mut T> {
        let at = self.place(inode).ok()?;
        Some(&mut self.0[at].1)
    }

    pub(super) fn contains(&self, inode: Inode) -> bool {
        self.place(inode).is_ok()
    }

    /// Puts `value` in the place of another one, if there is one.
    pub(super) fn insert(&mut self, inode: Inode, value: T) {
        match self.place(inode) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (inode, value)),
        }
    }

    pub(super) fn retain(&mut self, mut keeps: impl FnMut(Inode) -> bool) {
        self.0.retain(|(inode, _)| keeps(*inode));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Inode, &T)> {
        self.0.iter().map(|(inode, value)| (*inode, value))
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|(_, value)| value)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    fn place(&self, inode: Inode) -> Result<usize, usize> {
        // Numbers are given in order, so that what is new is last.
        match self.0.last() {
            Some((last, _)) if *last < inode => Err(self.0.len()),
            _ => self.0.binary_search_by_key(&inode, |(inode, _)| *inode),
        }
    }
}

impl<T> Index<Inode> for Table<T> {
    type Output = T;

    fn index(&self, inode: Inode) -> &T {
        self.get(inode).unwrap_or_else(|| panic!("nothing has number {}", inode.number()))
    }
}
