//! Slots for encoded records, in size classes.
//!
//! ```text
//! location   31 ........ 12 11 ............ 0
//!            chunk number   offset / 16 bytes
//! chunk      | slot | slot | slot |            up to 64 KiB of slots of one class, or one large record
//! live slot  | encoded record | padding |
//! free slot  | u16 next free slot | … | kind 0 | …
//! ```
//!
//! Classes step by 16 bytes up to 256, then eight to a doubling up to 16 KiB: padding is less than an eighth
//! of the record (or than 16 bytes). A larger record has a chunk of its own, exactly as long.
//! The first chunks of a class are smaller, so that a class with few records costs little.
//!
//! Chunk number 0 is never used: no live record has location 0.

use super::compact::Compaction;
use super::processor::prefetch;
use crate::codec::{Record, lengths, record_bytes};
use crate::limits::RECORD_HEADER_BYTES;

/// Most chunks that a location can tell apart.
pub(super) const CHUNKS_MAX: u32 = 1 << (32 - OFFSET_BITS);

pub(super) const CLASSES: usize = 64;

const OFFSET_BITS: u32 = 12;
const UNIT_BYTES: usize = 16;
pub(super) const CHUNK_BYTES: usize = UNIT_BYTES << OFFSET_BITS;
const CHUNK_BYTES_MIN: usize = 4 * 1024;
pub(super) const SLOT_BYTES_MAX: usize = 16 * 1024;

/// Classes up to 256 bytes step by one unit; above, each doubling has eight.
const SMALL_CLASSES: usize = 16;
const SMALL_BYTES_MAX: usize = SMALL_CLASSES * UNIT_BYTES;
const STEPS: usize = 8;

/// Where a record keeps its kind; zero there is a free slot.
pub(super) const KIND_OFFSET: usize = 6;
const NO_SLOT: u16 = u16::MAX;
pub(super) const NOT_LISTED: u32 = u32::MAX;

const _: () = assert!(CHUNK_BYTES / UNIT_BYTES < NO_SLOT as usize, "two bytes name every slot of a chunk");
const _: () = assert!(RECORD_HEADER_BYTES <= UNIT_BYTES && KIND_OFFSET < RECORD_HEADER_BYTES);
const _: () = assert!(class_of(SLOT_BYTES_MAX) == CLASSES - 1, "classes end at the largest slot");
const _: () = assert!(CLASSES <= 64, "one bit for each class");

/// A place in the slab, in units of 16 bytes. Zero is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location(u32);

impl Location {
    #[inline]
    pub(super) fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    #[inline]
    pub(super) fn raw(self) -> u32 {
        self.0
    }

    #[inline]
    pub(super) fn chunk(self) -> usize {
        (self.0 >> OFFSET_BITS) as usize
    }

    #[inline]
    pub(super) fn offset(self) -> usize {
        (self.0 & ((1 << OFFSET_BITS) - 1)) as usize * UNIT_BYTES
    }

    #[inline]
    pub(super) fn new(chunk: usize, offset: usize) -> Self {
        assert!(chunk < CHUNKS_MAX as usize && offset < CHUNK_BYTES, "{chunk}, {offset}");
        #[expect(clippy::cast_possible_truncation, reason = "asserted above")]
        Self((chunk as u32) << OFFSET_BITS | (offset / UNIT_BYTES) as u32)
    }
}

/// What a chunk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Vacant,
    Large,
    Class(u8),
}

/// The bookkeeping of a chunk, apart from its bytes: reads and overwrites need only those.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChunkInfo {
    pub(super) holds: Use,
    pub(super) slots: u16,
    pub(super) live: u16,
    /// Slots from here on were never used.
    pub(super) fresh: u16,
    free_head: u16,
    /// Its place in the class's `open` list.
    pub(super) listed: u32,
}

const VACANT: ChunkInfo =
    ChunkInfo { holds: Use::Vacant, slots: 0, live: 0, fresh: 0, free_head: NO_SLOT, listed: NOT_LISTED };

