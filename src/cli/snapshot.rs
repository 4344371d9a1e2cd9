//! A database as the tool reads it: the newest manifest, the logs, and the state of any epoch that they still lead to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use indicatif::ProgressBar;

use super::{Exit, Failure, Outcome};
use crate::codec::EpochEnd;
use crate::ids::{CoreId, Epoch};
use crate::manifest::SinkEntry;
use crate::verify::Progress;
use crate::verify::decode::ident::Ident;
use crate::verify::decode::manifest::{Checkpoint, Manifest, StateFile};
use crate::verify::decode::record::{Kind, Offset};
use crate::verify::end;
use crate::verify::head::Head;
use crate::verify::log::{Log, LogReader, Position};
use crate::verify::merge::Merge;
use crate::verify::source::Directory;
use crate::vfs::{StdFile, StdVfs};

/// See the module.
pub(super) struct Snapshot {
    pub(super) directory: Directory<StdVfs>,
    pub(super) ident: Ident,
    pub(super) number: u64,
    pub(super) manifest: Manifest,
    /// Whether logs are followed as far as they lead, past what is damaged elsewhere.
    pub(super) in_part: bool,
}

/// What a core's marks have said.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Marks {
    pub(super) offsets: BTreeMap<String, Offset>,
    pub(super) watermark: Option<i64>,
}

/// The state of one core at the end of an epoch, key after key.
pub(super) struct CoreState {
    files: Merge<StdFile>,
    /// What the log says behind the files.
    writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Whether the log voids all files.
    cleared: bool,
    pub(super) marks: Marks,
}

impl Snapshot {
    pub(super) async fn open(path: &Path) -> Outcome<Self> {
        Self::with(path, None).await
    }

    /// The same, with a `bar` that counts what is read of the database.
    pub(super) async fn shown(path: &Path, bar: &ProgressBar) -> Outcome<Self> {
        let bar = bar.clone();
        let progress: Progress = Arc::new(move |progress| bar.set_position(progress.bytes_read));
        Self::with(path, Some(progress)).await
    }

    async fn with(path: &Path, progress: Option<Progress>) -> Outcome<Self> {
        let directory = Directory::new(StdVfs, path, progress);
        let mut found = Vec::new();
        let head = Head::find(&directory, path, &mut |finding| found.push(finding)).await?;
        match (head.ident, head.greatest, head.manifest) {
            (Some(ident), Some(number), Some(manifest)) => {
                Ok(Self { directory, ident, number, manifest, in_part: false })
            }
            _ => match found.into_iter().next() {
                Some(finding) => Err(finding.into()),
                None => Err(Failure::new(
                    Exit::Unreadable,
                    format!("{}: the creation of the database was interrupted; open it once", path.display()),
                )),
            },
        }
    }

    pub(super) fn cores(&self) -> u16 {
        self.manifest.cores
    }

    /// The log of `core`.
    pub(super) async fn log(&self, core: u16) -> Outcome<Log> {
        let which = (core, self.ident.unit);
        if self.in_part {
            return Ok(Log::open_in_part(&self.directory, &self.manifest, which, |_, _| {}).await?);
        }
        let mut found = Vec::new();
        Ok(Log::open(&self.directory, &self.manifest, which, |finding| found.push(finding)).await?)
    }

    /// `asked`, or the epoch that an open recovers; a failure when nothing leads there, or when an open would refuse. What is in
    /// files needs no log.
    pub(super) async fn epoch(&self, asked: Option<u64>) -> Outcome<u64> {
        if let Some(epoch) = asked.filter(|asked| self.in_files(*asked).is_some()) {
            return Ok(epoch);
        }
        let newest = end::newest_epoch(&self.directory, &self.ident, &self.manifest).await?;
        let epoch = asked.unwrap_or(newest);
        if epoch <= newest && self.is_covered(epoch) {
            return Ok(epoch);
        }
        let oldest = self
            .manifest
            .checkpoints
            .first()
            .map_or(0, |oldest| if self.manifest.beginning { 0 } else { oldest.epoch });
        let kept: Vec<String> = self
            .manifest
            .kept_here()
            .filter(|kept| kept.epoch < oldest)
            .map(|kept| format!("{}, ", kept.epoch))
            .collect();
        let mut what =
            format!("epoch {epoch} cannot be rebuilt: epochs {}{oldest} to {newest} can", kept.concat());
        if self.manifest.kept.iter().any(|kept| kept.away && kept.checkpoint.epoch == epoch) {
            what.push_str("; it is kept in the object store: `highwater fetch --to-epoch` brings it down");
        }
        Err(Failure::new(Exit::Unreadable, what))
    }

