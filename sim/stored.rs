//! What an object store holds: read from its objects alone, by the decoder that shares no code with the engine.

use std::collections::BTreeMap;

use bytes::Bytes;
use highwater::sim::StoreImage;

use crate::decode::{self, Manifest};

/// Where STORE has the stride of the boundary marks, and the number of the database (docs/format.md).
const STRIDE_AT: usize = 12;
/// See [`STRIDE_AT`].
const DATABASE_AT: usize = 48;

/// How far from its end a manifest has its timeline.
const TIMELINE_BEFORE_END: usize = 88;

/// A database in an object store.
pub(crate) struct Stored {
    /// The greatest manifest and its number; none when its creation was interrupted.
    pub(crate) head: Option<(u64, Manifest)>,
    /// The timeline of the head.
    pub(crate) timeline: u128,
    /// The greatest token of anything there.
    pub(crate) token: u64,
    /// Manifest numbers up to this one are dead.
    dead: u64,
}

/// Checksums of objects that were looked at before.
#[derive(Default)]
pub(crate) struct Sums(BTreeMap<String, (Bytes, u32)>);

impl Stored {
    /// The database in `store`; none when there is no STORE.
    ///
    /// # Errors
    ///
    /// What the format does not allow.
    pub(crate) fn read(store: &StoreImage) -> Result<Option<Self>, String> {
        let Some(id) = store.object("STORE") else { return Ok(None) };
        let stride = u32::from_le_bytes(part(&id, STRIDE_AT).ok_or("STORE is too short")?);
        let database = u128::from_le_bytes(part(&id, DATABASE_AT).ok_or("STORE is too short")?);
        let dead = greatest(store, "b/")?.unwrap_or(0) * u64::from(stride);
        let written = store.objects().filter_map(|(name, _)| name.strip_prefix("f/")?.get(..16));
        let tokens = written.filter_map(|token| u64::from_str_radix(token, 16).ok());
        let mut stored = Self { head: None, timeline: 0, token: tokens.max().unwrap_or(0), dead };
        if let Some(number) = greatest(store, "m/")? {
            let body = store.object(&format!("m/{number:020}")).unwrap_or_default();
            let timeline = body.len().checked_sub(TIMELINE_BEFORE_END).and_then(|at| part(&body, at));
            stored.timeline = u128::from_le_bytes(timeline.ok_or("the store's head is too short")?);
            let head = Manifest::read(&body, number, database, stored.timeline)
                .map_err(|why| format!("the store's head, manifest {number}: {why}"))?;
            stored.token = stored.token.max(head.token);
            stored.head = Some((number, head));
        }
        Ok(Some(stored))
    }

    /// The epoch that a restore brings back.
    pub(crate) fn epoch(&self) -> u64 {
        let newest = self.head.as_ref().and_then(|(_, head)| head.checkpoints.last());
        newest.map_or(0, |checkpoint| checkpoint.epoch)
    }

    /// Whether the head is alive, and everything that it names is there, whole.
    ///
    /// # Errors
    ///
    /// What is not so.
    pub(crate) fn check(&self, store: &StoreImage, sums: &mut Sums) -> Result<(), String> {
        let Some((number, head)) = &self.head else { return Ok(()) };
        if self.dead >= *number {
            return Err(format!("I6: the store's head {number} is dead by a mark for {}", self.dead));
        }
        let retained = head.checkpoints.iter().chain(head.kept_here());
        for file in retained.flat_map(|checkpoint| &checkpoint.files) {
            let name = file.path();
            let object = store.object(&name).ok_or_else(|| format!("I6: {name} is not in the store"))?;
            if object.len() as u64 != file.bytes || sums.of(&name, &object) != file.crc {
                return Err(format!("I6: {name} in the store is not what manifest {number} says"));
            }
        }
        Ok(())
    }
}

impl Sums {
    fn of(&mut self, name: &str, object: &Bytes) -> u32 {
        // The object is held here: where it is nothing else can be.
        let known = self
            .0
            .get(name)
            .filter(|(known, _)| known.as_ptr() == object.as_ptr() && known.len() == object.len());
        if let Some((_, sum)) = known {
            return *sum;
        }
        let sum = decode::crc(0, object);
        self.0.insert(name.to_owned(), (object.clone(), sum));
        sum
    }
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// The greatest number of an object under `prefix`.
fn greatest(store: &StoreImage, prefix: &str) -> Result<Option<u64>, String> {
    let mut greatest = None;
    for number in store.objects().filter_map(|(name, _)| name.strip_prefix(prefix)) {
        let number = number.parse::<u64>().map_err(|error| format!("{prefix}{number}: {error}"))?;
        greatest = greatest.max(Some(number));
    }
    Ok(greatest)
}
