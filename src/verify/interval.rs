//! One retained epoch rebuilt twice: from its own files, and from an earlier state with the log on top.
//!
//! ```text
//! files of the earlier one    F1 F2 F3                        what both share says the same to both: it is not read
//! files of this one           F1 F2    F4                     F4  must say of every key what  F3 + log  says
//! ```
//!
//! Keys are walked in order through the files that only one side has. Of the log the last write of every key is in
//! a table; what it says of keys that no such file has comes last. Only where one side says nothing of a key and the other
//! does, the shared files are asked.

use std::collections::BTreeMap;

use super::decode::ident::Ident;
use super::decode::manifest::StateFile;
use super::merge::{Merge, Says};
use super::report::Finding;
use super::source::Directory;
use super::writes::{Writes, key_hash};
use crate::vfs::Vfs;

/// The files of one core at two epochs.
pub(super) struct Sides<'a> {
    /// What both begin with.
    pub(super) shared: Vec<&'a StateFile>,
    /// What only the earlier one has.
    pub(super) before: Vec<&'a StateFile>,
    /// What only the later one has.
    pub(super) after: Vec<&'a StateFile>,
}

impl<'a> Sides<'a> {
    pub(super) fn of(before: &[&'a StateFile], after: &[&'a StateFile]) -> Self {
        let shared = before.iter().zip(after).take_while(|(before, after)| before == after).count();
        let (shared, after) = after.split_at(shared);
        let before = &before[shared.len()..];
        Self { shared: shared.to_vec(), before: before.to_vec(), after: after.to_vec() }
    }
}

/// Keys of which the two sides differ.
#[derive(Debug, Default)]
pub(super) struct Divergence {
    /// How many.
    pub(super) keys: u64,
    /// The first: by the place in the log, or by the key where the log says nothing.
    pub(super) first: Option<Differs>,
    /// The latest file of the side without the log.
    pub(super) path: String,
}

/// One such key.
#[derive(Clone, Debug)]
pub(super) struct Differs {
    /// Where the log says something of it.
    pub(super) lsn: Option<u64>,
    /// The key, where a file has it.
    pub(super) key: Option<Vec<u8>>,
    files: Says,
    log: Says,
}

impl Differs {
    pub(super) fn what(&self) -> String {
        let value = |says| match says {
            Says::Put(_) => "a value",
            Says::Nothing | Says::Absent => "no value",
        };
        match (self.files, self.log) {
            (Says::Put(_), Says::Put(_)) => "the files and the log have different values".to_owned(),
            (files, log) => format!("the files have {}, the log has {}", value(files), value(log)),
        }
    }
}

impl Divergence {
    fn add(&mut self, differs: Differs) {
        self.keys += 1;
        let rank = |lsn: Option<u64>| lsn.unwrap_or(u64::MAX);
        if self.first.as_ref().is_none_or(|first| rank(differs.lsn) < rank(first.lsn)) {
            self.first = Some(differs);
        }
    }

    /// Takes what another part of the keys found.
    pub(super) fn join(&mut self, other: Self) {
        let first = (other.keys > 0).then_some(other.first).flatten();
        let keys = self.keys + other.keys;
        if let Some(differs) = first {
            self.add(differs);
        }
        (self.keys, self.path) = (keys, other.path);
    }
}

/// What one side left to what is before it, and what the other says.
struct Open {
    lsn: Option<u64>,
    key: Option<Vec<u8>>,
    files: Says,
    log: Says,
}

impl Open {
    /// Closes it: what is before says `before`.
    fn close(self, before: Says, found: &mut Divergence) {
        let or = |says| if says == Says::Nothing { before } else { says };
        let (files, log) = (or(self.files), or(self.log));
        if files != log {
            found.add(Differs { lsn: self.lsn, key: self.key, files, log });
        }
    }
}