/// All chunks of one class together.
#[derive(Debug, Default)]
pub(super) struct Class {
    pub(super) slots: u64,
    pub(super) live: u64,
    /// Chunks with free slots, but for the one being emptied. The last one is filled next.
    pub(super) open: Vec<u32>,
    pub(super) compaction: Compaction,
}

impl Class {
    pub(super) fn free(&self) -> u64 {
        self.slots - self.live
    }
}

/// A record where it lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored<'a> {
    key_bytes: usize,
    value_bytes: usize,
    /// From the key to the end of the chunk.
    body: &'a [u8],
}

impl<'a> Stored<'a> {
    /// The record that `bytes` begin with.
    #[inline]
    pub(super) fn at_front_of(bytes: &'a [u8]) -> Self {
        let (header, body) = bytes.split_first_chunk().expect("a whole record lies there");
        let (key_bytes, value_bytes) = lengths(*header);
        Self { key_bytes, value_bytes, body }
    }

    #[inline]
    pub(super) fn key(self) -> &'a [u8] {
        &self.body[..self.key_bytes]
    }

    #[inline]
    pub(super) fn value(self) -> &'a [u8] {
        &self.body[self.key_bytes..][..self.value_bytes]
    }

    /// Bytes of the encoded record.
    #[inline]
    pub(super) fn encoded_bytes(self) -> usize {
        record_bytes(self.key_bytes, self.value_bytes)
    }
}

/// The eight bytes from `at` on.
#[inline]
fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

/// The slab of one core.
#[derive(Debug)]
pub(super) struct Slab {
    pub(super) chunks: Vec<Box<[u8]>>,
    pub(super) infos: Vec<ChunkInfo>,
    vacant: Vec<u32>,
    pub(super) classes: Box<[Class]>,
    /// Bit c: class c has too many free slots.
    pub(super) sparse: u64,
    chunks_max: u32,
    chunk_bytes: u64,
    /// New chunks are full-sized from the start: many records were announced.
    reserved: bool,
}

/// The class of records of `bytes` encoded bytes, at most 16 KiB.
#[inline]
pub(super) const fn class_of(bytes: usize) -> usize {
    if bytes <= SMALL_BYTES_MAX {
        return bytes.div_ceil(UNIT_BYTES) - 1;
    }
    // 257..=512 is the first doubling: its steps are 32 bytes.
    let doubling = ((bytes - 1).ilog2() - SMALL_BYTES_MAX.ilog2()) as usize;
    let step = (SMALL_BYTES_MAX / STEPS) << doubling;
    let above = bytes - (SMALL_BYTES_MAX << doubling);
    SMALL_CLASSES + doubling * STEPS + above.div_ceil(step) - 1
}

/// Bytes of each slot of `class`.
#[inline]
pub(super) const fn slot_bytes(class: usize) -> usize {
    if class < SMALL_CLASSES {
        return (class + 1) * UNIT_BYTES;
    }
    let (doubling, step) = ((class - SMALL_CLASSES) / STEPS, (class - SMALL_CLASSES) % STEPS + 1);
    (SMALL_BYTES_MAX << doubling) + step * ((SMALL_BYTES_MAX / STEPS) << doubling)
}

/// Slots of a full-sized chunk of `class`.
pub(super) const fn slots_max(class: usize) -> usize {
    CHUNK_BYTES / slot_bytes(class)
}

/// Slots of the next chunk of `class`, which has `slots`: a quarter of that, between 4 and 64 KiB.
pub(super) fn grown_slots(class: usize, slots: u64) -> u64 {
    let least = (CHUNK_BYTES_MIN / slot_bytes(class)).max(1) as u64;
    (slots / 4).clamp(least, slots_max(class) as u64)
}

impl Slab {
    pub(super) fn new(chunks_max: u32) -> Self {
        assert!((1..=CHUNKS_MAX).contains(&chunks_max), "{chunks_max} chunks");
        Self {
            chunks: vec![Box::default()],
            infos: vec![VACANT],
            vacant: Vec::new(),
            classes: (0..CLASSES).map(|_| Class::default()).collect(),
            sparse: 0,
            chunks_max,
            chunk_bytes: 0,
            reserved: false,
        }
    }

