//! A database's directory, decoded as a whole and in memory: of what a simulation leaves behind there is little, again
//! and again. The formats are those of the decoder that `highwater::verify` rests on, compiled here once more: it was
//! written from `docs/format.md` alone and calls no engine code, so that a mistake of the engine's readers and
//! writers together is still seen.
//!
//! It checks what it reads against every rule of the format that does not need a crash to be explained:
//!
//! D1. LSNs are dense, chains hold, epochs follow one another, marks promise nothing that is not there.
//! D2. Whatever a retained manifest needs exists, with the length and checksum that it states (I6).
//! D3. Every retained checkpoint with the log on top gives the same state as any other, and as the full log from its
//!     beginning where that still exists (I4).

mod checkpoint;
mod flat;
#[path = "../../src/verify/decode/mod.rs"]
#[expect(dead_code, reason = "the library reads more of a database than its records")]
mod format;
mod memo;
mod state;
mod wal;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

pub(crate) use flat::{Flat, Flattener};
pub(crate) use format::bytes::crc;
use format::ident::Ident;
pub(crate) use format::manifest::Manifest;
use format::manifest::{Checkpoint, StateFile};
pub(crate) use format::record::Offset;
use highwater::sim::Disk;
use memo::{Content, Key};
pub(crate) use memo::{FileCache, Files, Memo};
use state::Values;
pub(crate) use state::{CoreState, State};
use wal::CoreLog;
pub(crate) use wal::{Marked, marks};

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
    id: u128,
    head: Arc<Manifest>,
    of_head: u128,
    logs: Vec<Keyed<CoreLog>>,
    /// Those of the head, in its order, each with the keys of every core.
    checkpoints: Vec<Vec<Keyed<Values>>>,
    needed: Vec<Needed>,
}

/// What an open has to do for an epoch, over all cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Labour {
    /// The epoch of the checkpoint that it begins with; zero for none.
    pub checkpoint: u64,
    /// Records of the logs on top of that.
    pub replayed: u64,
    /// Records behind the epoch.
    pub discarded: u64,
}

/// Something decoded, and what names the files that it is from.
type Keyed<T> = (u128, Arc<T>);

/// What a state is made of, core by core, and the least watermark if every core has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FlatState {
    /// By core.
    pub cores: Vec<Flat>,
    /// The least, if every core has one.
    pub watermark: Option<i64>,
}

impl FlatState {
    /// The first difference, for people.
    pub(crate) fn difference(&self, other: &Self) -> String {
        self.state().difference(&other.state())
    }

    /// The state; its watermark is the first core's.
    pub(crate) fn state(&self) -> State {
        let mut cores: Vec<CoreState> = self.cores.iter().map(Flat::state).collect();
        if let Some(first) = cores.first_mut() {
            first.watermark = self.watermark;
        }
        State { cores }
    }
}

/// The files below `root` on a simulated disk, as a reader finds them.
pub(crate) fn files_of(disk: &Disk, root: &str, cache: &mut FileCache) -> Files {
    let root = root.trim_start_matches('/');
    let below = |path: &Path| Some(path.to_str()?.strip_prefix(root)?.strip_prefix('/')?.to_owned());
    let found = disk.digests().into_iter();
    found.filter_map(|(path, digest)| Some((below(&path)?, cache.file(disk, &path, digest)))).collect()
}

/// The paths of the checkpoint files that the head of `files` names and that have to be in the directory.
///
/// # Errors
///
/// What the format does not allow.
pub(crate) fn named_by_head(files: &Files) -> Result<BTreeSet<String>, String> {
    let Ident { database, timeline, .. } = Ident::read(files.get("IDENT").ok_or("IDENT is missing")?)?;
    let head = head(files, database, timeline)?;
    let retained = head.checkpoints.iter().chain(head.kept_here());
    Ok(retained.flat_map(|checkpoint| &checkpoint.files).map(StateFile::path).collect())
}

