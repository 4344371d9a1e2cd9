//! Which part of a key decides its core.

use crate::error::{Error, ErrorCode, Result};
use crate::limits::KEY_BYTES_MAX;

/// The part of a key that decides which core owns it: keys that agree in it live together. Fixed at creation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Route {
    /// All of it.
    #[default]
    WholeKey,
    /// Its first bytes, 1 to 61,440 of them, or all of a shorter key.
    Prefix(u16),
    /// The bytes before the first one equal to this; all of a key without it.
    Until(u8),
}

impl Route {
    /// The deciding part of `key`.
    #[inline]
    pub(crate) fn of(self, key: &[u8]) -> &[u8] {
        match self {
            Self::WholeKey => key,
            Self::Prefix(bytes) => &key[..key.len().min(usize::from(bytes))],
            Self::Until(delimiter) => key.split(|byte| *byte == delimiter).next().unwrap_or(key),
        }
    }

    pub(crate) fn check(self) -> Result<()> {
        match self {
            Self::Prefix(bytes) if bytes == 0 || usize::from(bytes) > KEY_BYTES_MAX => Err(Error::new(
                ErrorCode::BadOption,
                format!("route: a prefix of {bytes} bytes; 1 to {KEY_BYTES_MAX} are possible"),
            )),
            _ => Ok(()),
        }
    }
}
