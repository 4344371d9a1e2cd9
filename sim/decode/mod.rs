//! An independent decoder of a database's directory, written from `docs/format.md` alone: it calls no engine code, so
//! that a mistake of the engine's readers and writers together is still seen.
//!
//! It checks what it reads against every rule of the format that does not need a crash to be explained:
//!
//! D1. LSNs are dense, chains hold, epochs follow one another, marks promise nothing that is not there.
//! D2. Whatever a retained manifest needs exists, with the length and checksum that it states (I6).
//! D3. Every retained checkpoint with the log on top gives the same state as any other, and as the full log from its
//!     beginning where that still exists (I4).

mod bytes;
mod checkpoint;
mod manifest;
mod state;
mod wal;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::{crc, u32_at, u64_at, u128_at};
use highwater::sim::Disk;
use manifest::Manifest;
pub(crate) use state::{CoreState, Offset, State};
use wal::CoreLog;
pub(crate) use wal::{Marked, marks};

/// The files of a directory by their path in it, with `/` between the parts.
pub(crate) type Files = BTreeMap<String, Arc<Vec<u8>>>;

/// The bytes of files by their digest: most files of one image are those of the next.
#[derive(Debug, Default)]
pub(crate) struct FileCache {
    files: BTreeMap<u128, Arc<Vec<u8>>>,
    bytes: usize,
}

/// What a cache holds before it is emptied.
const CACHE_BYTES_MAX: usize = 64 << 20;

impl FileCache {
    fn file(&mut self, disk: &Disk, path: &Path) -> Arc<Vec<u8>> {
        let digest = disk.file_digest(path).unwrap_or_default();
        if let Some(bytes) = self.files.get(&digest) {
            return Arc::clone(bytes);
        }
        let bytes = Arc::new(disk.read_file(path).unwrap_or_default());
        self.bytes += bytes.len();
        if self.bytes > CACHE_BYTES_MAX {
            *self = Self { bytes: bytes.len(), ..Self::default() };
        }
        self.files.insert(digest, Arc::clone(&bytes));
        bytes
    }
}

/// A file that the head manifest needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Needed {
    /// Its path in the directory.
    pub path: String,
    /// Its length, where the manifest states it.
    pub bytes: Option<u64>,
    /// Its checksum, where the manifest states it.
    pub crc: Option<u32>,
}

/// A decoded directory.
#[derive(Debug)]
pub(crate) struct Database {
    /// Who it is.
    pub id: u128,
    head: Manifest,
    logs: Vec<CoreLog>,
    checkpoints: Vec<(u64, Vec<CoreState>)>,
    needed: Vec<Needed>,
}

/// The files below `root` on a simulated disk, as a reader finds them.
pub(crate) fn files_of(disk: &Disk, root: &str, cache: &mut FileCache) -> Files {
    let root = Path::new(root.trim_start_matches('/'));
    let mut files = Files::new();
    for (path, len) in disk.tree() {
        let absolute = Path::new("/").join(&path);
        let relative = path.strip_prefix("/").unwrap_or(&path).strip_prefix(root).map(Path::to_owned);
        if let (Some(_), Ok(relative)) = (len, relative) {
            files.insert(relative.to_string_lossy().into_owned(), cache.file(disk, &absolute));
        }
    }
    files
}

impl Database {
    /// Decodes `files`; the error says which rule of the format they break, and where.
    pub(crate) fn read(files: &Files) -> Result<Self, String> {
        let ident = files.get("IDENT").ok_or("IDENT is missing")?;
        if ident.len() != 96 || &ident[..8] != b"HWIDENT\0" || crc(0, &ident[..92]) != u32_at(ident, 92)? {
            return Err("IDENT is damaged".into());
        }
        if u32_at(ident, 8)? != 1 {
            return Err(format!("IDENT is of format {}", u32_at(ident, 8)?));
        }
        let (id, timeline, unit) = (u128_at(ident, 16)?, u128_at(ident, 32)?, u32_at(ident, 12)?);
        let head = Manifest::head(files, id, timeline)?;
        let mut logs = Vec::new();
        for core in 0..head.cores {
            logs.push(CoreLog::read(files, &head, core, unit).map_err(|why| format!("core {core}: {why}"))?);
        }
        let mut database = Self { id, head, logs, checkpoints: Vec::new(), needed: Vec::new() };
        database.check_marks()?;
        database.needed = database.list_needed();
        database.check_needed(files)?;
        database.load_checkpoints(files)?;
        Ok(database)
    }

    /// The epoch that an open recovers from these files: the greatest that is closed on all cores.
    pub(crate) fn recovered_epoch(&self) -> u64 {
        let ends = self.logs.iter().map(|log| log.last_epoch.max(self.floor_epoch()));
        ends.min().unwrap_or(self.head.recovered_epoch)
    }

    /// An epoch that needs no log: it was recovered by the last open, or is in a checkpoint.
    fn floor_epoch(&self) -> u64 {
        let newest = self.head.checkpoints.last().map_or(0, |checkpoint| checkpoint.epoch);
        newest.max(self.head.recovered_epoch)
    }

