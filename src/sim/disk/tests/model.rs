//! Random operations and crashes: every image is one that the naive model allows, and on a small disk every value
//! that it allows is found in some image.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use proptest::prelude::*;

use super::naive::{Naive, NaiveFile};
use crate::sim::disk::{Cover, SyncFate};
use crate::sim::rng::Streams;
use crate::sim::{AfterFailedSync, Crash, Disk, Order, Personality};

const NAMES: [&str; 4] = ["a", "b", "c", "e"];

#[derive(Clone, Debug)]
enum Op {
    Create(usize),
    Write { name: usize, first: usize, count: usize },
    Cut { name: usize, sectors: usize },
    Link(usize, usize),
    Rename(usize, usize),
    Remove(usize),
    Sync { name: usize, good: bool },
    SyncDir { good: bool },
    PowerLoss(u64),
    ProcessCrash,
    WriteBack(u64),
}

/// With early write-back no sync fails: what was lost then depends on what had been early.
fn ops(len: usize, write_back: bool) -> impl Strategy<Value = Vec<Op>> {
    let name = 0..NAMES.len();
    let good = if write_back { 1.0 } else { 0.8 };
    let op = prop_oneof![
        3 => name.clone().prop_map(Op::Create),
        8 => (name.clone(), 0..12_usize, 1..4_usize)
            .prop_map(|(name, first, count)| Op::Write { name, first, count }),
        3 => (name.clone(), 0..8_usize).prop_map(|(name, sectors)| Op::Cut { name, sectors }),
        1 => (name.clone(), name.clone()).prop_map(|(from, to)| Op::Link(from, to)),
        3 => (name.clone(), name.clone()).prop_map(|(from, to)| Op::Rename(from, to)),
        2 => name.clone().prop_map(Op::Remove),
        3 => (name, prop::bool::weighted(good)).prop_map(|(name, good)| Op::Sync { name, good }),
        2 => prop::bool::weighted(good).prop_map(|good| Op::SyncDir { good }),
        1 => any::<u64>().prop_map(move |seed| if write_back { Op::WriteBack(seed) } else { Op::ProcessCrash }),
        1 => any::<u64>().prop_map(Op::PowerLoss),
        1 => Just(Op::ProcessCrash),
    ];
    prop::collection::vec(op, 1..len)
}

fn personality() -> impl Strategy<Value = Personality> {
    (any::<[bool; 4]>(), 0..3_usize).prop_map(|([ordered, safe, stale, big], habit)| Personality {
        order: if ordered { Order::PrefixOrdered } else { Order::Paranoid },
        after_failed_sync: [AfterFailedSync::New, AfterFailedSync::Old, AfterFailedSync::Mixed][habit],
        write_unit: if big { 4096 } else { 512 },
        power_safe_overwrite: safe,
        stale_extension: stale,
        ..Personality::default()
    })
}

/// A disk and what the model thinks of it.
struct Pair {
    disk: Disk,
    naive: Naive,
    writes: u8,
}

fn path(name: usize) -> PathBuf {
    Path::new("d").join(NAMES[name])
}

impl Pair {
    fn new(personality: Personality) -> Self {
        let mut disk = Disk::new(personality);
        disk.install_dir("d").unwrap();
        disk.install_file("d/a", &[0xaa; 4 * 512]).unwrap();
        let naive = Naive::of(&disk);
        Self { disk, naive, writes: 0 }
    }

    /// Applies `op` and checks that what counts as settled is.
    fn apply(&mut self, op: &Op) {
        self.apply_unchecked(op);
        for file in self.disk.files.values().filter(|file| file.is_settled()) {
            let mut platter = file.platter.clone();
            platter.clip(platter.len());
            let mut texts = [Vec::new(), Vec::new()];
            platter.digest_into(&mut texts[0]);
            file.cache.digest_into(&mut texts[1]);
            assert_eq!(texts[0], texts[1], "after {op:?}");
        }
    }

    fn apply_unchecked(&mut self, op: &Op) {
        match *op {
            Op::Create(name) => {
                if let Ok((inode, stamp)) = self.disk.create_new(&path(name)) {
                    self.disk.complete_name(stamp);
                    self.naive.files.insert(inode.number(), NaiveFile::of(&[]));
                    self.naive.name(NAMES[name], Some(inode.number()));
                }
            }
            Op::Write { name, first, count } => {
                let Ok(inode) = self.disk.file(&path(name)) else { return };
                self.writes = self.writes % 100 + 1;
                let data = Bytes::from(vec![self.writes; count * 512]);
                let stamp = self.disk.write(inode, first as u64 * 512, &data);
                self.disk.complete(inode, stamp);
                let byte = self.writes;
                self.file(name).write(first, count, byte);
            }
            Op::Cut { name, sectors } => {
                let Ok(inode) = self.disk.file(&path(name)) else { return };
                let stamp = self.disk.set_len(inode, sectors as u64 * 512);
                self.disk.complete(inode, stamp);
                self.file(name).set_len(sectors);
            }
            Op::Link(from, to) => {
                if let Ok(stamp) = self.disk.link(&path(from), &path(to)) {
                    self.disk.complete_name(stamp);
                    let number = self.naive.now(NAMES[from]);
                    self.naive.name(NAMES[to], number);
                }
            }
            Op::Rename(from, to) => {
                if let Ok(Some(stamp)) = self.disk.rename(&path(from), &path(to)) {
                    self.disk.complete_name(stamp);
                    let number = self.naive.now(NAMES[from]);
                    self.naive.name(NAMES[from], None);
                    self.naive.name(NAMES[to], number);
                    let renamed = (NAMES[from].to_owned(), NAMES[to].to_owned(), number.unwrap());
                    self.naive.renames.push(renamed);
                }
            }
            Op::Remove(name) => {
                if let Ok(stamp) = self.disk.remove(&path(name)) {
                    self.disk.complete_name(stamp);
                    self.naive.name(NAMES[name], None);
                }
            }
            Op::Sync { .. } | Op::SyncDir { .. } => self.sync(op),
            Op::PowerLoss(seed) => {
                let before = self.naive.clone();
                self.disk.crash(Crash::Power(&mut Streams::new(seed).stream("power")));
                before.check(&self.disk, &self.disk.personality());
                self.reread();
            }
            Op::ProcessCrash => {
                let before = self.disk.hash();
                self.disk.crash(Crash::Process);
                assert_eq!(self.disk.hash(), before, "the cache survives");
            }
            Op::WriteBack(seed) => {
                self.disk.write_back(&mut Streams::new(seed).stream("back"));
            }
        }
    }