    /// Adds no chunk that would be one more than `chunks_max`.
    pub(super) fn limit(&mut self, chunks_max: u32) {
        self.chunks_max = chunks_max;
    }

    /// Expects about `bytes` bytes of records: loading them allocates full chunks and no bookkeeping.
    pub(super) fn reserve(&mut self, bytes: u64) {
        let chunks = usize::try_from(bytes / CHUNK_BYTES as u64).expect("records of a core fit into memory");
        let chunks = chunks.min(self.chunks_max as usize);
        self.chunks.reserve_exact(chunks);
        self.infos.reserve_exact(chunks);
        self.reserved = chunks > CLASSES;
    }

    /// The encoded record at `location`, and what follows it in the chunk.
    #[inline]
    fn bytes(&self, location: Location) -> &[u8] {
        &self.chunks[location.chunk()][location.offset()..]
    }

    /// The record at `location`.
    #[inline]
    pub(super) fn stored(&self, location: Location) -> Stored<'_> {
        Stored::at_front_of(self.bytes(location))
    }

    /// Asks for the lines of the cache that hold a record of `bytes` encoded bytes at `location`, or most of them where
    /// it is long.
    #[inline]
    pub(super) fn prefetch(&self, location: Location, bytes: usize) {
        let slot = self.bytes(location);
        for at in [0, bytes / 2, bytes - 1] {
            slot.get(at).into_iter().for_each(prefetch);
        }
    }

    /// The record at `location`, if `key` is its key.
    #[inline]
    pub(super) fn stored_of(&self, location: Location, key: &[u8]) -> Option<Stored<'_>> {
        let stored = self.stored(location);
        (stored.key() == key).then_some(stored)
    }

    /// The record at `location`, if `key` is its key and has 8 to 16 bytes: that takes two words to find out.
    #[inline]
    pub(super) fn stored_of_short(&self, location: Location, key: &[u8]) -> Option<Stored<'_>> {
        if key.len() < 8 || key.len() > 16 {
            return None;
        }
        let stored = self.stored(location);
        let held = stored.body.get(..key.len())?;
        let front = word(held, 0) ^ word(key, 0);
        let back = word(held, key.len() - 8) ^ word(key, key.len() - 8);
        (stored.key_bytes == key.len() && front | back == 0).then_some(stored)
    }

    /// The key of the record at `location`.
    #[inline]
    pub(super) fn key(&self, location: Location) -> &[u8] {
        self.stored(location).key()
    }

    /// The value of the record at `location`.
    #[inline]
    pub(super) fn value(&self, location: Location) -> &[u8] {
        self.stored(location).value()
    }

    /// The encoded bytes of the record at `location`.
    #[inline]
    pub(super) fn encoded(&self, location: Location) -> &[u8] {
        let bytes = self.stored(location).encoded_bytes();
        &self.bytes(location)[..bytes]
    }

    /// Whether a record of `new_bytes` goes where one of `old_bytes` is.
    #[inline]
    pub(super) fn fits(&self, location: Location, old_bytes: usize, new_bytes: usize) -> bool {
        if old_bytes <= SLOT_BYTES_MAX {
            return new_bytes <= SLOT_BYTES_MAX && class_of(old_bytes) == class_of(new_bytes);
        }
        // A large slot is given up when more than an eighth of it would be padding.
        let held = self.chunks[location.chunk()].len();
        new_bytes > SLOT_BYTES_MAX && new_bytes <= held && held - new_bytes <= held / STEPS
    }

    /// Encodes `record` into the slot at `location`, which must be long enough.
    #[inline]
    pub(super) fn write(&mut self, location: Location, record: &Record<'_>) {
        record.encode(&mut self.chunks[location.chunk()][location.offset()..]);
    }

    /// Overwrites the value of the record at `location`, which is as long and has the same key as `record`: what stands
    /// in front of the value stays.
    #[inline]
    pub(super) fn overwrite(&mut self, location: Location, record: &Record<'_>) {
        let from = location.offset() + RECORD_HEADER_BYTES + record.key.len();
        self.chunks[location.chunk()][from..][..record.value.len()].copy_from_slice(record.value);
    }

    /// A slot for a record of `bytes` encoded bytes. Write it before anything else happens: S2.
    ///
    /// # Panics
    ///
    /// When it takes a new chunk and there are no [`Slab::chunks_left`].
    pub(super) fn allocate(&mut self, bytes: usize) -> Location {
        if bytes > SLOT_BYTES_MAX {
            let chunk =
                self.add_chunk(bytes, ChunkInfo { holds: Use::Large, slots: 1, live: 1, fresh: 1, ..VACANT });
            return Location::new(chunk, 0);
        }
        let class = class_of(bytes);
        if self.classes[class].open.is_empty() && !self.give_up_compaction(class) {
            self.grow(class);
        }
        self.take_slot(class)
    }

    /// Takes a free slot of the last open chunk of `class`, which has one.
    pub(super) fn take_slot(&mut self, class: usize) -> Location {
        let chunk = *self.classes[class].open.last().expect("a chunk with a free slot") as usize;
        let info = &mut self.infos[chunk];
        assert!(info.live < info.slots, "an open chunk has a free slot");
        let slot = info.free_head;
        let offset = if slot == NO_SLOT {
            info.fresh += 1;
            usize::from(info.fresh - 1) * slot_bytes(class)
        } else {
            let offset = usize::from(slot) * slot_bytes(class);
            let bytes = &self.chunks[chunk][offset..];
            info.free_head = u16::from_le_bytes([bytes[0], bytes[1]]);
            offset
        };
        info.live += 1;
        if info.live == info.slots {
            info.listed = NOT_LISTED;
            self.classes[class].open.pop();
        }
        self.classes[class].live += 1;
        Location::new(chunk, offset)
    }

    /// Gives back the slot at `location`.
    pub(super) fn free(&mut self, location: Location) {
        let chunk = location.chunk();
        match self.infos[chunk].holds {
            Use::Vacant => panic!("no record can be at {location:?}"),
            Use::Large => self.remove_chunk(chunk),
            Use::Class(class) => {
                self.free_slot(usize::from(class), location);
                self.settle(usize::from(class), chunk);
                self.judge(usize::from(class));
            }
        }
    }

    /// Puts the slot at `location` into its chunk's list of free ones.
    pub(super) fn free_slot(&mut self, class: usize, location: Location) {
        let chunk = location.chunk();
        let info = &mut self.infos[chunk];
        let slot = &mut self.chunks[chunk][location.offset()..][..RECORD_HEADER_BYTES];
        assert_ne!(slot[KIND_OFFSET], 0, "a slot is freed once");
        slot[..2].copy_from_slice(&info.free_head.to_le_bytes());
        slot[KIND_OFFSET] = 0;
        let number = location.offset() / slot_bytes(class);
        info.free_head = u16::try_from(number).expect("two bytes name every slot of a chunk");
        info.live -= 1;
        self.classes[class].live -= 1;
    }

    /// After a slot of `chunk` became free: lists the chunk, or removes it when it is empty and others are open.
    fn settle(&mut self, class: usize, chunk: usize) {
        let emptying = self.classes[class].compaction.is_emptying(chunk);
        let info = self.infos[chunk];
        if info.live == 0
            && !(self.classes[class].open.is_empty() || self.classes[class].open == [number(chunk)])
        {
            self.retire(class, chunk);
        } else if info.listed == NOT_LISTED && !emptying {
            self.list(class, chunk);
        }
    }

    /// Removes an empty chunk of `class`.
    pub(super) fn retire(&mut self, class: usize, chunk: usize) {
        assert_eq!(self.infos[chunk].live, 0);
        self.unlist(class, chunk);
        let slots = u64::from(self.infos[chunk].slots);
        let held = &mut self.classes[class];
        held.compaction.forget(chunk);
        held.slots -= slots;
        self.remove_chunk(chunk);
    }

    pub(super) fn list(&mut self, class: usize, chunk: usize) {
        let open = &mut self.classes[class].open;
        self.infos[chunk].listed = number(open.len());
        open.push(number(chunk));
    }

    pub(super) fn unlist(&mut self, class: usize, chunk: usize) {
        let listed = std::mem::replace(&mut self.infos[chunk].listed, NOT_LISTED);
        if listed != NOT_LISTED {
            let open = &mut self.classes[class].open;
            open.swap_remove(listed as usize);
            if let Some(moved) = open.get(listed as usize) {
                self.infos[*moved as usize].listed = listed;
            }
        }
    }

    /// Adds a chunk to `class`.
    fn grow(&mut self, class: usize) {
        let held = if self.reserved { u64::MAX } else { self.classes[class].slots };
        let slots = grown_slots(class, held);
        let slots = u16::try_from(slots).expect("at most a chunk's worth");
        let holds = Use::Class(u8::try_from(class).expect("64 classes"));
        let info = ChunkInfo { holds, slots, ..VACANT };
        let chunk = self.add_chunk(usize::from(slots) * slot_bytes(class), info);
        self.classes[class].slots += u64::from(slots);
        self.list(class, chunk);
    }

    fn add_chunk(&mut self, bytes: usize, info: ChunkInfo) -> usize {
        let chunk = if let Some(chunk) = self.vacant.pop() {
            chunk as usize
        } else {
            let chunk = self.chunks.len();
            assert!(
                chunk < self.chunks_max as usize,
                "all {chunk} chunks are in use: refuse puts without has_room_for()"
            );
            self.chunks.push(Box::default());
            self.infos.push(VACANT);
            chunk
        };
        self.chunks[chunk] = vec![0; bytes].into_boxed_slice();
        self.infos[chunk] = info;
        self.chunk_bytes += bytes as u64;
        chunk
    }

    fn remove_chunk(&mut self, chunk: usize) {
        self.chunk_bytes -= self.chunks[chunk].len() as u64;
        self.chunks[chunk] = Box::default();
        self.infos[chunk] = VACANT;
        self.vacant.push(number(chunk));
    }

    /// Every live record, encoded, in memory order.
    pub(super) fn records(&self) -> impl Iterator<Item = (Location, &[u8])> {
        self.infos.iter().enumerate().flat_map(move |(chunk, info)| {
            let stride = match info.holds {
                Use::Vacant | Use::Large => 0,
                Use::Class(class) => slot_bytes(usize::from(class)),
            };
            let live = move |slot: &usize| self.chunks[chunk][slot * stride + KIND_OFFSET] != 0;
            (0..usize::from(info.fresh)).filter(live).map(move |slot| {
                let location = Location::new(chunk, slot * stride);
                (location, self.encoded(location))
            })
        })
    }

    /// Whether the slot at `location` can be kept or given up for a record of `bytes`, without another chunk.
    pub(super) fn replaces(&self, location: Location, bytes: usize) -> bool {
        let old_bytes = self.encoded(location).len();
        // Giving up a large record frees the number of its chunk.
        old_bytes > SLOT_BYTES_MAX || self.fits(location, old_bytes, bytes)
    }

    /// Whether a chunk that is there has a free slot for a record of `bytes`.
    pub(super) fn has_slot(&self, bytes: usize) -> bool {
        bytes <= SLOT_BYTES_MAX && self.classes[class_of(bytes)].free() > 0
    }

    /// How many chunks can be added.
    #[inline]
    pub(super) fn chunks_left(&self) -> usize {
        (self.chunks_max as usize + self.vacant.len()).saturating_sub(self.chunks.len())
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        let lists =
            self.vacant.capacity() + self.classes.iter().map(|class| class.open.capacity()).sum::<usize>();
        let bookkeeping = self.chunks.capacity() * size_of::<Box<[u8]>>()
            + self.infos.capacity() * size_of::<ChunkInfo>()
            + lists * size_of::<u32>()
            + CLASSES * size_of::<Class>();
        self.chunk_bytes + bookkeeping as u64
    }
}

/// A chunk's number as the lists hold it.
#[inline]
pub(super) fn number(chunk: usize) -> u32 {
    u32::try_from(chunk).expect("fewer than CHUNKS_MAX chunks")
}
