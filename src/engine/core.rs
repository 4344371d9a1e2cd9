//! Ring 0: one core's handle. A change is encoded into the open batch first and into the state second; no lock, no
//! system call, no allocation but to grow the state.
//!
//! Invariants
//! 1. The log gets a record before the state does: what an update overwrites has been logged with its epoch.
//! 2. A refused call has changed neither.
//! 3. A key is stored on the one core that owns its group.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use super::append::Appender;
use super::drive::Drive;
use super::entry::{Key, Value};
use super::ready::{Gate, Ready};
use super::shared::Shared;
use super::sinks::Ledger;
use crate::codec::{HashRange, Record, RecordKind, key_group, key_hash, record_bytes};
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{CoreId, Epoch, FencingToken, Lsn};
use crate::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::offsite::Lag;
use crate::route::Route;
use crate::state::{CoreState, KeyRange};
use crate::wal::{Batch, Pool};

/// What a handle is made of; recovery provides it.
pub(crate) struct CoreParts {
    pub(crate) core: CoreId,
    pub(crate) shared: Arc<Shared>,
    pub(crate) drive: Arc<Drive>,
    pub(crate) state: CoreState,
    pub(crate) queue: rtrb::Producer<Batch>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) next_lsn: Lsn,
    pub(crate) token: FencingToken,
    pub(crate) epoch: Epoch,
    pub(crate) ownership: Ownership,
    pub(crate) limits: CoreLimits,
    /// How far ahead of an object store the core may be, if that is bounded.
    pub(crate) lag: Option<Lag>,
    pub(crate) offset_names: BTreeSet<String>,
    pub(crate) sinks: Option<Arc<Ledger>>,
}

/// Which keys a core owns.
#[derive(Clone, Debug)]
pub(crate) struct Ownership {
    pub(crate) hash_seed: u64,
    pub(crate) route: Route,
    pub(crate) key_groups: u16,
    pub(crate) owned: Range<u16>,
}

impl Ownership {
    /// What decides the group of `key`.
    #[inline]
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        key_hash(self.hash_seed, self.route.of(key))
    }
}

/// The bounds of a core, from the options.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_field_names, reason = "each is a limit, and named as its option is")]
pub(crate) struct CoreLimits {
    pub(crate) record_bytes_max: u64,
    pub(crate) epoch_bytes_max: u64,
    pub(crate) epoch_skew_max: u64,
}

/// One core of an open database: its state, and the only way to change it.
///
/// A handle may move between threads, but is used by one at a time. All cores close epochs together; a core that
/// falls behind holds the others up (`Options::epoch_skew_max`).
///
/// Every method that changes something can return
/// * `Busy` when a bounded queue is full: wait with [`CoreHandle::ready`], or end and await an epoch;
/// * `Full` when the device has no space and the queue is full: free some and try again; a put also when the state
///   has no room for it (64 GiB of records, at most a million of them larger than 16 KiB): delete keys;
/// * `Failed` when a write or sync has failed: reopen the database;
/// * `Fenced` when another directory has taken the database over, `Lost` when a sink has forgotten what was decided: look into
///   that before you open again;
/// * `Invalid` with the code HW-819 when the engine was closed or dropped: open again.
///
/// Then nothing has changed, but where a method says otherwise: [`CoreHandle::commit`] ends the epoch before it waits.
pub struct CoreHandle {
    pub(super) core: CoreId,
    pub(super) shared: Arc<Shared>,
    pub(super) drive: Arc<Drive>,
    pub(super) state: CoreState,
    pub(super) log: Appender,
    pub(super) token: FencingToken,
    pub(super) epoch: Epoch,
    ownership: Ownership,
    /// `ownership.owned`, as hashes of routes; `None` when every key is this core's.
    hashes: Option<HashRange>,
    pub(super) limits: CoreLimits,
    pub(super) lag: Option<Lag>,
    pub(super) offset_names: BTreeSet<String>,
    /// Where the end of an epoch is encoded.
    pub(super) scratch: Vec<u8>,
    pub(super) sinks: Option<Arc<Ledger>>,
    /// What the sinks have pre-committed of the open epoch: of the first of them, in their order.
    pub(super) handles: Vec<Option<Vec<u8>>>,
}

impl fmt::Debug for CoreHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoreHandle")
            .field("id", &self.id())
            .field("len", &self.len())
            .field("open_epoch", &self.open_epoch())
            .field("next_lsn", &self.log.next_lsn())
            .finish_non_exhaustive()
    }
}

impl CoreHandle {
    pub(crate) fn new(parts: CoreParts) -> Self {
        let CoreParts { core, shared, queue, pool, next_lsn, limits, .. } = parts;
        shared.core(core).counts.state(&parts.state);
        let hashes = HashRange::new(&parts.ownership.owned, parts.ownership.key_groups);
        let log = Appender::new(core, Arc::clone(&shared), (queue, pool), next_lsn, limits.epoch_bytes_max);
        Self {
            core,
            shared,
            drive: parts.drive,
            state: parts.state,
            log,
            token: parts.token,
            epoch: parts.epoch,
            hashes: Some(hashes).filter(|hashes| !hashes.is_all()),
            ownership: parts.ownership,
            limits,
            lag: parts.lag,
            offset_names: parts.offset_names,
            scratch: Vec::new(),
            sinks: parts.sinks,
            handles: Vec::new(),
        }
    }

