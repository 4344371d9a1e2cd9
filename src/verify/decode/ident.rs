//! IDENT: who the database is, and how keys are told apart.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::bytes::{crc, slice, u8_at, u16_at, u32_at, u64_at, u128_at};

/// The file's length.
pub(crate) const IDENT_BYTES: usize = 96;

/// What IDENT says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ident {
    pub(crate) database: u128,
    pub(crate) timeline: u128,
    pub(crate) unit: u32,
    pub(crate) hash_seed: u64,
    pub(crate) key_groups: u16,
    pub(crate) route: KeyRoute,
    pub(crate) created_ms: u64,
}

/// The part of a key that is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyRoute {
    Whole,
    First(u16),
    Before(u8),
}

impl Ident {
    /// Reads the whole file.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() != IDENT_BYTES
            || &bytes[..8] != b"HWIDENT\0"
            || crc(0, &bytes[..92]) != u32_at(bytes, 92)?
        {
            return Err("IDENT is damaged".into());
        }
        if u32_at(bytes, 8)? != 1 {
            return Err(format!("IDENT is of format {}", u32_at(bytes, 8)?));
        }
        let route = match (u8_at(bytes, 60)?, u8_at(bytes, 61)?, u16_at(bytes, 62)?) {
            (0, 0, 0) => KeyRoute::Whole,
            (1, 0, count) if count > 0 => KeyRoute::First(count),
            (2, delimiter, 0) => KeyRoute::Before(delimiter),
            other => return Err(format!("IDENT has the route {other:?}")),
        };
        let (unit, hash, key_groups) = (u32_at(bytes, 12)?, u16_at(bytes, 56)?, u16_at(bytes, 58)?);
        let zeroes = slice(bytes, 72, 20)?.iter().all(|byte| *byte == 0);
        if ![512, 4096].contains(&unit) || hash != 1 || !(1..=32_768).contains(&key_groups) || !zeroes {
            return Err(format!("IDENT has the write unit {unit}, the hash {hash}, {key_groups} key groups"));
        }
        Ok(Self {
            database: u128_at(bytes, 16)?,
            timeline: u128_at(bytes, 32)?,
            unit,
            hash_seed: u64_at(bytes, 48)?,
            key_groups,
            route,
            created_ms: u64_at(bytes, 64)?,
        })
    }

    /// The group of `key`: the high bits of its route's hash, scaled.
    pub(crate) fn group_of(&self, key: &[u8]) -> u16 {
        let routed = match self.route {
            KeyRoute::Whole => key,
            KeyRoute::First(count) => &key[..key.len().min(usize::from(count))],
            KeyRoute::Before(delimiter) => {
                &key[..key.iter().position(|byte| *byte == delimiter).unwrap_or(key.len())]
            }
        };
        let scaled =
            (u128::from(xxh3_64_with_seed(routed, self.hash_seed)) * u128::from(self.key_groups)) >> 64;
        u16::try_from(scaled).unwrap_or(u16::MAX)
    }
}
