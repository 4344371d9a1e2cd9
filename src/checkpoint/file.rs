//! The fixed parts of a checkpoint file: header and trailer, hand-coded.
//!
//! ```text
//! header (96)                                             trailer (64), the file's last bytes
//!  0  magic "HWSTATE\0"   48  u64 token                    0  magic "HWSTEND\0"
//!  8  u32 format          56  u32 attempt                  8  u64 index offset
//! 12  u8 kind             60  u16 cores                   16  u64 index bytes
//! 13  u8 zero             62  zeroes                      24  u64 blocks
//! 14  u16 core            64  u64 from epoch              32  u32 index crc
//! 16  u128 database       72  u64 through epoch           36  u32 footer bytes
//! 32  u128 uuid           80  zeroes                      40  u32 footer crc
//!                         92  u32 crc of 0..92            44  zeroes           60  u32 crc of 0..60
//!
//! file = header  block+  index  footer  trailer           an empty file has no block
//! ```
//!
//! The header's crc is the *salt*: it seeds every other crc of the file, so that no part of another file passes.

use std::path::{Path, PathBuf};

use crate::codec::{Reader, Writer, crc};
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{CoreId, DatabaseId, Epoch};
use crate::limits::FORMAT_VERSION;
use crate::manifest::{CheckpointFile, FileKind, FileName};

pub(super) const HEADER_BYTES: usize = 96;
pub(super) const TRAILER_BYTES: usize = 64;

const HEADER_MAGIC: &[u8; 8] = b"HWSTATE\0";
const TRAILER_MAGIC: &[u8; 8] = b"HWSTEND\0";

/// The file `name` of the database at `root`.
pub(crate) fn file_path(root: &Path, name: &FileName) -> PathBuf {
    root.join("f").join(name.to_string())
}

/// What a file says of itself before its first block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) database: DatabaseId,
    pub(crate) name: FileName,
    pub(crate) core: CoreId,
    /// Of how many.
    pub(crate) cores: u16,
    /// The epoch behind which its changes begin; zero for the beginning, and in every base.
    pub(crate) from_epoch: Epoch,
    pub(crate) through_epoch: Epoch,
}

impl Header {
    /// The header of the file that a manifest of `database` lists as `file`.
    pub(super) fn of(database: DatabaseId, file: &CheckpointFile) -> Self {
        let CheckpointFile { name, core, cores, from_epoch, through_epoch, .. } = *file;
        Self { database, name, core, cores, from_epoch, through_epoch }
    }

    /// The bytes, and the salt.
    ///
    /// # Panics
    ///
    /// When it names no file that can be: a listed one was checked with its manifest.
    pub(super) fn encode(&self) -> (Vec<u8>, u32) {
        assert!(self.core.0 < self.cores, "{self:?}: a core of its count");
        assert!(self.from_epoch < self.through_epoch, "{self:?}: a file holds some epoch's changes");
        assert!(self.name.kind == FileKind::Delta || self.from_epoch.0 == 0, "{self:?}: a base is whole");
        let kind = match self.name.kind {
            FileKind::Base => 1,
            FileKind::Delta => 2,
        };
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        Writer(&mut bytes)
            .bytes(HEADER_MAGIC)
            .u32(FORMAT_VERSION)
            .u8(kind)
            .u8(0)
            .u16(self.core.0)
            .u128(self.database.0)
            .u128(self.name.uuid.0)
            .u64(self.name.token.0)
            .u32(self.name.attempt)
            .u16(self.cores)
            .u16(0)
            .u64(self.from_epoch.0)
            .u64(self.through_epoch.0)
            .bytes(&[0; 12]);
        let salt = crc(0, &bytes);
        Writer(&mut bytes).u32(salt);
        assert_eq!(bytes.len(), HEADER_BYTES);
        (bytes, salt)
    }

