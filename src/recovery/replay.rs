//! One core's state: the files of a checkpoint, and the records of the log on top.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::evidence::READ_AHEAD_BYTES;
use super::plan::CorePlan;
use crate::checkpoint::FileReader;
use crate::codec::{EpochEnd, Record, RecordKind};
use crate::env::Clock;
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{CoreId, DatabaseId, Epoch, FencingToken, Lsn};
use crate::manifest::{CheckpointFile, FileKind};
use crate::offset::Offset;
use crate::state::{CoreState, KeyHasher, Load, StateConfig};
use crate::vfs::{File, Vfs};
use crate::wal::{self, Front, LogId, WalReader};

/// What is to be rebuilt.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) database: DatabaseId,
    pub(super) core: CoreId,
    pub(super) hash_seed: u64,
    /// Whether the state keeps its keys in order.
    pub(super) ordered: bool,
    /// Most chunks of the state.
    pub(super) chunks_max: u32,
    /// The database's directory, and the log's in it.
    pub(super) root: PathBuf,
    pub(super) log_dir: PathBuf,
    /// The checkpoint's files of this core, oldest first.
    pub(super) files: Vec<CheckpointFile>,
    /// What the fronts of the log's segments say.
    pub(super) fronts: Arc<[Front]>,
    /// Where the log goes on; `None` from its beginning.
    pub(super) cut: Option<wal::Cut>,
    /// The lives to replay, oldest first, each with its ceiling.
    pub(super) lives: Vec<wal::Life>,
    /// How far the interrupted life counts.
    pub(super) plan: CorePlan,
    /// The token of the interrupted life.
    pub(super) token: FencingToken,
    /// The epoch that is being recovered.
    pub(super) epoch: Epoch,
    /// The last epoch whose sinks the manifest lists.
    pub(super) listed: Epoch,
    /// Offsets and watermark as of the checkpoint.
    pub(super) offsets: BTreeMap<String, Offset>,
    pub(super) watermark: Option<i64>,
}

/// One core, rebuilt.
#[derive(Debug)]
pub(super) struct Rebuilt {
    pub(super) state: CoreState,
    pub(super) offsets: BTreeMap<String, Offset>,
    pub(super) watermark: Option<i64>,
    /// The handles of sinks behind what the manifest lists: epoch, sink, handle.
    pub(super) sinks: Vec<(Epoch, String, Vec<u8>)>,
    pub(super) replayed: u64,
    pub(super) replayed_bytes: u64,
    /// What that took, and what the files took before it.
    pub(super) replaying: Duration,
    pub(super) loading: Duration,
    /// The encoded records to carry, in order.
    pub(super) carry: Vec<u8>,
    /// How many they are.
    pub(super) carried: u64,
}

