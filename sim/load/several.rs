//! Operations on several keys at once, and on ranges of them.

use std::ops::Bound;
use std::sync::Arc;

use highwater::ErrorKind;

use super::{Stop, User};
use crate::check;
use crate::explain::record::{self, Event};
use crate::oracle::Change;
use crate::step::Step;
use crate::world::lock;

/// Most keys of one call.
const KEYS_MAX: u64 = 24;

/// Ranges of one scan.
const RANGES: usize = 3;

impl User {
    /// Some keys of `core` beside that of `step`: they may be the same.
    fn some_keys(&mut self, core: usize, step: &Step) -> Vec<Vec<u8>> {
        let count = self.stream.range(1, KEYS_MAX);
        let numbers: Vec<u64> = (0..count).map(|_| step.key.wrapping_add(self.stream.below(8))).collect();
        numbers.into_iter().filter_map(|number| self.key(core, number)).collect()
    }

    /// One call for several keys; what it did not take is tried once more, or left alone.
    pub(super) async fn put_many(&mut self, core: usize, step: &Step) -> Result<(), Stop> {
        let keys = self.some_keys(core, step);
        let entries: Vec<(Vec<u8>, Arc<[u8]>)> =
            keys.into_iter().map(|key| (key.clone(), self.value(step.len, key.len()))).collect();
        let mut rest = &entries[..];
        for _ in 0..2 {
            let first = self.cores[core].put_many::<Vec<u8>, Arc<[u8]>>(&[]).map_or(0, |lsns| lsns.start.0);
            let (applied, error) = match self.cores[core].put_many(rest) {
                Ok(lsns) => {
                    assert_eq!(lsns.end.0 - lsns.start.0, rest.len() as u64, "I2: an LSN for each entry");
                    (rest.len(), None)
                }
                Err(failed) => {
                    assert_ne!(failed.error.kind(), ErrorKind::Invalid, "put_many: {failed}");
                    (failed.applied, Some(failed.error))
                }
            };
            let (done, left) = rest.split_at(applied);
            for (lsn, (key, value)) in (first..).zip(done) {
                self.run.trace.mix("change: core, LSN", core as u64, lsn);
                record::note(|| Event::Appended { core, lsn });
                lock(&self.run.oracle).change(core, Change::Put(key.clone(), Arc::clone(value)));
            }
            rest = left;
            match error {
                Some(error) => self.make_room(core, error).await?,
                None => break,
            }
        }
        Ok(())
    }

    /// I4 of one call for several keys.
    pub(super) fn get_many(&mut self, core: usize, step: &Step) {
        let keys = self.some_keys(core, step);
        let oracle = lock(&self.run.oracle);
        let model = &oracle.live(core).keys;
        let mut found = 0;
        for (key, value) in keys.iter().zip(self.cores[core].get_many(&keys)) {
            let value = value.unwrap_or_else(|error| panic!("I4: get_many: {error}"));
            let wanted = model.get(key).map(|value| &value[..]);
            assert_eq!(value.as_deref(), wanted, "I4: get_many \"{}\"", key.escape_ascii());
            found += 1;
        }
        assert_eq!(found, keys.len(), "I4: get_many answers for every key");
    }

    /// I4 of some ranges, between keys that are there and keys that are not.
    pub(super) fn ranges(&mut self, core: usize, step: &Step) {
        for _ in 0..RANGES {
            let mut ends = self.some_keys(core, step);
            ends.push(b"0".to_vec());
            ends.sort();
            let bound = |kind: u64, key| match kind {
                0 => Bound::Unbounded,
                1 => Bound::Excluded(key),
                _ => Bound::Included(key),
            };
            let (low, high) = (&ends[0][..], &ends[ends.len() - 1][..]);
            let bounds = (bound(self.stream.below(3), low), bound(self.stream.below(3), high));
            check::i4_range_is_the_model(&self.cores[core], lock(&self.run.oracle).live(core), bounds);
        }
    }
}