    /// The salt of the header `bytes` of the file `path`, which must be this one to the byte.
    ///
    /// # Errors
    ///
    /// `Corrupt` when it is not, `Unsupported` when a newer program wrote it.
    pub(super) fn expect(&self, path: &Path, bytes: &[u8]) -> Result<u32> {
        let bad =
            |what: &str| Error::corrupt(ErrorCode::CheckpointDamaged, path, format!("offset 0: {what}"));
        let (front, stored) = bytes.split_at_checked(HEADER_BYTES - 4).ok_or_else(|| bad("no header"))?;
        let intact = front.starts_with(HEADER_MAGIC) && Reader(stored).u32() == Some(crc(0, front));
        if !intact {
            return Err(bad("the header is damaged"));
        }
        let format = Reader(&front[HEADER_MAGIC.len()..]).u32().unwrap_or(0);
        if format > FORMAT_VERSION {
            return Err(Error::newer_format(path, "a checkpoint file", format));
        }
        let (expected, salt) = self.encode();
        if bytes == expected { Ok(salt) } else { Err(bad("this is another file than the manifest names")) }
    }
}

/// Where the parts behind the blocks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trailer {
    pub(super) index_offset: u64,
    pub(super) index_bytes: u64,
    pub(super) blocks: u64,
    pub(super) index_crc: u32,
    pub(super) footer_bytes: u32,
    pub(super) footer_crc: u32,
}

impl Trailer {
    pub(super) fn encode(&self, salt: u32) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(TRAILER_BYTES);
        Writer(&mut bytes)
            .bytes(TRAILER_MAGIC)
            .u64(self.index_offset)
            .u64(self.index_bytes)
            .u64(self.blocks)
            .u32(self.index_crc)
            .u32(self.footer_bytes)
            .u32(self.footer_crc)
            .bytes(&[0; 16]);
        let crc = crc(salt, &bytes);
        Writer(&mut bytes).u32(crc);
        assert_eq!(bytes.len(), TRAILER_BYTES);
        bytes
    }

    /// The trailer in `bytes`, the end of the file `path` of `file_bytes`. Its parts fill the file exactly.
    ///
    /// # Errors
    ///
    /// `Corrupt`.
    pub(super) fn decode(path: &Path, bytes: &[u8], salt: u32, file_bytes: u64) -> Result<Self> {
        let bad = |what: &str| {
            let offset = file_bytes.saturating_sub(TRAILER_BYTES as u64);
            Error::corrupt(ErrorCode::CheckpointDamaged, path, format!("offset {offset}: {what}"))
        };
        let (front, stored) = bytes.split_at_checked(TRAILER_BYTES - 4).ok_or_else(|| bad("no trailer"))?;
        if !front.starts_with(TRAILER_MAGIC) || Reader(stored).u32() != Some(crc(salt, front)) {
            return Err(bad("the trailer is damaged"));
        }
        let mut fields = Reader(&front[TRAILER_MAGIC.len()..]);
        let trailer = Self::decode_fields(&mut fields).ok_or_else(|| bad("the trailer is malformed"))?;
        let end = trailer
            .index_offset
            .checked_add(trailer.index_bytes)
            .and_then(|end| end.checked_add(u64::from(trailer.footer_bytes)))
            .and_then(|end| end.checked_add(TRAILER_BYTES as u64));
        if trailer.index_offset < HEADER_BYTES as u64 || end != Some(file_bytes) {
            return Err(bad("the trailer's parts do not fill the file"));
        }
        Ok(trailer)
    }

    fn decode_fields(fields: &mut Reader<'_>) -> Option<Self> {
        let trailer = Self {
            index_offset: fields.u64()?,
            index_bytes: fields.u64()?,
            blocks: fields.u64()?,
            index_crc: fields.u32()?,
            footer_bytes: fields.u32()?,
            footer_crc: fields.u32()?,
        };
        fields.0.iter().all(|&byte| byte == 0).then_some(trailer)
    }
}
