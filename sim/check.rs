//! The invariants of docs/durability.md that a forward run can see, one function each, under the same number.
//! (The others have files of their own: docs/simulator.md, "What is checked".) A violation panics: the run is over.

use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds};
use std::path::Path;

use highwater::sim::SimDisk;
use highwater::{CoreHandle, Engine, Offset, RecoveryReport};

use crate::Test;
use crate::decode::{self, FileCache};
use crate::host::Scheduler;
use crate::load::account_balance;
use crate::oracle::{CoreModel, Oracle};
use crate::plan::Plan;
use crate::profile::Profile;
use crate::shape::DIRECTORY;
use crate::sweep;
use crate::world::{Run, World, lock};

/// See [`Test`].
pub(crate) const TESTS: &[Test] = tests![what_nothing_needs_is_left_over];

/// Acknowledged ⊆ recovered.
pub(crate) fn i1_acknowledged_is_recovered(oracle: &Oracle, epoch: u64) {
    assert!(
        epoch >= oracle.floor(),
        "I1: recovered epoch {epoch}, but epoch {} was acknowledged",
        oracle.floor()
    );
}

/// Nothing is acknowledged that was not appended everywhere, and marks never move back; a failed engine acknowledges
/// nothing more.
pub(crate) fn i2_marks_are_in_order(oracle: &mut Oracle, durable: u64, failed: bool) {
    let ceiling = oracle.ceiling();
    assert!(
        durable <= ceiling,
        "I2: epoch {durable} is called durable, but some core has only ended {ceiling}"
    );
    assert!(durable >= oracle.floor(), "I2: epoch {durable} is durable, after {} was", oracle.floor());
    if failed {
        let at = *oracle.failed_at.get_or_insert(durable);
        assert_eq!(durable, at, "I2: acknowledged epoch {durable} after failing at {at}");
    }
    oracle.acknowledge(durable);
}

/// The recovered state is one closed epoch's cut on all cores.
pub(crate) fn i3_one_cut(
    oracle: &Oracle,
    engine: &Engine<World>,
    cores: &[CoreHandle],
    report: &RecoveryReport,
) {
    let (epoch, ceiling) = (report.epoch.0, oracle.ceiling());
    assert!(
        epoch <= ceiling,
        "I3: recovered epoch {epoch}, but only {ceiling} epochs were ended by all cores"
    );
    i3_cores_agree(oracle, engine, cores, report);
    if let Some(before) = oracle.token {
        assert!(report.token > before, "I3: token {} after {before}", report.token);
        assert!(!report.created, "I3: an open created the database anew");
    }
}

/// Whether no database has begun to be.
pub(crate) fn nothing_there(run: &Run) -> bool {
    let ident = Path::new(DIRECTORY).join("IDENT");
    lock(&run.disk).as_ref().is_some_and(|disk| disk.disk().file_number(ident).is_none())
}

/// An open that found nothing has created the database, or brought it back, and says so.
pub(crate) fn i3_created_once(nothing_there: bool, report: &RecoveryReport) {
    let made = report.created != report.restored;
    assert!(!nothing_there || made, "I3: an open of nothing has not created the database");
}

/// Whatever epoch was recovered, every core is at its end, and no money was made or lost on the way.
pub(crate) fn i3_cores_agree(
    oracle: &Oracle,
    engine: &Engine<World>,
    cores: &[CoreHandle],
    report: &RecoveryReport,
) {
    let epoch = report.epoch.0;
    assert_eq!(engine.durable_epoch(), report.epoch, "I3: the recovered epoch is closed");
    assert_eq!(engine.token(), report.token, "I3: one token");
    assert_eq!(cores.len(), oracle.cores(), "I3: every core is back");
    for (index, core) in cores.iter().enumerate() {
        assert_eq!(core.id().index(), index, "I3: cores in order");
        assert_eq!(core.open_epoch().0, epoch + 1, "I3: core {index} goes on behind the recovered epoch");
    }
    let balances: Vec<Option<u64>> = cores.iter().map(account_balance).collect();
    let known: Vec<u64> = balances.iter().copied().flatten().collect();
    assert!(known.is_empty() || known.len() == cores.len(), "I3: half of the accounts: {balances:?}");
    let total: u64 = known.iter().sum();
    assert!(
        known.is_empty() || total == crate::load::DEPOSIT * cores.len() as u64,
        "I3: money between cores was made or lost: {balances:?}"
    );
}