impl Memo {
    /// [`files_of`], with what is here.
    pub(crate) fn files_of(&mut self, disk: &Disk, root: &str) -> Files {
        files_of(disk, root, &mut self.files)
    }
}

impl Database {
    /// Decodes `files`; the error says which rule of the format they break, and where.
    pub(crate) fn read(files: &Files, memo: &mut Memo) -> Result<Self, String> {
        let ident = files.get("IDENT").ok_or("IDENT is missing")?;
        let Ident { database: id, timeline, unit, .. } = Ident::read(ident)?;
        let mut key = Key::new("head").with(ident.digest);
        for (path, manifest) in within(files, "m/") {
            key = key.file(path, manifest);
        }
        let key = key.end();
        let head = memo.heads.get(key, || head(files, id, timeline).map(Arc::new))?;
        let mut logs = Vec::new();
        for core in 0..head.cores {
            let mut key = head.key_of_log(core, unit);
            for (path, segment) in within(files, &wal::folder(core)) {
                key = key.file(path, segment);
            }
            let read = || CoreLog::read(files, &head, core, unit).map(Arc::new);
            let log = memo.logs.get(key.end(), read).map_err(|why| format!("core {core}: {why}"))?;
            logs.push((key.end(), log));
        }
        let (checkpoints, needed) = (Vec::new(), Vec::new());
        let mut database = Self { id, head, of_head: key, logs, checkpoints, needed };
        database.check_marks()?;
        database.needed = database.list_needed();
        database.check_needed(files)?;
        database.load_checkpoints(files, memo)?;
        Ok(database)
    }

    /// The epoch that an open recovers from these files: the greatest that is closed on all cores.
    pub(crate) fn recovered_epoch(&self) -> u64 {
        let ends = self.logs.iter().map(|(_, log)| log.last_epoch.max(self.floor_epoch()));
        ends.min().unwrap_or(self.head.recovered_epoch)
    }

    /// An epoch that needs no log: it was recovered by the last open, or is in a checkpoint.
    fn floor_epoch(&self) -> u64 {
        let newest = self.head.checkpoints.last().map_or(0, |checkpoint| checkpoint.epoch);
        newest.max(self.head.recovered_epoch)
    }

    /// The state as of the end of `epoch`, by every way that leads there: the full log if it is there from its
    /// beginning, and each checkpoint up to `epoch` with the log on top. All must agree (D3).
    pub(crate) fn state_at(&self, epoch: u64, memo: &mut Memo) -> Result<FlatState, String> {
        let mut first: Option<(Option<u64>, FlatState, Vec<Option<i64>>)> = None;
        for from in self.ways(epoch) {
            let (state, marks) = self.replay(from, epoch, memo)?;
            match &first {
                None => first = Some((from.map(|at| self.head.checkpoints[at].epoch), state, marks)),
                Some((before, expected, of)) if *expected != state || *of != marks => {
                    let what = expected.difference(&state);
                    let way = from.map(|at| self.head.checkpoints[at].epoch);
                    return Err(format!(
                        "epoch {epoch} by the log from checkpoint {before:?} and {way:?} (none: from its beginning) \
                         differ: {what}, watermarks {of:?} and {marks:?} (I4)"
                    ));
                }
                Some(_) => {}
            }
        }
        first.map(|(_, state, _)| state).ok_or_else(|| format!("nothing leads to the state of epoch {epoch}"))
    }

    /// What an open that recovers `epoch` does for it.
    pub(crate) fn labour(&self, epoch: u64) -> Labour {
        let base = self.head.checkpoints.iter().rfind(|checkpoint| checkpoint.epoch <= epoch);
        let mut labour = Labour { checkpoint: base.map_or(0, |base| base.epoch), ..Labour::default() };
        for (index, (_, log)) in self.logs.iter().enumerate() {
            let cut = base.map(|base| (base.cuts[index].token, base.cuts[index].lsn));
            let from = log.records.partition_point(|record| Some((record.token, record.lsn)) <= cut);
            let through = if epoch > labour.checkpoint { log.ends.get(&epoch) } else { None };
            let replayed = through.map_or(0, |through| through - from);
            labour.replayed += replayed as u64;
            labour.discarded += (log.records.len() - from - replayed) as u64;
        }
        labour
    }