    /// The state as of the end of `epoch`, by every way that leads there: the full log if it is there from its
    /// beginning, and each checkpoint up to `epoch` with the log on top. All must agree (D3).
    pub(crate) fn state_at(&self, epoch: u64) -> Result<State, String> {
        let mut first: Option<(String, State)> = None;
        for (way, state) in self.ways(epoch)? {
            match &first {
                None => first = Some((way, state)),
                Some((before, expected)) if *expected != state => {
                    let what = expected.difference(&state);
                    return Err(format!("epoch {epoch} by {before} and by {way} differ: {what} (I4)"));
                }
                Some(_) => {}
            }
        }
        first.map(|(_, state)| state).ok_or_else(|| format!("nothing leads to the state of epoch {epoch}"))
    }

    fn ways(&self, epoch: u64) -> Result<Vec<(String, State)>, String> {
        let mut ways = Vec::new();
        if self.head.beginning && self.logs.iter().all(|log| log.from_beginning) {
            let empty = vec![CoreState::default(); self.logs.len()];
            ways.push(("full replay".to_owned(), self.replay(empty, None, epoch)?));
        }
        for (checkpoint, (of, cores)) in self.head.checkpoints.iter().zip(&self.checkpoints) {
            if *of <= epoch {
                let cuts: Vec<_> = checkpoint.cuts.iter().map(|cut| (cut.token, cut.lsn)).collect();
                let state = self.replay(cores.clone(), Some((*of, &cuts)), epoch)?;
                ways.push((format!("checkpoint {of}"), state));
            }
        }
        Ok(ways)
    }

    fn replay(
        &self,
        mut cores: Vec<CoreState>,
        from: Option<(u64, &[(u64, u64)])>,
        epoch: u64,
    ) -> Result<State, String> {
        for (index, (core, log)) in cores.iter_mut().zip(&self.logs).enumerate() {
            let cut = from.map(|(_, cuts)| cuts[index]);
            let mut at = from.map_or(0, |(epoch, _)| epoch);
            let behind =
                log.records.iter().filter(|record| cut.is_none_or(|cut| (record.token, record.lsn) > cut));
            for record in behind {
                if at == epoch {
                    break;
                }
                at = core.apply(record, at).map_err(|why| format!("core {index}: {why}"))?;
            }
            if at != epoch {
                return Err(format!("core {index}: the log ends in the epoch after {at}, before {epoch}"));
            }
        }
        Ok(State { cores })
    }

    /// The files that the head needs: its checkpoints' and the log's from the floors on.
    pub(crate) fn needed_files(&self) -> &[Needed] {
        &self.needed
    }

    fn list_needed(&self) -> Vec<Needed> {
        let files = self.head.checkpoints.iter().flat_map(|checkpoint| &checkpoint.files);
        let mut needed: Vec<_> = files
            .map(|file| Needed { path: file.path(), bytes: Some(file.bytes), crc: Some(file.crc) })
            .collect();
        for log in &self.logs {
            needed.extend(log.segments.iter().map(|(path, bytes)| Needed {
                path: path.clone(),
                bytes: Some(*bytes),
                crc: None,
            }));
        }
        needed.sort();
        needed.dedup();
        needed
    }

    fn check_needed(&self, files: &Files) -> Result<(), String> {
        for Needed { path, bytes, crc: expected } in self.needed_files() {
            let file = files.get(path).ok_or_else(|| format!("{path} is needed and missing (I6)"))?;
            let whole = bytes.is_none_or(|bytes| {
                if expected.is_some() { bytes == file.len() as u64 } else { bytes <= file.len() as u64 }
            });
            if !whole || expected.is_some_and(|expected| expected != crc(0, file)) {
                return Err(format!("{path} is not what the manifest says (I6)"));
            }
        }
        Ok(())
    }

    /// No frame says of an epoch that it is closed on all cores when it is not.
    fn check_marks(&self) -> Result<(), String> {
        let recovered = self.recovered_epoch();
        match self.logs.iter().position(|log| log.closed_through > recovered) {
            Some(core) => Err(format!(
                "core {core} says that epoch {} is closed on all cores, and only {recovered} is",
                self.logs[core].closed_through
            )),
            None => Ok(()),
        }
    }

    fn load_checkpoints(&mut self, files: &Files) -> Result<(), String> {
        for checkpoint in &self.head.checkpoints {
            let mut cores = Vec::new();
            for core in 0..self.head.cores {
                let mut state = CoreState::default();
                for file in checkpoint.files.iter().filter(|file| file.core == core) {
                    let path = file.path();
                    let bytes = files.get(&path).ok_or_else(|| format!("{path} is missing"))?;
                    checkpoint::load(bytes, file, self.id, &mut state)
                        .map_err(|why| format!("{path}: {why}"))?;
                }
                state.offsets = checkpoint.offsets_of(core);
                state.watermark = checkpoint.watermarks[usize::from(core)];
                cores.push(state);
            }
            self.checkpoints.push((checkpoint.epoch, cores));
        }
        Ok(())
    }
}

/// `u64` at `at` as an index into bytes that are there.
fn index_at(bytes: &[u8], at: usize) -> Result<usize, String> {
    usize::try_from(u64_at(bytes, at)?).map_err(|_| "a length beyond memory".to_owned())
}
