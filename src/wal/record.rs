//! A record as a reader of the log sees it, and as a writer gives it.

use crate::codec::{Record, RecordKind, record_bytes};
use crate::ids::{Epoch, FencingToken};
use crate::wal::epoch_end;

/// One change of the state, or the end of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WalRecord<'a> {
    /// The key has this value from here on.
    Put {
        /// The key.
        key: &'a [u8],
        /// The value.
        value: &'a [u8],
    },
    /// The key has no value from here on.
    Delete {
        /// The key.
        key: &'a [u8],
    },
    /// No key of this core has a value from here on.
    Clear,
    /// The core's epoch ends here.
    EpochEnd {
        /// The epoch.
        epoch: Epoch,
    },
}

impl<'a> WalRecord<'a> {
    /// What `record` says. An epoch end that is none cannot be here: readers have checked it.
    pub(crate) fn of(record: &Record<'a>) -> Self {
        match record.kind {
            RecordKind::Put => Self::Put { key: record.key, value: record.value },
            RecordKind::Delete => Self::Delete { key: record.key },
            RecordKind::Clear => Self::Clear,
            RecordKind::EpochEnd => {
                let epoch = epoch_end::epoch_of(record.value).expect("a reader has checked the mark");
                Self::EpochEnd { epoch }
            }
        }
    }

    /// Bytes of the record in the engine's encoding, of its key and of its value.
    #[inline]
    pub(crate) fn sizes(&self) -> (usize, usize, usize) {
        let (key_bytes, value_bytes) = match self {
            Self::Put { key, value } => (key.len(), value.len()),
            Self::Delete { key } => (key.len(), 0),
            Self::Clear => (0, 0),
            Self::EpochEnd { .. } => (0, epoch_end::EPOCH_END_BYTES_MIN),
        };
        (record_bytes(key_bytes, value_bytes), key_bytes, value_bytes)
    }

    /// Calls `with` with the record in the engine's encoding.
    #[inline]
    pub(crate) fn encoded<T>(&self, token: FencingToken, with: impl FnOnce(&Record<'_>) -> T) -> T {
        match *self {
            Self::Put { key, value } => with(&Record { kind: RecordKind::Put, key, value }),
            Self::Delete { key } => with(&Record { kind: RecordKind::Delete, key, value: &[] }),
            Self::Clear => with(&Record { kind: RecordKind::Clear, key: &[], value: &[] }),
            Self::EpochEnd { epoch } => {
                let mark = epoch_end::bare(epoch, token);
                with(&Record { kind: RecordKind::EpochEnd, key: &[], value: &mark })
            }
        }
    }
}