    /// The checkpoints from which the log leads to the end of `epoch`; none is the beginning.
    fn ways(&self, epoch: u64) -> impl Iterator<Item = Option<usize>> {
        let whole = self.head.beginning && self.logs.iter().all(|(_, log)| log.from_beginning);
        let checkpoints = self.head.checkpoints.iter().enumerate();
        let earlier = checkpoints.filter(move |(_, checkpoint)| checkpoint.epoch <= epoch);
        whole.then_some(None).into_iter().chain(earlier.map(|(at, _)| Some(at)))
    }

    /// The state, and every core's watermark.
    fn replay(
        &self,
        from: Option<usize>,
        epoch: u64,
        memo: &mut Memo,
    ) -> Result<(FlatState, Vec<Option<i64>>), String> {
        let (mut cores, mut marks) = (Vec::new(), Vec::new());
        for (index, (of_log, log)) in self.logs.iter().enumerate() {
            let base = from.map(|at| (&self.head.checkpoints[at], &self.checkpoints[at][index]));
            let mut key = Key::new("state").with(*of_log).with(epoch.into());
            if let (Some(at), Some((_, (of_base, _)))) = (from, &base) {
                key = key.with(*of_base).with(self.of_head).with(at as u128).with(index as u128);
            }
            let key = key.end();
            let replay = || {
                let base = base.map(|(checkpoint, (_, values))| (checkpoint, &**values));
                let state = replay(log, index, base, epoch).map_err(|why| format!("core {index}: {why}"))?;
                Ok((Flat::of(&state), state.watermark))
            };
            let (flat, watermark) = memo.states.get(key, replay)?;
            cores.push(flat);
            marks.push(watermark);
        }
        let all: Option<Vec<i64>> = marks.iter().copied().collect();
        let watermark = all.and_then(|marks| marks.into_iter().min());
        Ok((FlatState { cores, watermark }, marks))
    }

    /// What the cores of an earlier count had stated, as of the checkpoint that leads to `epoch`, with their cores.
    pub(crate) fn inherited(&self, epoch: u64) -> &[(u16, String, Offset)] {
        let base = self.head.checkpoints.iter().rfind(|checkpoint| checkpoint.epoch <= epoch);
        base.map_or(&[], |base| &base.inherited)
    }

    /// The files that the head needs: its checkpoints' and the log's from the floors on.
    pub(crate) fn needed_files(&self) -> &[Needed] {
        &self.needed
    }

    fn list_needed(&self) -> Vec<Needed> {
        let retained = self.head.checkpoints.iter().chain(self.head.kept_here());
        let files = retained.flat_map(|checkpoint| &checkpoint.files);
        let mut needed: Vec<_> = files
            .map(|file| Needed { path: file.path(), bytes: Some(file.bytes), crc: Some(file.crc) })
            .collect();
        for (_, log) in &self.logs {
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
            if !whole || expected.is_some_and(|expected| expected != file.crc()) {
                return Err(format!("{path} is not what the manifest says (I6)"));
            }
        }
        Ok(())
    }

    /// No frame says of an epoch that it is closed on all cores when it is not.
    fn check_marks(&self) -> Result<(), String> {
        let recovered = self.recovered_epoch();
        match self.logs.iter().position(|(_, log)| log.closed_through > recovered) {
            Some(core) => Err(format!(
                "core {core} says that epoch {} is closed on all cores, and only {recovered} is",
                self.logs[core].1.closed_through
            )),
            None => Ok(()),
        }
    }