    pub(super) fn state(&self) -> &CoreState {
        &self.state
    }

    /// The LSN that the next change gets.
    pub(super) fn next_lsn(&self) -> Lsn {
        self.log.next_lsn()
    }

    /// Which core this is.
    pub fn id(&self) -> CoreId {
        self.core
    }

    /// Sets `key` to `value`. Returns the LSN of the change, which counts once its epoch has closed.
    ///
    /// A key has at most 60 KiB, a value 16 MiB, and both together what half a log file takes
    /// ([`Options::segment_bytes`](crate::Options::segment_bytes)).
    ///
    /// # Errors
    ///
    /// `Invalid` when the key, the value or both together are over their limit, or the key belongs to another core
    /// (`Engine::core_of`); `Busy`, `Full`, `Failed` and the others as [`CoreHandle`] says.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<Lsn> {
        let hash = self.check_put(key, value)?;
        self.put_checked(hash, key, value)
    }

    /// # Errors
    ///
    /// `Invalid`; else the hash for the index.
    #[inline]
    pub(super) fn check_put(&self, key: &[u8], value: &[u8]) -> Result<u64> {
        let hash = self.check_key(key)?;
        let bytes = record_bytes(key.len(), value.len()) as u64;
        if value.len() > VALUE_BYTES_MAX || bytes > self.limits.record_bytes_max {
            return Err(self.long_value(value));
        }
        Ok(hash)
    }

    #[inline]
    pub(super) fn put_checked(&mut self, hash: u64, key: &[u8], value: &[u8]) -> Result<Lsn> {
        let record = Record { kind: RecordKind::Put, key, value };
        if !self.state.has_room_for(hash, &record) {
            return Err(self.state_full());
        }
        let entry = self.state.entry(hash);
        let lsn = self.log.append(&record)?;
        entry.put(&record);
        Ok(lsn)
    }

    /// The value of `key`, if it has one. Sees every change made through this handle.
    ///
    /// # Errors
    ///
    /// `Invalid` when the key is over its limit or belongs to another core.
    pub fn get(&self, key: &[u8]) -> Result<Option<Value<'_>>> {
        let hash = self.check_key(key)?;
        Ok(self.state.get(hash, key).map(Value))
    }

    /// Removes the value of `key`; logged also when there is none.
    ///
    /// # Errors
    ///
    /// As [`CoreHandle::put`].
    pub fn delete(&mut self, key: &[u8]) -> Result<Lsn> {
        let hash = self.check_key(key)?;
        self.check_record("delete", record_bytes(key.len(), 0))?;
        let entry = self.state.entry(hash);
        let lsn = self.log.append(&Record { kind: RecordKind::Delete, key, value: &[] })?;
        entry.delete(key);
        Ok(lsn)
    }

    /// Removes every key of this core.
    ///
    /// # Errors
    ///
    /// `Busy`, `Full`, `Failed` as above.
    pub fn clear(&mut self) -> Result<Lsn> {
        let lsn = self.log.append(&Record { kind: RecordKind::Clear, key: &[], value: &[] })?;
        self.state.clear();
        Ok(lsn)
    }

    /// The keys that begin with `prefix`, in key order, each with its value.
    ///
    /// With `Options::ordered_index` it costs what it returns; else the order is made for the call, in a pass over all
    /// keys of the core.
    pub fn scan_prefix(&self, prefix: &[u8]) -> impl Iterator<Item = Result<(Key<'_>, Value<'_>)>> {
        self.state.scan(KeyRange::prefix(prefix)).map(|(key, value)| Ok((Key(key), Value(value))))
    }

    /// The keys of `range`, in key order, each with its value: `core.range(&b"a"[..]..&b"f"[..])`, or any two bounds of
    /// byte slices. A range that ends before it begins holds nothing.
    ///
    /// It costs what [`CoreHandle::scan_prefix`] costs.
    pub fn range<'r>(
        &self,
        range: impl RangeBounds<&'r [u8]>,
    ) -> impl Iterator<Item = Result<(Key<'_>, Value<'_>)>> {
        let bound = |bound: Bound<&&'r [u8]>| bound.map(|key| *key);
        let range = KeyRange::new(bound(range.start_bound()), bound(range.end_bound()));
        self.state.scan(range).map(|(key, value)| Ok((Key(key), Value(value))))
    }

    /// How many keys have a value.
    pub fn len(&self) -> usize {
        self.state.len()
    }

    /// Whether no key has a value.
    pub fn is_empty(&self) -> bool {
        self.state.is_empty()
    }

    /// Bytes of all keys and values.
    pub fn bytes(&self) -> u64 {
        self.state.bytes()
    }

    /// Bytes of memory that the state takes, slack included.
    pub fn memory_bytes(&self) -> u64 {
        self.state.memory_bytes()
    }

    /// The epoch that this core's next change belongs to.
    pub fn open_epoch(&self) -> Epoch {
        self.epoch
    }

    /// The epoch that somebody asked all cores to end (`Engine::request_epoch`), if this core has not yet.
    pub fn epoch_requested(&self) -> Option<Epoch> {
        let requested = self.shared.requested();
        (requested >= self.epoch).then_some(requested)
    }

    /// Waits until this core can accept a change again, or never will: `ready().await` in an async program,
    /// `ready().wait()` to block the thread.
    ///
    /// It waits for what passes by itself: room in the queue for the change that was refused last, the slowest core, the object
    /// store, the sinks. What only the end of the epoch cures is the caller's to do, and not waited for: behind a `Busy`
    /// with the code HW-106 (the epoch holds `epoch_bytes_max`) or HW-107 (its end has begun) it returns at once, so
    /// that a loop around it would spin. End the epoch instead.
    ///
    /// With `Options::inline` nothing happens behind the caller's back: `wait` makes room itself, and an async caller
    /// uses `Engine::drive`.
    pub fn ready(&self) -> Ready {
        Ready::new(self.gate(), Arc::clone(&self.drive))
    }

    /// Gives up the records of the open epoch, and those of epochs that this core has ended and another has not:
    /// `Engine::close` will not refuse because of them. They are gone after the next open, as after a crash. Records that
    /// are put behind this call count again.
    pub fn discard_open(&mut self) {
        self.log.discard_open();
    }

    /// Records of the open epoch, unless they were given up.
    pub(super) fn open_records(&self) -> u64 {
        self.log.open_records()
    }

    /// Whether nobody counts on what this core has in epochs that are not closed.
    pub(super) fn is_discarded(&self) -> bool {
        self.log.is_discarded()
    }

    /// Whether this is a core of the engine whose parts share `shared`.
    pub(super) fn is_of(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.shared, shared)
    }

    fn gate(&self) -> Gate {
        Gate {
            core: self.core,
            shared: Arc::clone(&self.shared),
            pool: self.log.awaited_pool(),
            large: self.log.awaited_lsn(),
            lag: self.lag.clone(),
            ended_min: Epoch(self.epoch.0.saturating_sub(self.limits.epoch_skew_max)),
            sinks: self.sinks.clone(),
            epoch: self.epoch,
        }
    }

    /// # Errors
    ///
    /// `Invalid`; else the hash for the index.
    #[inline]
    pub(super) fn check_key(&self, key: &[u8]) -> Result<u64> {
        if key.len() > KEY_BYTES_MAX || self.hashes.is_some() {
            self.check_owner(key)?;
        }
        Ok(self.state.hash(key))
    }

    #[inline(never)]
    fn check_owner(&self, key: &[u8]) -> Result<()> {
        if key.len() > KEY_BYTES_MAX {
            return Err(Error::new(
                ErrorCode::KeyTooLong,
                format!("the key of {} bytes is over {KEY_BYTES_MAX}", key.len()),
            ));
        }
        let hash = self.ownership.hash(key);
        if self.hashes.is_some_and(|hashes| !hashes.contains(hash)) {
            return Err(self.foreign_key(key, hash));
        }
        Ok(())
    }

    /// # Errors
    ///
    /// `Invalid` when a record of `bytes` in all does not fit into a segment of these options.
    pub(super) fn check_record(&self, what: &str, bytes: usize) -> Result<()> {
        let max = self.limits.record_bytes_max;
        if bytes as u64 <= max {
            return Ok(());
        }
        Err(Error::new(
            ErrorCode::RecordTooLong,
            format!("the {what} takes {bytes} bytes, over the limit of {max}: use larger segments"),
        ))
    }

    #[cold]
    fn foreign_key(&self, key: &[u8], hash: u64) -> Error {
        let group = key_group(hash, self.ownership.key_groups);
        Error::new(
            ErrorCode::ForeignKey,
            format!(
                "the key \"{}\" is of group {group} and core {} owns {:?}: ask Engine::core_of which core owns a key",
                key[..key.len().min(64)].escape_ascii(),
                self.id(),
                self.ownership.owned
            ),
        )
    }

    #[cold]
    fn long_value(&self, value: &[u8]) -> Error {
        Error::new(
            ErrorCode::ValueTooLong,
            format!(
                "the value of {} bytes is over the limit of {} (what a segment takes, at most {VALUE_BYTES_MAX})",
                value.len(),
                self.limits.record_bytes_max
            ),
        )
    }

    #[cold]
    fn state_full(&self) -> Error {
        let what = format!(
            "the state of core {} has no room for the record: it can name 64 GiB, in a million places of 64 KiB or one \
             large record; delete keys",
            self.id()
        );
        Error::new(ErrorCode::StateFull, what)
    }
}
