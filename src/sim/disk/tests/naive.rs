//! What a disk may do, written down naively: per sector, length and name the list of values that a power loss may
//! leave. Files are known by their numbers, everything is in the directory `d`, and writes are whole sectors.

use std::collections::BTreeMap;

use crate::sim::{Disk, Personality};

const SECTOR: usize = 512;

#[derive(Clone, Debug)]
pub(super) struct NaiveFile {
    /// Per sector: the platter's byte first, then every version since. A sector is one byte, repeated.
    pub(super) sectors: Vec<Vec<u8>>,
    /// The platter's length first, then every one since.
    pub(super) lens: Vec<u64>,
    /// The cache's length, which a failed sync leaves as it is.
    cached_len: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Naive {
    pub(super) files: BTreeMap<u64, NaiveFile>,
    /// Per name: the number of the file on the platter first, then every one since.
    pub(super) names: BTreeMap<String, Vec<Option<u64>>>,
    /// Renames since the last sync of the directory.
    pub(super) renames: Vec<(String, String, u64)>,
}

impl NaiveFile {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let sectors = bytes.chunks(SECTOR).map(|sector| vec![sector[0]]).collect();
        let len = bytes.len() as u64;
        Self { sectors, lens: vec![len], cached_len: len }
    }

    pub(super) fn write(&mut self, first: usize, count: usize, byte: u8) {
        for sector in first..first + count {
            self.sector(sector).push(byte);
        }
        let (len, end) = (*self.lens.last().unwrap(), ((first + count) * SECTOR) as u64);
        self.lens.push(len.max(end));
        self.cached_len = self.cached_len.max(end);
    }

    pub(super) fn set_len(&mut self, sectors: usize) {
        // A cut overwrites what it cuts off, also where nothing was written yet.
        let longest = self.lens.iter().copied().max().unwrap().max(self.cached_len);
        let longest = usize::try_from(longest).unwrap() / SECTOR;
        for sector in sectors..longest.max(self.sectors.len()) {
            self.sector(sector).push(0);
        }
        self.cached_len = (sectors * SECTOR) as u64;
        self.lens.push(self.cached_len);
    }

    /// After a good sync the newest value is the only one, after a bad one the oldest.
    pub(super) fn settle(&mut self, good: bool) {
        for versions in &mut self.sectors {
            settle(versions, good);
        }
        settle(&mut self.lens, good);
    }

    fn sector(&mut self, sector: usize) -> &mut Vec<u8> {
        if self.sectors.len() <= sector {
            self.sectors.resize(sector + 1, vec![0]);
        }
        &mut self.sectors[sector]
    }

    fn is_dirty(&self, sector: usize) -> bool {
        self.sectors.get(sector).is_some_and(|versions| versions.len() > 1)
    }

    fn check(&self, bytes: &[u8], personality: &Personality) {
        assert!(self.lens.contains(&(bytes.len() as u64)), "length {} of {:?}", bytes.len(), self.lens);
        let unit = personality.write_unit as usize / SECTOR;
        for (at, sector) in bytes.chunks(SECTOR).enumerate() {
            let zero = vec![0];
            let versions = self.sectors.get(at).unwrap_or(&zero);
            let plain = versions.iter().any(|byte| sector.iter().all(|found| found == byte));
            let first = at / unit * unit;
            let garbled =
                !personality.power_safe_overwrite && (first..first + unit).any(|one| self.is_dirty(one));
            let stale = personality.stale_extension && at * SECTOR >= usize::try_from(self.lens[0]).unwrap();
            assert!(plain || garbled || stale, "sector {at} holds {:x?}, not {versions:x?}", &sector[..4]);
        }
    }
}

fn settle<T: Copy>(values: &mut Vec<T>, newest: bool) {
    let value = if newest { *values.last().unwrap() } else { values[0] };
    *values = vec![value];
}

impl Naive {
    /// What is known of a disk after a power loss: everything is settled.
    pub(super) fn of(disk: &Disk) -> Self {
        let mut naive = Self::default();
        for (path, len) in disk.tree() {
            if len.is_none() {
                continue;
            }
            let number = disk.file_number(&path).unwrap();
            naive.files.insert(number, NaiveFile::of(&disk.read_file(&path).unwrap()));
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            naive.names.insert(name, vec![Some(number)]);
        }
        naive
    }

    pub(super) fn now(&self, name: &str) -> Option<u64> {
        self.names.get(name).and_then(|values| *values.last().unwrap())
    }

    pub(super) fn name(&mut self, name: &str, to: Option<u64>) {
        self.names.entry(name.to_owned()).or_insert_with(|| vec![None]).push(to);
    }

    pub(super) fn settle_names(&mut self, good: bool) {
        for values in self.names.values_mut() {
            settle(values, good);
        }
        self.renames.clear();
    }

    /// Panics unless a power loss may leave `image`.
    pub(super) fn check(&self, image: &Disk, personality: &Personality) {
        for (name, values) in &self.names {
            let found = image.file_number(format!("d/{name}"));
            assert!(values.contains(&found), "{name} leads to {found:?}, not {values:?}");
            if let Some(number) = found {
                let bytes = image.read_file(format!("d/{name}")).unwrap();
                self.files[&number].check(&bytes, personality);
            }
        }
        for (path, len) in image.tree().into_iter().skip(1) {
            assert!(len.is_some());
            assert!(self.names.contains_key(path.file_name().unwrap().to_str().unwrap()), "{path:?} is new");
        }
        for (from, to, number) in &self.renames {
            // Only where nothing else happened to the two names can the halves be told apart.
            if self.names[from].len() == 2 && self.names[to].len() == 2 {
                let gone = image.file_number(format!("d/{from}")).is_none();
                let there = image.file_number(format!("d/{to}")) == Some(*number);
                assert_eq!(gone, there, "half a rename of {from} to {to}");
            }
        }
    }
}