    /// Whether a retained checkpoint, or the beginning, and the log lead to `epoch` if any do.
    fn is_covered(&self, epoch: u64) -> bool {
        self.manifest.beginning
            || self.manifest.checkpoints.iter().any(|checkpoint| checkpoint.epoch <= epoch)
    }

    /// What is retained, or kept, of just this epoch.
    pub(super) fn in_files(&self, epoch: u64) -> Option<&Checkpoint> {
        let retained = self.manifest.checkpoints.iter().rfind(|checkpoint| checkpoint.epoch == epoch);
        retained.or_else(|| self.manifest.kept_here().find(|kept| kept.epoch == epoch))
    }

    /// What `epoch` is in files of, or else the newest retained checkpoint before it.
    pub(super) fn base(&self, epoch: u64) -> Option<&Checkpoint> {
        let before = || self.manifest.checkpoints.iter().rfind(|checkpoint| checkpoint.epoch < epoch);
        self.in_files(epoch).or_else(before)
    }

    /// Over how many cores the keys of `epoch` are divided.
    pub(super) fn cores_at(&self, epoch: u64) -> u16 {
        self.base(epoch).map_or(self.cores(), Checkpoint::cores)
    }

    /// The state of `core` at the end of `epoch`.
    pub(super) async fn state(&self, core: u16, epoch: u64) -> Outcome<CoreState> {
        let base = self.base(epoch);
        let files: Vec<&StateFile> =
            base.iter().flat_map(|base| &base.files).filter(|file| file.core == core).collect();
        let files = Merge::open(&self.directory, &files, &self.ident).await?;
        let marks = base.map_or_else(Marks::default, |base| Marks {
            offsets: base.offsets_of(core),
            watermark: base.watermarks[usize::from(core)],
        });
        let mut state = CoreState { files, writes: BTreeMap::new(), cleared: false, marks };
        if base.map_or(0, |base| base.epoch) < epoch {
            let cut = base.map_or(0, |base| base.cuts[usize::from(core)].lsn);
            self.replay(core, (cut, epoch), &mut state).await?;
        }
        Ok(state)
    }

    /// The handles of the epochs through `epoch` that sinks are not known to have published, as a checkpoint of it lists them.
    pub(super) async fn sinks(&self, epoch: u64) -> Outcome<Vec<SinkEntry>> {
        let newest = self.manifest.checkpoints.last();
        // By checkpoints that were given up: the list of the newest of them is the whole one.
        let (known, listed) = if let Some((listed, known)) = &self.manifest.decided {
            (known.as_slice(), *listed)
        } else {
            let known = newest.map_or(&[][..], |newest| &newest.sinks);
            let listed = known.iter().filter(|entry| !entry.lost).map(|entry| entry.epoch).max();
            (known, listed.max(newest.map(|newest| newest.epoch)).unwrap_or(0))
        };
        let mut names: BTreeSet<String> = known.iter().map(|entry| entry.name.clone()).collect();
        let mut entries = BTreeMap::new();
        for entry in known.iter().filter(|entry| entry.handle.is_some() && entry.epoch <= epoch) {
            let place = (entry.name.clone(), (Epoch(entry.epoch), CoreId(entry.core)));
            let known = SinkEntry { lost: entry.lost, ..self::entry(place.clone(), entry.handle.clone()) };
            entries.insert(place, known);
        }
        for core in (0..self.cores()).filter(|_| listed < epoch) {
            for end in self.ends(core, (listed, epoch)).await? {
                for (name, handle) in end.sinks {
                    names.insert(name.clone());
                    let place = (name, (end.epoch, CoreId(core)));
                    entries.extend(handle.map(|handle| (place.clone(), entry(place, Some(handle)))));
                }
            }
        }
        // The epoch itself has an entry for each sink and core, also where there is no handle.
        for name in names {
            for core in (0..self.cores_at(epoch)).map(CoreId) {
                let place = (name.clone(), (Epoch(epoch), core));
                entries.entry(place.clone()).or_insert_with(|| entry(place, None));
            }
        }
        Ok(entries.into_values().collect())
    }

