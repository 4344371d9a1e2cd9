//! `highwater::verify` on what a life left behind, and what must agree with it:
//!
//! A1. Where disks keep their word it finds nothing wrong, in any state that a crash or a running engine may leave.
//! A2. What it names as damaged the ledger knows (I7), and where it finds nothing, the next open finds nothing either.
//! A3. The epoch that it says an open recovers is the one that the next open recovers.
//! A4. Every retained epoch is one of this history, or where disks break their word of one that was left behind, and holds what
//!     the model held at its end.
//!
//! It reads an image of the disk, in a run of its own without faults: a seed does the same with it and without.

use std::path::Path;
use std::sync::Arc;

use highwater::sim::{Disk, Executor, FaultPlan, Handle, SimDisk, SimEnv, Simulator, Streams, Trace};
use highwater::{Error, ErrorKind, Opened, VerifyOptions, VerifyReport, verify_in};
use xxhash_rust::xxh3::xxh3_128;

use crate::lattice;
use crate::oracle::CoreModel;
use crate::shape::DIRECTORY;
use crate::world::{Run, World, lock};

/// How often a life is followed by one.
const CHANCE: f64 = 0.4;

/// What verifications of a run have to do with each other and with the next open.
#[derive(Default)]
pub(crate) struct Audits {
    /// What the next open recovers, if the last verification could tell and found nothing wrong, and how many faults
    /// out of contract there had been.
    expected: Option<(Option<u64>, usize)>,
}

/// Verifies `image`.
pub(crate) fn verify(image: Disk, directory: &str, options: VerifyOptions) -> Result<VerifyReport, Error> {
    let ran = Simulator::new(0xA0D1).run(|handle: Handle| async move {
        let (executor, streams): (Arc<dyn Executor>, _) = (Arc::new(handle), Streams::new(0xA0D1));
        let disk = SimDisk::new(image, executor.clone(), &streams, FaultPlan::none(), Trace::silent());
        let env = SimEnv::new("verify", executor, disk.vfs(), &streams);
        verify_in(&env, directory, options).await
    });
    ran.unwrap_or_else(|stuck| panic!("I11: a verification is stuck: {stuck}"))
}

/// Perhaps verifies what life `number` left behind.
/// An engine may still be at work if it is not `settled`.
pub(crate) fn perhaps(run: &Run, disk: &SimDisk, number: u32, settled: bool) {
    let mut draws = Streams::new(run.plan.seed).stream(&format!("verify/{number}"));
    lock(&run.audits).expected = None;
    if lock(&run.oracle).is_lost() {
        // An interrupted restore is no database yet.
        return;
    }
    if !draws.chance(CHANCE) {
        return;
    }
    // Little memory makes it read ranges of the log in parts.
    let memory_bytes = *draws.pick(&[1, 1 << 20]);
    let options = VerifyOptions::new().state_digests(true).memory_bytes(memory_bytes);
    let report = match verify(disk.disk(), DIRECTORY, options) {
        Ok(report) => report,
        Err(error) => return refused(run, &error),
    };
    run.count(|tally| tally.verified += 1);
    for damage in &report.damage {
        let place = (&*Path::new(DIRECTORY).join(&damage.path), ErrorKind::Corrupt);
        let excused = run.plan.damage.is_some() && lattice::excused_at(run, place, &damage.to_string());
        assert!(excused, "I7: verify finds damage where nothing is damaged: {damage}\n{report}");
    }
    run.count(|tally| tally.verified_damage += u64::from(!report.is_sound()));
    states_are_the_model(run, &report);
    if !report.is_sound() {
        return;
    }
    let epoch = report.recoverable_epoch.map(|epoch| epoch.0);
    if run.plan.damage.is_none() {
        let oracle = lock(&run.oracle);
        let (floor, ceiling) = (oracle.floor(), oracle.ceiling());
        assert!(
            epoch.is_none_or(|epoch| (floor..=ceiling).contains(&epoch)),
            "I1: epochs {floor} to {ceiling} may be recovered, and verify says: {report}"
        );
        assert!(epoch.is_some() || oracle.opened == 0, "I1: verify finds no database:\n{report}");
    }
    lock(&run.audits).expected = settled.then(|| (epoch, faults(run)));
}

fn refused(run: &Run, error: &Error) {
    let before = lock(&run.oracle).opened == 0 && error.kind() == ErrorKind::Invalid;
    let path = error.path().unwrap_or(Path::new(DIRECTORY));
    let place = (path, error.kind());
    let excused = run.plan.damage.is_some()
        && (path == Path::new(DIRECTORY) || lattice::excused_at(run, place, &error.to_string()));
    assert!(before || excused, "I7: verify says: {error}");
}

/// A4.
fn states_are_the_model(run: &Run, report: &VerifyReport) {
    let oracle = lock(&run.oracle);
    for retained in &report.epochs {
        let epoch = retained.epoch.0;
        let of_another_history = run.plan.damage.is_some();
        assert!(
            of_another_history || epoch <= oracle.ceiling(),
            "I6: epoch {epoch} is retained, and the last that every core has ended is {}:\n{report}",
            oracle.ceiling()
        );
        let Some(states) = &retained.states else { continue };
        let found: Vec<_> = states.iter().map(|state| (state.keys, state.digest.0)).collect();
        if of_another_history {
            let fits = oracle.ever(epoch).any(|models| digests(&models) == found);
            assert!(fits, "I7: epoch {epoch} verified, with a state that it never had:\n{report}");
            continue;
        }
        let model = oracle.lineage(epoch).map(|models| digests(&models));
        assert_eq!(Some(found), model, "I4: epoch {epoch} verified, and it is not the model's:\n{report}");
    }
}

fn digests(models: &[CoreModel]) -> Vec<(u64, u128)> {
    models.iter().map(|core| (core.keys.len() as u64, digest(core))).collect()
}

/// The digest of docs/format.md, from the model.
fn digest(core: &CoreModel) -> u128 {
    let mut record = Vec::new();
    core.keys.iter().fold(0, |digest: u128, (key, value)| {
        record.clear();
        record.extend_from_slice(&u32::try_from(value.len()).expect("a small value").to_le_bytes());
        record.extend_from_slice(&u16::try_from(key.len()).expect("a short key").to_le_bytes());
        record.extend_from_slice(&[1, 0]);
        record.extend_from_slice(key);
        record.extend_from_slice(value);
        digest.wrapping_add(xxh3_128(&record))
    })
}

/// The next open has recovered this (A3).
pub(crate) fn opened(run: &Run, opened: &Opened<World>) {
    let epoch = opened.report.epoch.0;
    if let Some((Some(expected), before)) = lock(&run.audits).expected.take()
        && before == faults(run)
    {
        assert_eq!(epoch, expected, "I3: verify said epoch {expected}, and open recovers {epoch}");
    }
}

/// The next open was refused for damage (A2).
pub(crate) fn open_refused(run: &Run, error: &Error) {
    let damaged = matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported);
    if let Some((_, before)) = lock(&run.audits).expected.take()
        && damaged
        && before == faults(run)
    {
        panic!("I7: verify found nothing wrong, and open says: {error}");
    }
}

/// How many faults out of contract there were.
fn faults(run: &Run) -> usize {
    lock(&run.disk).as_ref().map_or(0, |disk| disk.ledger().out_of_contract().count())
}
