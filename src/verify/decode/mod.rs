//! An independent decoder of everything that a database has on disk, written from `docs/format.md` alone.
//!
//! ```text
//! ident · manifest · state_file        the one file each, field by field
//! segment ─► route ─► life             a core's log: its files, the order to read them in, what must follow what
//! record                               the encoding inside all of them
//! ```
//!
//! 1. It shares no code with the engine, so that a mistake of the engine's readers and writers together is still seen.
//!    Nothing here names anything of the crate around it: `sim/` compiles this folder a second time, as its own.
//! 2. It does no I/O and keeps no state: functions over bytes, for whoever has them, all of a file or a piece.
//! 3. No input makes it panic, and what it allocates is bounded by the bytes that it was given.

pub(crate) mod bytes;
pub(crate) mod ident;
pub(crate) mod life;
pub(crate) mod manifest;
pub(crate) mod record;
pub(crate) mod route;
pub(crate) mod segment;
pub(crate) mod state_file;
