//! Another number of cores at an open: every key, offset and watermark is there, whenever it is cut off.

use std::collections::BTreeMap;

use highwater::sim::{FaultClass, FaultPlan};
use highwater::{CoreId, EpochMark, ErrorKind, Offset, Opened};

use super::{Rig, options, story};
use crate::Test;
use crate::world::World;

/// See [`Test`].
pub(crate) const TESTS: &[Test] = tests![
    every_number_of_cores_becomes_every_other,
    a_rescale_may_be_cut_off_at_every_call,
    a_rescale_on_a_failing_disk_loses_nothing,
    offsets_of_cores_that_are_gone_wait_for_their_heirs,
    many_offsets_of_many_counts_are_kept,
];

const CORES_MAX: u16 = 8;

/// What the database should hold.
#[derive(Clone, Default)]
struct Model {
    keys: BTreeMap<Vec<u8>, Vec<u8>>,
    epoch: u64,
}

impl Model {
    /// Changes some keys, ends an epoch on all cores, and waits until it is closed. Each core names one source, its own.
    async fn round(&mut self, opened: &mut Opened<World>) {
        self.epoch += 1;
        for number in 0..40_u64 {
            let key = format!("key {}", (number * 7 + self.epoch * 13) % 97).into_bytes();
            let core = &mut opened.cores[opened.engine.core_of(&key).index()];
            if (number + self.epoch).is_multiple_of(5) {
                core.delete(&key).expect("room");
                self.keys.remove(&key);
            } else {
                let value = format!("{number} in {}", self.epoch).into_bytes();
                core.put(&key, &value).expect("room");
                self.keys.insert(key, value);
            }
        }
        let mut epoch = highwater::Epoch(0);
        for (number, core) in (0_i64..).zip(&mut opened.cores) {
            let watermark = i64::try_from(self.epoch).expect("few") * 100 + number;
            let mark = EpochMark::new().offset(format!("source {number}"), self.epoch).watermark(watermark);
            epoch = core.close_epoch(mark).expect("room");
        }
        opened.engine.durable(epoch).await.expect("no faults");
        assert_eq!(epoch.0, self.epoch);
    }

    /// The state is the model's, and every core has its own keys alone.
    fn is(&self, opened: &Opened<World>) {
        assert_eq!(opened.report.epoch.0, self.epoch, "{}", opened.report);
        let mut found = BTreeMap::new();
        for (core, handle) in (0..).map(CoreId).zip(&opened.cores) {
            for entry in handle.scan_prefix(b"") {
                let (key, value) = entry.expect("it is in memory");
                assert_eq!(opened.engine.core_of(&key), core);
                found.insert(key.to_vec(), value.to_vec());
            }
        }
        assert_eq!(found, self.keys, "{}", opened.report);
        assert_eq!(opened.report.live_keys, self.keys.len() as u64);
        assert_eq!(opened.report.watermark, Some(i64::try_from(self.epoch).expect("few") * 100));
    }
}

fn every_number_of_cores_becomes_every_other() {
    for before in 1..=CORES_MAX {
        for after in 1..=CORES_MAX {
            story(FaultPlan::none(), async move |mut rig| {
                let mut model = Model::default();
                let mut opened = rig.recover(options(before)).await;
                model.round(&mut opened).await;
                opened.engine.checkpoint_async().await.expect("no faults");
                model.round(&mut opened).await;
                for (cores, from) in [(after, before), (before, after)] {
                    rig.kill();
                    opened = rig.recover(options(cores)).await;
                    assert_eq!(opened.report.rescaled_from, (cores != from).then_some(from));
                    model.is(&opened);
                    model.round(&mut opened).await;
                    rig.cut_power();
                    opened = rig.recover(options(cores)).await;
                    assert_eq!(opened.report.rescaled_from, None);
                    model.is(&opened);
                    model.round(&mut opened).await;
                    opened.engine.checkpoint_async().await.expect("no faults");
                }
            });
        }
    }
}

/// Whatever call of a rescale is the last one: the next open, with whichever of the two numbers, has everything.
fn a_rescale_may_be_cut_off_at_every_call() {
    for (before, after) in [(1, 3), (3, 2), (2, 5)] {
        for boundaries in 1.. {
            let (sender, receiver) = std::sync::mpsc::channel();
            story(FaultPlan::none(), async move |mut rig| {
                let model = prepared(&rig, before).await;
                rig.kill();
                let done = rig.open_for(options(after), boundaries).await.is_some();
                if boundaries % 2 == 0 {
                    rig.kill();
                } else {
                    rig.cut_power();
                }
                let next = if boundaries % 3 == 0 { before } else { after };
                goes_on(&mut rig, model, next).await;
                sender.send(done).expect("the test waits");
            });
            if receiver.recv().expect("the story was told") {
                assert!(boundaries > 200, "a rescale has more calls than {boundaries}");
                break;
            }
        }
    }
}

/// A database of `cores` cores with a checkpoint and a longer log.
async fn prepared(rig: &Rig, cores: u16) -> Model {
    let mut model = Model::default();
    let mut opened = rig.recover(options(cores)).await;
    model.round(&mut opened).await;
    opened.engine.checkpoint_async().await.expect("no faults");
    model.round(&mut opened).await;
    model
}

