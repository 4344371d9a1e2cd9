//! The batch: the buffer that records are appended to, and that goes to disk as it is.
//!
//! ```text
//! aligned ─► | 64 bytes of room for the header | record | record | … | zeroes to the write unit |
//!              written when the frame is made                           likewise
//! ```
//!
//! 1. An append copies the record once and allocates nothing; the whole padded frame is one buffer.
//! 2. A batch carries at most [`EPOCHS_MAX`] epoch ends, and so does the frame that it becomes.
//! 3. The memory comes back to its pool when the frame is acknowledged, or when the batch is dropped. If the
//!    backend still holds it then (it may, after a failure), the pool gives it up and makes another when asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use concurrent_queue::ConcurrentQueue;

use crate::codec::{Record, RecordKind};
use crate::ids::{Epoch, Lsn};
use crate::limits::{FRAME_HEADER_BYTES, WRITE_UNIT_BYTES_MAX};
use crate::vfs::aligned_zeroes;
use crate::wal::epoch_end;

/// Most epoch ends in one batch or frame.
pub(crate) const EPOCHS_MAX: usize = 64;

const ALIGN_BYTES: usize = WRITE_UNIT_BYTES_MAX as usize;

/// The memory of a batch. `bytes` is always as long as the whole room, so that nothing is cleared between uses.
struct Room {
    bytes: BytesMut,
    epochs: Vec<(Epoch, Lsn)>,
}

impl Room {
    /// Room for a header, `payload_bytes` and the padding, aligned for direct I/O.
    fn new(payload_bytes: usize) -> Self {
        let whole = (FRAME_HEADER_BYTES + payload_bytes).next_multiple_of(ALIGN_BYTES);
        Self { bytes: aligned_zeroes(whole), epochs: Vec::with_capacity(EPOCHS_MAX) }
    }
}

/// Bounded memory for the batches of one core: made on demand, handed round without a lock.
pub(crate) struct Pool {
    free: ConcurrentQueue<Room>,
    made: AtomicUsize,
    batches_max: usize,
    batch_bytes: usize,
}

impl Pool {
    /// A pool of at most `batches` batches, each for `batch_bytes` of records.
    pub(crate) fn new(batches: usize, batch_bytes: usize) -> Arc<Self> {
        assert!(batches > 0 && batch_bytes > 0, "a pool of {batches} batches of {batch_bytes} bytes");
        Arc::new(Self {
            free: ConcurrentQueue::bounded(batches),
            made: AtomicUsize::new(0),
            batches_max: batches,
            batch_bytes,
        })
    }

    /// An empty batch whose first record will be `first_lsn`; `None` while all are in use.
    pub(crate) fn take(self: &Arc<Self>, first_lsn: Lsn) -> Option<Batch> {
        let room = match self.free.pop() {
            Ok(room) => room,
            Err(_) => self.make()?,
        };
        Some(Batch::new(room, self.batch_bytes, first_lsn, Some(Arc::clone(self))))
    }

    /// Whether [`Pool::take`] would give a batch now.
    pub(crate) fn has_room(&self) -> bool {
        !self.free.is_empty() || self.made.load(Ordering::Relaxed) < self.batches_max
    }

    /// Bytes of records that one batch takes.
    #[inline]
    pub(crate) fn batch_bytes(&self) -> usize {
        self.batch_bytes
    }

    fn make(&self) -> Option<Room> {
        let bump = |made: usize| (made < self.batches_max).then_some(made + 1);
        self.made.fetch_update(Ordering::Relaxed, Ordering::Relaxed, bump).ok()?;
        Some(Room::new(self.batch_bytes))
    }

    fn put(&self, mut room: Room) {
        room.epochs.clear();
        assert!(self.free.push(room).is_ok(), "more than {} batches came back", self.batches_max);
    }

    /// Forgets a room that will not come back.
    fn lose(&self) {
        let before = self.made.fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "a room was lost that was never made");
    }
}

/// Records on their way to the log, in LSN order without gaps.
pub(crate) struct Batch {
    /// `None` only while being dropped or frozen.
    room: Option<Room>,
    room_bytes: usize,
    used_bytes: usize,
    first_lsn: Lsn,
    records: u32,
    home: Option<Arc<Pool>>,
}

impl Batch {
    fn new(room: Room, room_bytes: usize, first_lsn: Lsn, home: Option<Arc<Pool>>) -> Self {
        assert!(first_lsn > Lsn(0), "LSN 0 means \"none yet\"");
        assert!(room.epochs.is_empty() && room.bytes.len() >= FRAME_HEADER_BYTES + room_bytes);
        Self { room: Some(room), room_bytes, used_bytes: 0, first_lsn, records: 0, home }
    }

    /// A batch of its own for records of `payload_bytes` together, outside every pool: for a record that no pooled
    /// batch can hold, and the only allocation on the way of a record to the log.
    pub(crate) fn of_its_own(payload_bytes: usize, first_lsn: Lsn) -> Self {
        Self::new(Room::new(payload_bytes), payload_bytes, first_lsn, None)
    }

