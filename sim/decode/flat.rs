//! A core's keys, values and offsets as bytes: equal for equal states and no others, and compared at once.
//!
//! ```text
//! per key in order     1  u32 key bytes    u32 value bytes    key    value
//! per offset in order  2  u32 name bytes   u32 value bytes    name   kind and value
//! ```

use std::fmt;
use std::sync::Arc;

use super::format::bytes::{slice, u8_at, u32_at, u64_at};
use super::format::record::Offset;
use super::state::CoreState;

/// See the module. The watermark is no part of it: what an open reports has one for all cores.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Flat(Arc<[u8]>);

const KEY: u8 = 1;
const OFFSET: u8 = 2;

/// A state on its way to be flat.
#[derive(Default)]
pub(crate) struct Flattener(Vec<u8>);

impl Flattener {
    fn entry(&mut self, what: u8, name: &[u8], value: &[&[u8]]) {
        let bytes = |count: usize| u32::try_from(count).expect("a small entry").to_le_bytes();
        self.0.push(what);
        self.0.extend_from_slice(&bytes(name.len()));
        self.0.extend_from_slice(&bytes(value.iter().map(|part| part.len()).sum()));
        self.0.extend_from_slice(name);
        for part in value {
            self.0.extend_from_slice(part);
        }
    }

    /// Adds a key, which is greater than those before.
    pub(crate) fn key(&mut self, key: &[u8], value: &[u8]) {
        self.entry(KEY, key, &[value]);
    }

    /// Adds an offset, behind all keys; its name is greater than those before.
    pub(crate) fn offset(&mut self, name: &str, offset: &Offset) {
        match offset {
            Offset::Number(number) => self.entry(OFFSET, name.as_bytes(), &[&[0], &number.to_le_bytes()]),
            Offset::Opaque(bytes) => self.entry(OFFSET, name.as_bytes(), &[&[1], bytes]),
        }
    }

    /// The flat state.
    pub(crate) fn end(self) -> Flat {
        Flat(self.0.into())
    }
}

impl Flat {
    /// `state` without its watermark.
    pub(crate) fn of(state: &CoreState) -> Self {
        let mut flat = Flattener::default();
        state.values.iter().for_each(|(key, value)| flat.key(key, value));
        state.offsets.iter().for_each(|(name, offset)| flat.offset(name, offset));
        flat.end()
    }

    /// The state, without a watermark.
    pub(crate) fn state(&self) -> CoreState {
        let mut state = CoreState::default();
        let mut at = 0;
        while at < self.0.len() {
            at += Self::take(&self.0[at..], &mut state).expect("a Flattener wrote it");
        }
        state
    }

    fn take(bytes: &[u8], state: &mut CoreState) -> Result<usize, String> {
        let (name_bytes, value_bytes) = (u32_at(bytes, 1)? as usize, u32_at(bytes, 5)? as usize);
        let (name, value) = (slice(bytes, 9, name_bytes)?, slice(bytes, 9 + name_bytes, value_bytes)?);
        if bytes[0] == KEY {
            state.values.insert(name.to_vec(), value.to_vec());
        } else {
            let offset = match u8_at(value, 0)? {
                0 => Offset::Number(u64_at(value, 1)?),
                _ => Offset::Opaque(value[1..].to_vec()),
            };
            state.offsets.insert(String::from_utf8_lossy(name).into_owned(), offset);
        }
        Ok(9 + name_bytes + value_bytes)
    }
}

impl fmt::Debug for Flat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.state().values.len())
    }
}