/// Checkpoint and replay together are the model.
pub(crate) fn i4_state_is_the_model(model: &[CoreModel], cores: &[CoreHandle], report: &RecoveryReport) {
    if let Some(difference) = difference(model, cores, report) {
        panic!("I4: at epoch {}: {difference}", report.epoch);
    }
}

/// The first thing in which a recovered state is not `model`.
pub(crate) fn difference(
    model: &[CoreModel],
    cores: &[CoreHandle],
    report: &RecoveryReport,
) -> Option<String> {
    let mut offsets: BTreeMap<(usize, String), Offset> = BTreeMap::new();
    for (index, (core, model)) in cores.iter().zip(model).enumerate() {
        if let Some(difference) = difference_of_core(core, model) {
            return Some(difference);
        }
        offsets.extend(model.offsets.iter().map(|(name, offset)| ((index, name.clone()), offset.clone())));
    }
    let reported: BTreeMap<_, _> = report
        .offsets
        .iter()
        .map(|((core, name), offset)| ((core.index(), name.clone()), offset.clone()))
        .collect();
    if reported != offsets {
        return Some(format!("source offsets {reported:?}, the model {offsets:?}"));
    }
    let watermark = model.iter().map(|core| core.watermark).min().flatten();
    let live: u64 = model.iter().map(|core| core.keys.len() as u64).sum();
    let (shown, wanted) = ((report.watermark, report.live_keys), (watermark, live));
    (shown != wanted).then(|| format!("watermark and live keys {shown:?}, the model {wanted:?}"))
}

/// What a core shows is what its model holds: every key, every value, in order.
pub(crate) fn i4_core_is_the_model(core: &CoreHandle, model: &CoreModel) {
    if let Some(difference) = difference_of_core(core, model) {
        panic!("I4: {difference}");
    }
}

/// What a core shows of a range is what its model holds there, in order.
pub(crate) fn i4_range_is_the_model(
    core: &CoreHandle,
    model: &CoreModel,
    range: (Bound<&[u8]>, Bound<&[u8]>),
) {
    let shown = core.range(range).map(|entry| {
        let (key, value) = entry.unwrap_or_else(|error| panic!("I4: a range of core {}: {error}", core.id()));
        (key.to_vec(), value.to_vec())
    });
    // A map refuses a range that ends before it begins; a core shows nothing of it.
    let inside = |key: &Vec<u8>| RangeBounds::<[u8]>::contains(&range, &key[..]);
    let held = model.keys.iter().filter(|(key, _)| inside(key));
    let held = held.map(|(key, value)| (key.clone(), value.to_vec()));
    assert!(shown.eq(held), "I4: core {} shows other entries of {range:?} than the model", core.id());
}

fn difference_of_core(core: &CoreHandle, model: &CoreModel) -> Option<String> {
    let mut expected = model.keys.iter();
    for entry in core.scan_prefix(b"") {
        let (key, value) = entry.unwrap_or_else(|error| panic!("I4: a scan of core {}: {error}", core.id()));
        match expected.next() {
            Some((wanted, content)) if wanted[..] == key[..] && content[..] == value[..] => {}
            other => {
                let wanted = other.map_or("nothing more".to_owned(), |(key, value)| {
                    format!("\"{}\" = {}", key.escape_ascii(), brief(value))
                });
                let (id, key) = (core.id(), key.escape_ascii());
                return Some(format!("core {id} has \"{key}\" = {}, the model {wanted}", brief(&value)));
            }
        }
    }
    if let Some((key, value)) = expected.next() {
        return Some(format!("core {} lacks \"{}\" = {}", core.id(), key.escape_ascii(), brief(value)));
    }
    let (shown, wanted) = ((core.len(), core.bytes()), (model.keys.len(), model.bytes()));
    (shown != wanted)
        .then(|| format!("core {} says {shown:?} of its keys and bytes, the model {wanted:?}", core.id()))
}