/// The database is `model`, and goes on to be.
async fn goes_on(rig: &mut Rig, mut model: Model, cores: u16) {
    let mut opened = rig.recover(options(cores)).await;
    model.is(&opened);
    model.round(&mut opened).await;
    opened.engine.checkpoint_async().await.expect("no faults");
    model.round(&mut opened).await;
    rig.cut_power();
    model.is(&rig.recover(options(cores)).await);
}

/// Writes and syncs fail now and then, the power is cut after each failure: sooner or later an open gets through.
fn a_rescale_on_a_failing_disk_loses_nothing() {
    let classes =
        [FaultClass::WriteError, FaultClass::SyncError, FaultClass::DirSyncError, FaultClass::ShortWrite];
    for (class, rate) in classes.into_iter().flat_map(|class| [(class, 0.01), (class, 0.05)]) {
        story(FaultPlan::none(), async move |mut rig| {
            let model = prepared(&rig, 2).await;
            rig.kill();
            rig.fail(FaultPlan::none().with(class, rate));
            let mut turns = (0..4).flat_map(|_| [3, 1, 4, 2]);
            let mut cores = 2;
            for _ in 0..1_000 {
                match rig.open(options(cores)).await {
                    Ok(opened) => {
                        model.is(&opened);
                        match turns.next() {
                            Some(next) => cores = next,
                            None => return,
                        }
                    }
                    Err(error) => {
                        let kind = error.kind();
                        assert!(matches!(kind, ErrorKind::Failed | ErrorKind::Full), "no damage: {error}");
                    }
                }
                rig.cut_power();
            }
            panic!("no open gets through");
        });
    }
}

/// Offsets stay under the cores that stated them, until any core has stated one of that name.
fn offsets_of_cores_that_are_gone_wait_for_their_heirs() {
    story(FaultPlan::none(), async |mut rig| {
        let _ = prepared(&rig, 3).await;
        let all = [(0, "source 0"), (1, "source 1"), (2, "source 2")].map(|(core, name)| (core, name, 2));
        rig.kill();
        let opened = rig.recover(options(1)).await;
        assert_eq!(offsets(&opened), all);
        rig.kill();
        let mut opened = rig.recover(options(1)).await;
        assert_eq!(offsets(&opened), all, "a crash before the first epoch");
        for (name, number) in [("source 2", 3), ("source 0", 4)] {
            let mark = EpochMark::new().offset(name, number);
            let epoch = opened.cores[0].close_epoch(mark).expect("room");
            opened.engine.durable(epoch).await.expect("no faults");
        }
        let heirs = [(0, "source 0", 4), (0, "source 2", 3), (1, "source 1", 2)];
        for checkpoint in [false, true] {
            if checkpoint {
                opened.engine.checkpoint_async().await.expect("no faults");
            }
            rig.kill();
            opened = rig.recover(options(1)).await;
            assert_eq!(offsets(&opened), heirs, "checkpoint: {checkpoint}");
        }
        rig.kill();
        opened = rig.recover(options(2)).await;
        assert_eq!(offsets(&opened), heirs, "a second rescale");
        let mark = EpochMark::new().offset("source 1", 9);
        opened.cores[0].close_epoch(EpochMark::new()).expect("room");
        let epoch = opened.cores[1].close_epoch(mark).expect("room");
        opened.engine.durable(epoch).await.expect("no faults");
        rig.kill();
        let opened = rig.recover(options(2)).await;
        assert_eq!(offsets(&opened), [(0, "source 0", 4), (0, "source 2", 3), (1, "source 1", 9)]);
    });
}

/// A core states many offsets with each count of cores: those of earlier counts are no bound of its own.
fn many_offsets_of_many_counts_are_kept() {
    story(FaultPlan::none(), async |mut rig| {
        let options = |cores| options(cores).segment_bytes(64 << 10).queue_bytes(64 << 10);
        let mut stated = 0;
        for (round, cores) in [2_u16, 4, 8, 3].into_iter().enumerate() {
            let mut opened = rig.recover(options(cores)).await;
            assert_eq!(opened.report.offsets.len(), stated, "{cores} cores");
            for core in 0..usize::from(cores) {
                let mut mark = EpochMark::new();
                for source in 0..200 {
                    if core == 0 {
                        mark = mark.offset(format!("source {source} of {round}"), source);
                        stated += 1;
                    }
                }
                opened.cores[core].close_epoch(mark).expect("room");
            }
            opened.engine.durable(opened.engine.durable_epoch().next()).await.expect("no faults");
            rig.kill();
        }
        assert_eq!(rig.recover(options(3)).await.report.offsets.len(), 800);
    });
}

fn offsets(opened: &Opened<World>) -> Vec<(u16, &str, u64)> {
    let number = |offset: &Offset| match offset {
        Offset::Number(number) => *number,
        Offset::Opaque(_) => panic!("all are numbers"),
    };
    opened
        .report
        .offsets
        .iter()
        .map(|((core, name), offset)| (core.0, name.as_str(), number(offset)))
        .collect()
}