    fn load_checkpoints(&mut self, files: &Files, memo: &mut Memo) -> Result<(), String> {
        let head = Arc::clone(&self.head);
        for checkpoint in &head.checkpoints {
            let mut cores = Vec::new();
            for core in 0..head.cores {
                let mut key = Key::new("checkpoint").with(self.id);
                for file in checkpoint.files.iter().filter(|file| file.core == core) {
                    let path = file.path();
                    let content = files.get(&path).ok_or_else(|| format!("{path} is missing"))?;
                    key = file.key(key.file(&path, content));
                }
                let load = || load_checkpoint(checkpoint, core, files, self.id).map(Arc::new);
                cores.push((key.end(), memo.checkpoints.get(key.end(), load)?));
            }
            self.checkpoints.push(cores);
        }
        Ok(())
    }
}

fn load_checkpoint(checkpoint: &Checkpoint, core: u16, files: &Files, id: u128) -> Result<Values, String> {
    let mut values = Values::new();
    for file in checkpoint.files.iter().filter(|file| file.core == core) {
        let path = file.path();
        let bytes = files.get(&path).ok_or_else(|| format!("{path} is missing"))?;
        checkpoint::load(bytes, file, id, &mut values).map_err(|why| format!("{path}: {why}"))?;
    }
    Ok(values)
}

/// The state of core `index` at the end of `epoch`, from a checkpoint of it or from the beginning.
fn replay(
    log: &CoreLog,
    index: usize,
    base: Option<(&Checkpoint, &Values)>,
    epoch: u64,
) -> Result<CoreState, String> {
    let cut = base.map(|(checkpoint, _)| (checkpoint.cuts[index].token, checkpoint.cuts[index].lsn));
    let mut at = base.map_or(0, |(checkpoint, _)| checkpoint.epoch);
    let mut state = CoreState::default();
    if let Some((checkpoint, values)) = base {
        state.values.clone_from(values);
        state.offsets = checkpoint.offsets_of(u16::try_from(index).map_err(|error| error.to_string())?);
        state.watermark = checkpoint.watermarks[index];
    }
    let behind = log.records.iter().filter(|record| cut.is_none_or(|cut| (record.token, record.lsn) > cut));
    for record in behind {
        if at == epoch {
            break;
        }
        at = state.apply(record, at)?;
    }
    if at == epoch { Ok(state) } else { Err(format!("the log ends in the epoch after {at}, before {epoch}")) }
}

/// The files whose paths begin with `folder` and go on with twenty digits: what the decoder looks at there.
fn within<'a>(files: &'a Files, folder: &str) -> impl Iterator<Item = (&'a str, &'a Content)> {
    let (prefix, named) = (folder.to_owned(), folder.len() + 20);
    files
        .range(prefix.clone()..)
        .take_while(move |(path, _)| path.starts_with(&prefix))
        .filter(move |(path, _)| path.len() == named)
        .map(|(path, content)| (path.as_str(), &**content))
}

/// The greatest manifest.
fn head(files: &Files, database: u128, timeline: u128) -> Result<Manifest, String> {
    let numbers = files.keys().filter_map(|path| {
        let name = path.strip_prefix("m/")?;
        let digits = name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit());
        if digits { name.parse::<u64>().ok() } else { None }
    });
    let number = numbers.max().ok_or("there is no manifest")?;
    let path_of = |number: u64| format!("m/{number:020}");
    let read = || {
        let manifest = Manifest::read(&files[&path_of(number)], number, database, timeline)?;
        if let Some((previous, crc)) = manifest.previous {
            // It may have been collected; if it is there, it must be the one that is meant.
            let found = files.get(&path_of(previous)).map(|file| Manifest::header_crc(file)).transpose()?;
            if found.is_some_and(|found| found != crc) {
                return Err(format!("the previous manifest {previous} is another one"));
            }
        }
        Ok(manifest)
    };
    read().map_err(|why| format!("{}: {why}", path_of(number)))
}
