//! Files of one core side by side, by key: of equal keys the one of the latest file counts.
//!
//! There are few files, so that looking at all of them for the smallest key is no work.

use super::decode::ident::Ident;
use super::decode::manifest::StateFile;
use super::file::FileCursor;
use super::report::Finding;
use super::source::Directory;
use crate::vfs::{File, Vfs};

/// A core's files in the order of a manifest, at one key after the other.
pub(crate) struct Merge<F> {
    /// Those that are not at their end, oldest first.
    cursors: Vec<FileCursor<F>>,
    /// Whether what is before the files counts for nothing.
    voids: bool,
    /// The path of the latest file.
    last_path: String,
}

/// What the files say of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    /// Nothing: what was before them counts.
    Nothing,
    /// It has no value.
    Absent,
    /// It has the value of the put with this hash.
    Put(u128),
}

impl<F: File> Merge<F> {
    /// Opens `files`, and stands at the first key.
    pub(crate) async fn open<V: Vfs<File = F>>(
        directory: &Directory<V>,
        files: &[&StateFile],
        ident: &Ident,
    ) -> Result<Self, Finding> {
        let mut merge = Self { cursors: Vec::new(), voids: false, last_path: String::new() };
        for stated in files {
            let mut cursor = FileCursor::open(directory, stated, ident).await?;
            merge.last_path = cursor.path();
            if cursor.voids() {
                // What is older is void: nothing of it is heard, but it is read to its end, for its checks.
                for void in &mut merge.cursors {
                    while void.advance().await? {}
                }
                merge.cursors.clear();
                merge.voids = true;
            }
            if cursor.advance().await? {
                merge.cursors.push(cursor);
            }
        }
        Ok(merge)
    }

    /// The path of the latest file; empty if there is none.
    pub(crate) fn last_path(&self) -> &str {
        &self.last_path
    }

    /// What the files say of every key that none of them has.
    pub(crate) fn says_otherwise(&self) -> Says {
        if self.voids { Says::Absent } else { Says::Nothing }
    }

    /// The smallest key that was not passed yet.
    pub(crate) fn key(&self) -> Option<&[u8]> {
        self.latest().map(FileCursor::key)
    }

    /// The cursor of the latest file that stands at the smallest key.
    pub(crate) fn latest(&self) -> Option<&FileCursor<F>> {
        let mut cursors = self.cursors.iter();
        let first = cursors.next()?;
        Some(cursors.fold(first, |least, cursor| if cursor.key() <= least.key() { cursor } else { least }))
    }

    /// What the files say of `key`, which is not above the smallest.
    pub(crate) fn says(&self, key: &[u8]) -> Says {
        match self.latest() {
            Some(cursor) if cursor.key() == key => cursor.put().map_or(Says::Absent, Says::Put),
            _ => self.says_otherwise(),
        }
    }

    /// Passes `key`.
    pub(crate) async fn pass(&mut self, key: &[u8]) -> Result<(), Finding> {
        let mut at = 0;
        while at < self.cursors.len() {
            let cursor = &mut self.cursors[at];
            if cursor.key() == key && !cursor.advance().await? {
                self.cursors.remove(at);
            } else {
                at += 1;
            }
        }
        Ok(())
    }
}
