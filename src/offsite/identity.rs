//! STORE: which database is in the store, and how its manifests are counted.
//!
//! ```text
//!  0  magic "HWSTORE\0"    8  u32 format     12  u32 boundary stride
//! 16  u128 nonce          32  IDENT, 96 bytes          128  u32 crc of 0..128
//! ```

use std::path::Path;

use bytes::Bytes;

use crate::codec::{Reader, Writer, crc};
use crate::error::{Error, ErrorCode, Result};
use crate::ids::Nonce;
use crate::limits::FORMAT_VERSION;
use crate::manifest::ident::{IDENT_BYTES, Ident};

pub(super) const STORE_NAME: &str = "STORE";

const MAGIC: &[u8; 8] = b"HWSTORE\0";
const IDENT_AT: usize = 32;
const CRC_AT: usize = IDENT_AT + IDENT_BYTES;

/// Bytes of the object.
pub(super) const STORE_BYTES: usize = CRC_AT + 4;

/// The content of STORE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoreId {
    /// Manifest numbers that one boundary mark kills.
    pub(crate) stride: u32,
    /// Tells its writer's STORE from another's.
    pub(crate) nonce: Nonce,
    /// IDENT as the first directory of the database has it.
    pub(crate) ident: Ident,
}

impl StoreId {
    /// The object's body.
    pub(crate) fn encode(&self) -> Bytes {
        assert!(self.stride > 0, "a mark kills some numbers");
        let mut bytes = Vec::with_capacity(STORE_BYTES);
        Writer(&mut bytes)
            .bytes(MAGIC)
            .u32(FORMAT_VERSION)
            .u32(self.stride)
            .u128(self.nonce.0)
            .bytes(&self.ident.encode());
        let crc = crc(0, &bytes);
        Writer(&mut bytes).u32(crc);
        assert_eq!(bytes.len(), STORE_BYTES);
        bytes.into()
    }

    /// The identity in `bytes`.
    ///
    /// # Errors
    ///
    /// `Corrupt` when it is damaged, `Unsupported` when a newer program wrote it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let path = Path::new(STORE_NAME);
        let bad =
            |why: &str| Error::corrupt(ErrorCode::StoreIdentityDamaged, path, format!("offset 0: {why}"));
        if bytes.len() != STORE_BYTES || &bytes[..MAGIC.len()] != MAGIC {
            return Err(bad("this is no STORE of a database"));
        }
        let (body, stored) = bytes.split_at(CRC_AT);
        if Reader(stored).u32() != Some(crc(0, body)) {
            return Err(bad("STORE is damaged"));
        }
        let mut fields = Reader(&body[MAGIC.len()..IDENT_AT]);
        let short = || bad("STORE is too short");
        let format = fields.u32().ok_or_else(short)?;
        if format > FORMAT_VERSION {
            return Err(Error::newer_format(path, "STORE", format));
        }
        let stride = fields.u32().ok_or_else(short)?;
        let nonce = Nonce(fields.u128().ok_or_else(short)?);
        if format == 0 || stride == 0 {
            return Err(bad("STORE is malformed"));
        }
        Ok(Self { stride, nonce, ident: Ident::decode(path, &body[IDENT_AT..])? })
    }

    /// The refusal of a store that belongs to another database than the directory with `ident`.
    pub(crate) fn foreign_to(&self, ident: &Ident) -> Error {
        let what = format!(
            "the object store holds database {}, the directory database {}: give each database a place of its own",
            self.ident.database, ident.database
        );
        Error::new(ErrorCode::OtherStore, what).at(STORE_NAME.as_ref())
    }
}