/// The beginning of a value, which says who wrote it.
fn brief(value: &[u8]) -> String {
    format!("\"{}\" ({} bytes)", value[..value.len().min(24)].escape_ascii(), value.len())
}

/// A recovery that nothing was written after is repeated exactly.
pub(crate) fn i5_recovery_repeats(oracle: &Oracle, epoch: u64) {
    if oracle.opened > 0 && oracle.ceiling() == oracle.base() && !oracle.is_lost() {
        assert_eq!(epoch, oracle.base(), "I5: a second recovery of the same logs");
    }
}

/// State and logs are bounded.
pub(crate) fn i10_memory_is_bounded(core: &CoreHandle, model: &CoreModel) {
    // Slots come in size classes, chunks and index tables have a smallest size; neither grows with overwrites.
    let bound = 4 * (model.bytes() + 32 * model.keys.len() as u64) + MEMORY_SLACK_BYTES;
    let taken = core.memory_bytes();
    assert!(taken <= bound, "I10: core {} takes {taken} bytes for {} of state", core.id(), model.bytes());
}

/// What a nearly empty state may take, and what is left over when a large one has shrunk.
const MEMORY_SLACK_BYTES: u64 = 16 << 20;

/// The files in the folders of checkpoints and manifests that nothing needs: what the head does not name, manifests beside it and
/// the one that it was derived from, and temps, those beside IDENT too.
pub(crate) fn left_over(run: &Run) -> Vec<String> {
    let Some(disk) = lock(&run.disk).as_ref().map(SimDisk::disk) else { return Vec::new() };
    let files = decode::files_of(&disk, DIRECTORY, &mut FileCache::default());
    let named = decode::named_by_head(&files).unwrap_or_else(|why| panic!("I6: {why}"));
    let manifests = files.keys().filter(|path| path.starts_with("m/")).count();
    let is_temp = |path: &str| path.rsplit_once('.').is_some_and(|(_, end)| end == "tmp");
    let is_left_over = |path: &&String| match path.split_once('/') {
        Some(("f", _)) => !named.contains(*path),
        Some(("m", _)) => manifests > MANIFESTS_MAX || is_temp(path),
        Some(_) => false,
        None => is_temp(path),
    };
    files.keys().filter(is_left_over).cloned().collect()
}

/// The head, and the manifest that it was derived from.
const MANIFESTS_MAX: usize = 2;

/// Bytes of all log files.
pub(crate) fn log_bytes(run: &Run) -> u64 {
    let logs = Path::new(DIRECTORY).join("wal");
    let disk = lock(&run.disk).as_ref().map(SimDisk::disk);
    let tree = disk.map(|disk| disk.tree()).unwrap_or_default();
    tree.iter().filter(|(path, _)| path.starts_with(&logs)).filter_map(|(_, len)| *len).sum()
}

/// What they may take after enough checkpoints: what the fallback may hold, and per core the open segment, spare ones,
/// and those around the cut of each checkpoint kept.
pub(crate) fn log_bytes_max(plan: &Plan) -> u64 {
    let tunings = plan.lives.iter().map(|life| &life.tuning).chain([&plan.last]);
    let segment_bytes = tunings.map(|tuning| tuning.segment_bytes).max().unwrap_or(0);
    let segments = u64::from(plan.shape.cores) * (6 + 2 * plan.last.retain as u64);
    plan.last.fallback_bytes_max + segments * segment_bytes
}

fn what_nothing_needs_is_left_over() {
    let run = sweep::one(Scheduler::BuiltIn, Plan::of(Profile::Forward, 1)).run;
    let disk = lock(&run.disk).clone().expect("a story has a disk");
    assert_eq!(left_over(&run), [""; 0], "a story ends without");
    let unnamed = format!("f/{:016x}-{:08x}-{:032x}.base", 1, 1, 1);
    for name in [&unnamed[..], "m/00000000000000000001.tmp", "IDENT.1.tmp"] {
        let path = format!("{DIRECTORY}/{name}");
        disk.with_disk(|disk| disk.install_file(&path, b"bytes")).expect("a new one");
        assert!(left_over(&run).contains(&name.to_owned()), "{name}: {:?}", left_over(&run));
    }
}