    /// Appends `record` and says which LSN it has; `None` when the batch must be handed on first.
    ///
    /// # Panics
    ///
    /// When an `EpochEnd` record's value is none.
    #[inline]
    pub(crate) fn append(&mut self, record: &Record<'_>) -> Option<Lsn> {
        let bytes = record.encoded_bytes();
        if bytes > self.room_bytes - self.used_bytes {
            return None;
        }
        let lsn = self.next_lsn();
        let room = self.room.as_mut().expect("a live batch has its room");
        if record.kind == RecordKind::EpochEnd {
            if room.epochs.len() == EPOCHS_MAX {
                return None;
            }
            let epoch = epoch_end::epoch_of(record.value).expect("an EpochEnd record holds an epoch mark");
            room.epochs.push((epoch, lsn));
        }
        let from = FRAME_HEADER_BYTES + self.used_bytes;
        record.encode(&mut room.bytes[from..from + bytes]);
        self.used_bytes += bytes;
        self.records += 1;
        Some(lsn)
    }

    /// Appends all of `next` and says so, or does nothing: it must fit, and follow without a gap.
    pub(crate) fn absorb(&mut self, next: &Self) -> bool {
        assert_eq!(self.next_lsn(), next.first_lsn, "batches out of order");
        if next.used_bytes > self.room_bytes - self.used_bytes {
            return false;
        }
        let room = self.room.as_mut().expect("a live batch has its room");
        let source = next.room.as_ref().expect("a live batch has its room");
        if room.epochs.len() + source.epochs.len() > EPOCHS_MAX {
            return false;
        }
        let from = FRAME_HEADER_BYTES + self.used_bytes;
        room.bytes[from..from + next.used_bytes].copy_from_slice(next.payload());
        room.epochs.extend_from_slice(&source.epochs);
        self.used_bytes += next.used_bytes;
        self.records += next.records;
        true
    }

    /// Whether [`Batch::append`] would take `record`.
    #[inline]
    pub(crate) fn takes(&self, record: &Record<'_>) -> bool {
        let room = self.room.as_ref().expect("a live batch has its room");
        record.encoded_bytes() <= self.room_bytes - self.used_bytes
            && (record.kind != RecordKind::EpochEnd || room.epochs.len() < EPOCHS_MAX)
    }

    /// The encoded records.
    #[inline]
    pub(crate) fn payload(&self) -> &[u8] {
        let room = self.room.as_ref().expect("a live batch has its room");
        &room.bytes[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + self.used_bytes]
    }

    /// The last epoch that ends in it.
    pub(crate) fn ended_epoch(&self) -> Option<Epoch> {
        self.room.as_ref()?.epochs.last().map(|(epoch, _)| *epoch)
    }

    /// Whether nothing was appended yet.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Count of the records.
    #[inline]
    pub(crate) fn records(&self) -> u32 {
        self.records
    }

    /// The LSN of the first record.
    #[inline]
    pub(crate) fn first_lsn(&self) -> Lsn {
        self.first_lsn
    }

    /// The LSN that the next record gets.
    #[inline]
    pub(crate) fn next_lsn(&self) -> Lsn {
        Lsn(self.first_lsn.0 + u64::from(self.records))
    }

    /// Bytes of the frame that the batch becomes, without padding.
    #[inline]
    pub(crate) fn frame_bytes(&self) -> usize {
        FRAME_HEADER_BYTES + self.used_bytes
    }

    /// Writes `header` in front and zeroes behind, up to a multiple of `unit` bytes; what to write is then fixed.
    pub(crate) fn freeze(mut self, header: &[u8; FRAME_HEADER_BYTES], unit: usize) -> FrozenBatch {
        assert!(!self.is_empty(), "an empty batch is never written");
        let mut room = self.room.take().expect("a live batch has its room");
        let used = self.frame_bytes();
        let padded = used.next_multiple_of(unit);
        assert!(padded <= room.bytes.len(), "a room of {} bytes for {padded}", room.bytes.len());
        room.bytes[..FRAME_HEADER_BYTES].copy_from_slice(header);
        room.bytes[used..padded].fill(0);
        FrozenBatch {
            whole: room.bytes.freeze(),
            padded_bytes: padded,
            epochs: room.epochs,
            last_lsn: Lsn(self.next_lsn().0 - 1),
            home: self.home.take(),
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if let (Some(room), Some(home)) = (self.room.take(), self.home.take()) {
            home.put(room);
        }
    }
}

/// A batch that has become a frame: its bytes do not change any more.
pub(crate) struct FrozenBatch {
    whole: Bytes,
    padded_bytes: usize,
    epochs: Vec<(Epoch, Lsn)>,
    last_lsn: Lsn,
    home: Option<Arc<Pool>>,
}

impl FrozenBatch {
    /// What to write: header, records, padding.
    pub(crate) fn bytes(&self) -> Bytes {
        self.whole.slice(..self.padded_bytes)
    }

    /// The LSN of the last record.
    #[inline]
    pub(crate) fn last_lsn(&self) -> Lsn {
        self.last_lsn
    }

    /// The epochs that end in this batch, each with the LSN of its end.
    pub(crate) fn epochs(&self) -> &[(Epoch, Lsn)] {
        &self.epochs
    }
}

impl Drop for FrozenBatch {
    fn drop(&mut self) {
        let Some(home) = self.home.take() else { return };
        match std::mem::take(&mut self.whole).try_into_mut() {
            Ok(bytes) => home.put(Room { bytes, epochs: std::mem::take(&mut self.epochs) }),
            Err(_) => home.lose(),
        }
    }
}