    /// The ends of the epochs behind `after` through `through` in the log of `core`.
    async fn ends(&self, core: u16, (after, through): (u64, u64)) -> Outcome<Vec<EpochEnd>> {
        let log = self.log(core).await?;
        let mut reader = LogReader::from(&self.directory, &log, Position::default());
        let mut ends = Vec::new();
        while let Some(record) = reader.next().await? {
            let Some(mark) = record.mark else { continue };
            if (after + 1..=through).contains(&mark.epoch) {
                let end = EpochEnd::decode(record.entry.value).ok_or_else(|| {
                    let what =
                        format!("the end of epoch {} in the log of core {core} cannot be read", mark.epoch);
                    Failure::new(Exit::Damaged, what)
                })?;
                ends.push(end);
            }
        }
        Ok(ends)
    }

    /// Applies the log behind `cut` up to the end of `epoch`.
    async fn replay(&self, core: u16, (cut, epoch): (u64, u64), state: &mut CoreState) -> Outcome<()> {
        let log = self.log(core).await?;
        let mut reader = LogReader::from(&self.directory, &log, Position::default());
        while let Some(record) = reader.next().await? {
            if record.lsn <= cut {
                continue;
            }
            match record.entry.kind {
                Kind::Put => {
                    state.writes.insert(record.entry.key.to_vec(), Some(record.entry.value.to_vec()));
                }
                Kind::Delete => {
                    state.writes.insert(record.entry.key.to_vec(), None);
                }
                Kind::Clear => {
                    state.writes.clear();
                    state.cleared = true;
                }
                Kind::EpochEnd => {}
            }
            let Some(mark) = record.mark else { continue };
            state.marks.offsets.extend(mark.offsets);
            state.marks.watermark = mark.watermark.or(state.marks.watermark);
            if mark.epoch == epoch {
                return Ok(());
            }
        }
        let what = format!("the log of core {core} ends before epoch {epoch}");
        Err(Failure::new(Exit::Damaged, what))
    }
}

fn entry((name, (epoch, core)): (String, (Epoch, CoreId)), handle: Option<Vec<u8>>) -> SinkEntry {
    SinkEntry { name, epoch, core, handle, lost: false }
}

impl CoreState {
    /// The next key and its value.
    pub(super) async fn next(&mut self) -> Outcome<Option<(Vec<u8>, Vec<u8>)>> {
        loop {
            let of_files = if self.cleared { None } else { self.files.latest() };
            let of_files = of_files.map(|cursor| {
                let value = cursor.put().map(|_| cursor.value().to_vec());
                (cursor.key().to_vec(), value)
            });
            let of_log = self.writes.first_key_value().map(|(key, _)| key.clone());
            let (key, value) = match (of_files, of_log) {
                (None, None) => return Ok(None),
                (Some((key, value)), of_log) if of_log.as_ref().is_none_or(|log| key < *log) => {
                    self.files.pass(&key).await?;
                    (key, value)
                }
                (of_files, _) => {
                    let Some((key, value)) = self.writes.pop_first() else { return Ok(None) };
                    if of_files.is_some_and(|(of_files, _)| of_files == key) {
                        self.files.pass(&key).await?;
                    }
                    (key, value)
                }
            };
            if let Some(value) = value {
                return Ok(Some((key, value)));
            }
        }
    }
}