/// Rebuilds the state of one core as of the recovered epoch.
///
/// # Errors
///
/// `Corrupt` naming the file when a checkpoint file or the log is not what was written; `Failed` when the disk cannot
/// be read; `Full` when the state is more than a core can hold.
pub(super) async fn rebuild<V: Vfs>(vfs: V, order: Order, clock: impl Clock) -> Result<Rebuilt> {
    let began = clock.now();
    let config = StateConfig::new(KeyHasher::new(order.hash_seed));
    let mut rebuilt = Rebuilt {
        state: CoreState::new(config.rebuilt(order.chunks_max).ordered(order.ordered)),
        offsets: order.offsets.clone(),
        watermark: order.watermark,
        sinks: Vec::new(),
        replayed: 0,
        replayed_bytes: 0,
        replaying: Duration::ZERO,
        loading: Duration::ZERO,
        carry: Vec::new(),
        carried: 0,
    };
    // Deltas mostly change keys of the base: the largest file says how many there are.
    let largest = order.files.iter().max_by_key(|file| file.entries);
    for file in &order.files {
        let state = &mut rebuilt.state;
        let reader = FileReader::open(&vfs, &order.root, order.database, file).await?;
        // Only now is the manifest's word for it believed: the file is as long as it says.
        if largest.is_some_and(|largest| largest.name == file.name) {
            state.reserve(file.entries, file.live_bytes);
        }
        if file.name.kind == FileKind::Delta && !state.has_room_for_any(file.entries, file.live_bytes) {
            make_room(state, &reader).await?;
        }
        let mut fits = true;
        reader
            .load(|block| {
                let mut load = Load::new();
                let pushed = block.entries().all(|entry| load.push(state, entry.record));
                fits = fits && pushed && load.apply(state);
            })
            .await?;
        if !fits {
            return Err(too_large(order.core));
        }
    }
    let loaded = clock.now();
    let log = LogId { database: order.database, core: order.core };
    let (place, fronts) = ((vfs, order.log_dir.as_path()), Arc::clone(&order.fronts));
    let mut reader =
        WalReader::of_fronts(place, log, order.lives.clone(), order.cut, READ_AHEAD_BYTES, fronts);
    while reader.advance().await? {
        let mut frame = reader.frame();
        let carries = frame.token() == order.token;
        let mut load = Load::new();
        while let Some((lsn, record)) = frame.next_record() {
            if carries && lsn > order.plan.keep {
                rebuilt.carry(&record);
            }
            rebuilt.replay(&order, lsn, &record)?;
            if record.kind != RecordKind::EpochEnd && !load.push(&mut rebuilt.state, record) {
                return Err(too_large(order.core));
            }
        }
        if !load.apply(&mut rebuilt.state) {
            return Err(too_large(order.core));
        }
    }
    rebuilt.state.settle();
    rebuilt.state.limit(order.chunks_max);
    (rebuilt.loading, rebuilt.replaying) = (loaded.since(began), clock.now().since(loaded));
    Ok(rebuilt)
}

/// Takes away what `delta` replaces or deletes. It has its changes in the order of their keys: what came instead of
/// something may stand in front of that, and a state that was full all the time would not take both.
async fn make_room<F: File>(state: &mut CoreState, delta: &FileReader<F>) -> Result<()> {
    let remove = |state: &mut CoreState, record: &Record<'_>| match record.kind {
        RecordKind::Put | RecordKind::Delete => {
            state.delete(state.hash(record.key), record.key);
        }
        RecordKind::Clear => state.clear(),
        RecordKind::EpochEnd => {}
    };
    delta.load(|block| block.entries().for_each(|entry| remove(state, &entry.record))).await
}

impl Rebuilt {
    /// Counts a record, and keeps what the end of an epoch says.
    fn replay(&mut self, order: &Order, lsn: Lsn, record: &Record<'_>) -> Result<()> {
        self.replayed += 1;
        self.replayed_bytes += record.encoded_bytes() as u64;
        if record.kind != RecordKind::EpochEnd {
            return Ok(());
        }
        let end =
            EpochEnd::decode(record.value).ok_or_else(|| unreadable(&order.log_dir, order.core, lsn))?;
        // Of the lives before the last one nobody has looked at the ends yet.
        if end.epoch > order.epoch {
            let what = format!(
                "epoch {} ends at LSN {lsn} of core {}, behind the recovered epoch {}: the log is of another database; \
                 nothing was changed, restore this directory from a backup",
                end.epoch, order.core, order.epoch
            );
            return Err(Error::corrupt(ErrorCode::EpochEndDamaged, &order.log_dir, what));
        }
        self.offsets.extend(end.offsets);
        self.watermark = end.watermark.or(self.watermark);
        if end.epoch > order.listed {
            let handles = end.sinks.into_iter().filter_map(|(name, handle)| Some((end.epoch, name, handle?)));
            self.sinks.extend(handles);
        }
        Ok(())
    }

    fn carry(&mut self, record: &Record<'_>) {
        let from = self.carry.len();
        self.carry.resize(from + record.encoded_bytes(), 0);
        record.encode(&mut self.carry[from..]);
        self.carried += 1;
    }
}

fn unreadable(dir: &Path, core: CoreId, lsn: Lsn) -> Error {
    let what =
        format!("the end of an epoch at LSN {lsn} of core {core} cannot be decoded; restore this directory");
    Error::corrupt(ErrorCode::EpochEndDamaged, dir, what)
}

fn too_large(core: CoreId) -> Error {
    let what = format!("core {core} has more records than its state can hold: open with more cores");
    Error::new(ErrorCode::StateFullAtOpen, what)
}
