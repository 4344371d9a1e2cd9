//! State in memory by plain maps.

use std::hash::BuildHasher;
use std::path::Path;

use hashbrown::HashMap;
use rustc_hash::{FxBuildHasher, FxHashMap};

use super::frame;
use crate::peer::{Map, MapPeer, Result};
use crate::record::{KEY_BYTES, Key, VALUE_BYTES};

const SLOT_BYTES: usize = KEY_BYTES + VALUE_BYTES;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Fx hash → arena, overwritten in place; nothing is captured.
    Arena,
    /// The same, and a record with its own crc is framed for every update.
    ArenaAndFrames,
    /// `hashbrown` with its own hasher and boxed bytes.
    Hashbrown,
    /// `ahash` and boxed bytes.
    AHash,
    /// Fx hash, key and value inside the table.
    Inline,
}

impl MapPeer for Kind {
    fn open(&self, _dir: &Path, keys: u64) -> Result<Box<dyn Map>> {
        let keys = usize::try_from(keys)?;
        let arena = |frames| Arena {
            slots: FxHashMap::with_capacity_and_hasher(keys, FxBuildHasher),
            bytes: Vec::with_capacity(keys * SLOT_BYTES),
            frames,
        };
        Ok(match self {
            Self::Arena => Box::new(arena(None)),
            Self::ArenaAndFrames => Box::new(arena(Some(Vec::with_capacity(2 * FRAMES_BYTES)))),
            Self::Hashbrown => {
                Box::new(Boxed(HashMap::<_, _, hashbrown::DefaultHashBuilder>::with_capacity(keys)))
            }
            Self::AHash => {
                Box::new(Boxed(HashMap::with_capacity_and_hasher(keys, ahash::RandomState::new())))
            }
            Self::Inline => Box::new(Inline(FxHashMap::with_capacity_and_hasher(keys, FxBuildHasher))),
        })
    }
}

/// When the buffer of frames is full, it is given up: writing it is not what is measured.
const FRAMES_BYTES: usize = 256 << 10;

/// `slots` says where in `bytes` a key's slot is: the key, then a value of [`VALUE_BYTES`].
struct Arena {
    slots: FxHashMap<Key, u32>,
    bytes: Vec<u8>,
    frames: Option<Vec<u8>>,
}

impl Map for Arena {
    fn update(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if let Some(frames) = &mut self.frames {
            if frames.len() >= FRAMES_BYTES {
                frames.clear();
            }
            frame(frames, key, value);
        }
        let key: Key = key.try_into()?;
        if let Some(slot) = self.slots.get(&key) {
            let at = *slot as usize * SLOT_BYTES + KEY_BYTES;
            self.bytes[at..at + VALUE_BYTES].copy_from_slice(value);
        } else {
            self.slots.insert(key, (self.bytes.len() / SLOT_BYTES) as u32);
            self.bytes.extend_from_slice(&key);
            self.bytes.extend_from_slice(value);
        }
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Option<u8> {
        let slot = self.slots.get(key)?;
        Some(self.bytes[*slot as usize * SLOT_BYTES + KEY_BYTES])
    }

    fn flexible(&self) -> bool {
        false
    }
}

struct Boxed<H>(HashMap<Vec<u8>, Vec<u8>, H>);

impl<H: BuildHasher> Map for Boxed<H> {
    fn update(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if let Some(old) = self.0.get_mut(key) {
            old.clear();
            old.extend_from_slice(value);
        } else {
            self.0.insert(key.to_vec(), value.to_vec());
        }
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Option<u8> {
        self.0.get(key).and_then(|value| value.first().copied())
    }
}

struct Inline(FxHashMap<Key, [u8; VALUE_BYTES]>);

impl Map for Inline {
    fn update(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.0.insert(key.try_into()?, value.try_into()?);
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Option<u8> {
        self.0.get(key).map(|value| value[0])
    }

    fn flexible(&self) -> bool {
        false
    }
}