/// Compares the two sides, with the log's `writes` on top of the earlier one.
pub(super) async fn compare<V: Vfs>(
    directory: &Directory<V>,
    ident: &Ident,
    sides: &Sides<'_>,
    writes: &mut Writes,
) -> Result<Divergence, Finding> {
    let mut after = Merge::open(directory, &sides.after, ident).await?;
    let mut before = Merge::open(directory, &sides.before, ident).await?;
    let nothing_before = sides.shared.is_empty();
    let settle = |says| if nothing_before && says == Says::Nothing { Says::Absent } else { says };
    let mut found = Divergence { path: after.last_path().to_owned(), ..Divergence::default() };
    let mut open: BTreeMap<u128, Open> = BTreeMap::new();
    let mut key: Vec<u8> = Vec::new();
    loop {
        match (after.key(), before.key()) {
            (None, None) => break,
            (Some(least), None) | (None, Some(least)) => least.clone_into(&mut key),
            (Some(a), Some(b)) => a.min(b).clone_into(&mut key),
        }
        let hash = key_hash(&key);
        if writes.covers(hash) {
            let write = writes.see(hash);
            let files = settle(after.says(&key));
            let log = settle(match &write {
                Some(write) => write.put().map_or(Says::Absent, Says::Put),
                None if writes.cleared.is_some() => Says::Absent,
                None => before.says(&key),
            });
            if files != log {
                let lsn = write.map(|write| write.lsn).or(writes.cleared);
                let unclear = Open { lsn, key: Some(key.clone()), files, log };
                if files == Says::Nothing || log == Says::Nothing {
                    open.insert(hash, unclear);
                } else {
                    unclear.close(Says::Absent, &mut found);
                }
            }
        }
        after.pass(&key).await?;
        before.pass(&key).await?;
    }
    for write in writes.unseen() {
        let files = settle(after.says_otherwise());
        let log = write.put().map_or(Says::Absent, Says::Put);
        let unclear = Open { lsn: Some(write.lsn), key: None, files, log };
        if files == Says::Nothing {
            open.insert(write.key(), unclear);
        } else {
            unclear.close(Says::Absent, &mut found);
        }
    }
    // Where one side has deleted every key and the other has not, the keys of the shared files tell.
    let otherwise = if writes.cleared.is_some() { Says::Absent } else { before.says_otherwise() };
    let unclear = !open.is_empty() || otherwise != after.says_otherwise();
    if unclear && !nothing_before {
        ask_shared(directory, ident, sides, (writes, &mut open), &mut found).await?;
    }
    for unclear in open.into_values() {
        unclear.close(Says::Absent, &mut found);
    }
    Ok(found)
}

/// Compares the two sides in every key of the shared files, and takes it out of what is open.
async fn ask_shared<V: Vfs>(
    directory: &Directory<V>,
    ident: &Ident,
    sides: &Sides<'_>,
    (writes, open): (&mut Writes, &mut BTreeMap<u128, Open>),
    found: &mut Divergence,
) -> Result<(), Finding> {
    let mut after = Merge::open(directory, &sides.after, ident).await?;
    let mut before = Merge::open(directory, &sides.before, ident).await?;
    let mut shared = Merge::open(directory, &sides.shared, ident).await?;
    while let Some(key) = shared.key().map(<[u8]>::to_vec) {
        for side in [&mut after, &mut before] {
            while let Some(passed) = side.key().filter(|passed| *passed < &key[..]).map(<[u8]>::to_vec) {
                side.pass(&passed).await?;
            }
        }
        let hash = key_hash(&key);
        if writes.covers(hash) {
            open.remove(&hash);
            let write = writes.see(hash);
            let log = match &write {
                Some(write) => write.put().map_or(Says::Absent, Says::Put),
                None if writes.cleared.is_some() => Says::Absent,
                None => before.says(&key),
            };
            let lsn = write.map(|write| write.lsn).or(writes.cleared);
            let files = after.says(&key);
            // Where both say something it was compared already.
            if files == Says::Nothing || log == Says::Nothing {
                Open { lsn, key: Some(key.clone()), files, log }.close(shared.says(&key), found);
            }
        }
        shared.pass(&key).await?;
    }
    Ok(())
}