    fn sync(&mut self, op: &Op) {
        let mut choices = Streams::new(0).stream("sync");
        let began = self.disk.stamp();
        let fate = |good| if good { SyncFate::Done } else { SyncFate::FailedAllLost };
        match *op {
            Op::Sync { name, good } => {
                let Ok(inode) = self.disk.file(&path(name)) else { return };
                self.disk.sync_data(inode, Cover::CompletedBy(began), fate(good), &mut choices);
                self.file(name).settle(good);
            }
            Op::SyncDir { good } => {
                let directory = self.disk.directory(Path::new("d")).unwrap();
                self.disk.sync_dir(directory, began, fate(good), &mut choices);
                if good {
                    self.naive.settle_names(true);
                } else {
                    // The cache keeps names that the platter lost: the model starts again from a power loss.
                    self.naive.settle_names(false);
                    self.disk.crash(Crash::Power(&mut Streams::new(0).stream("power")));
                    self.naive.check(&self.disk, &self.disk.personality());
                    self.reread();
                }
            }
            _ => unreachable!("only syncs come here"),
        }
    }

    /// After a power loss. Garbled sectors are overwritten with bytes that the model can describe.
    fn reread(&mut self) {
        for (path, len) in self.disk.tree() {
            let Some(len) = len else { continue };
            let bytes = self.disk.read_file(&path).unwrap();
            for sector in 0..usize::try_from(len).unwrap() / 512 {
                let byte = bytes[sector * 512];
                self.disk.scribble(&path, sector as u64 * 512, &[byte; 512]).unwrap();
            }
        }
        self.naive = Naive::of(&self.disk);
    }

    fn file(&mut self, name: usize) -> &mut NaiveFile {
        let number = self.naive.now(NAMES[name]).unwrap();
        self.naive.files.get_mut(&number).unwrap()
    }
}

/// Applies `ops`, and checks a hundred of the images that a power loss may leave behind them.
fn check(personality: Personality, ops: &[Op], seed: u64) {
    let mut pair = Pair::new(personality);
    for op in ops {
        pair.apply(op);
    }
    let mut seen = 0;
    for image in pair.disk.images(100, seed) {
        pair.naive.check(&image, &personality);
        assert_eq!(image.pending(), 0);
        seen += 1;
    }
    assert!(seen > 0);
}

/// The sync of an extension failed. The cache shows it, and a cut writes over it, so that its unit may be garbled.
#[test]
fn a_cut_writes_over_what_only_the_cache_has() {
    let personality = Personality {
        after_failed_sync: AfterFailedSync::New,
        write_unit: 4096,
        power_safe_overwrite: false,
        ..Personality::default()
    };
    let cut = |sectors| Op::Cut { name: 2, sectors };
    check(personality, &[Op::Create(2), cut(6), Op::Sync { name: 2, good: false }, cut(1)], 0);
}

/// So many images at most are all of them.
const MANY: u64 = 20_000;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_image_is_one_that_a_disk_may_leave(
        personality in personality(),
        ops in prop_oneof![ops(24, true), ops(24, false)],
        seed in any::<u64>(),
    ) {
        check(personality, &ops, seed);
    }

    #[test]
    fn every_value_that_a_disk_may_leave_is_in_some_image(ops in ops(5, false)) {
        let personality =
            Personality { power_safe_overwrite: true, stale_extension: false, ..Personality::default() };
        let mut pair = Pair::new(personality);
        for op in &ops {
            pair.apply(op);
        }
        let images: Vec<Disk> = pair.disk.images(MANY, 0).collect();
        prop_assume!((images.len() as u64) < MANY);
        for (name, values) in &pair.naive.names {
            for value in values {
                let found = images.iter().any(|image| image.file_number(format!("d/{name}")) == *value);
                prop_assert!(found, "{} never leads to {:?}", name, value);
            }
        }
        let bytes: Vec<Option<Vec<u8>>> = images.iter().map(|image| image.read_file("d/a")).collect();
        let Some([Some(number)]) = pair.naive.names.get("a").map(|values| &values[..]) else { return Ok(()) };
        let file = &pair.naive.files[number];
        for len in &file.lens {
            prop_assert!(bytes.iter().flatten().any(|bytes| bytes.len() as u64 == *len), "never {} long", len);
        }
        let longest = *file.lens.iter().max().unwrap();
        for (at, versions) in file.sectors.iter().enumerate() {
            for byte in versions.iter().filter(|_| (at * 512) as u64 + 512 <= longest) {
                let found = bytes.iter().flatten().any(|bytes| bytes.get(at * 512) == Some(byte));
                prop_assert!(found, "sector {} never holds {}", at, byte);
            }
        }
    }
}
