//! Sizes that the format and the code agree on, and the assertions that tie them together.

/// The first version of the on-disk format, and the only one so far.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// Longest key, in bytes.
pub(crate) const KEY_BYTES_MAX: usize = 60 * 1024;

/// Longest value, in bytes. Options may lower it: a record must fit into half a segment.
pub(crate) const VALUE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Longest opaque source offset, in bytes.
pub(crate) const OFFSET_BYTES_MAX: usize = 1024;

/// Longest source name, in bytes.
pub(crate) const OFFSET_NAME_BYTES_MAX: usize = 255;

/// Most source offsets that one core keeps.
pub(crate) const OFFSETS_MAX: usize = 256;

/// Most source offsets that a database keeps of cores of earlier counts: as many as the cores of one count can have.
pub(crate) const INHERITED_OFFSETS_MAX: usize = OFFSETS_MAX * CORES_MAX as usize;

/// Most sinks of one database.
pub(crate) const SINKS_MAX: usize = 64;

/// Longest name of a sink, in bytes.
pub(crate) const SINK_NAME_BYTES_MAX: usize = 255;

/// Longest handle of a sink's pre-commit, in bytes.
pub(crate) const SINK_HANDLE_BYTES_MAX: usize = 4096;

/// Longest name of a pin, in bytes.
pub(crate) const PIN_NAME_BYTES_MAX: usize = 255;

/// Most cores of one database.
pub(crate) const CORES_MAX: u16 = 256;

/// Most key groups of one database.
pub(crate) const KEY_GROUPS_MAX: u16 = 32 * 1024;

/// Bytes of log buffers of one core.
pub(crate) const QUEUE_BYTES_MAX: u64 = 4 << 30;

/// Durable writes in flight of one core.
pub(crate) const DEPTH_MAX: u64 = 1_024;

/// Memory of one core for the next checkpoint, in bytes: what is left of it for a delta is within what that can index.
pub(crate) const CHECKPOINT_MEMORY_BYTES_MAX: u64 = 5 << 29;

/// Checkpoints that are kept, and spans that keep one: a manifest names all their files.
pub(crate) const RETAINED_MAX: u64 = 1_000;
pub(crate) const SPANS_MAX: u64 = 10_000;

/// Files that a manifest names, each as often as an epoch needs it: at 104 bytes they leave a third of the longest manifest to
/// everything else.
pub(crate) const MANIFEST_FILES_MAX: usize = 400_000;

/// Files that are on their way to or from an object store at once.
pub(crate) const TRANSFERS_MAX: u64 = 1_024;

/// Chunks of the state of one core, of 64 KiB or one large record each: what a location in the index can name, but
/// for those that a rebuilt state may have above them.
pub(crate) const STATE_CHUNKS_MAX: u32 = (1 << 20) - 1024;

/// Bytes of the fixed header in front of every frame's payload.
pub(crate) const FRAME_HEADER_BYTES: usize = 64;

/// Bytes of the fixed header in front of every record's key.
pub(crate) const RECORD_HEADER_BYTES: usize = 8;

/// The smallest write unit: the sector of every device in use. Torn writes tear between sectors.
pub(crate) const SECTOR_BYTES: u32 = 512;

/// The largest write unit, and the bytes that a segment's own header occupies.
pub(crate) const WRITE_UNIT_BYTES_MAX: u32 = 4096;

/// Smallest and largest `segment_bytes`.
pub(crate) const SEGMENT_BYTES_MIN: u64 = 16 * 1024;
/// See [`SEGMENT_BYTES_MIN`].
pub(crate) const SEGMENT_BYTES_MAX: u64 = 1 << 30;

const _: () = assert!(KEY_BYTES_MAX <= u16::MAX as usize, "a key's length is two bytes on disk");
const _: () = assert!(VALUE_BYTES_MAX <= u32::MAX as usize, "a value's length is four bytes on disk");
const _: () = assert!(WRITE_UNIT_BYTES_MAX.is_multiple_of(SECTOR_BYTES), "a unit is whole sectors");
const _: () = assert!(FRAME_HEADER_BYTES <= SECTOR_BYTES as usize, "a frame header tears as one sector");
const _: () = assert!(SEGMENT_BYTES_MIN >= 4 * WRITE_UNIT_BYTES_MAX as u64, "header, start and a frame");
