//! The stream of changes of a database, read from its logs by a program that is not the engine.

#![expect(clippy::unwrap_used, reason = "a test says what it expects")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use highwater::env::{Blocking, StdEnv};
use highwater::vfs::StdVfs;
use highwater::wal::{WalRecord, merged};
use highwater::{
    CoreHandle, CoreId, Engine, Epoch, EpochMark, ErrorKind, FencingToken, Lsn, Opened, Options, logs_in,
};

/// Small, so that frames and reads have ends in many places.
const READ_AHEAD_BYTES: usize = 4 << 10;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// What the stream says.
#[derive(Default)]
struct Stream {
    /// Its state after each epoch that every core has ended.
    states: BTreeMap<Epoch, Model>,
    places: Vec<(FencingToken, Epoch, CoreId, Lsn)>,
}

fn options(root: &Path) -> Options {
    Options::new(root).cores(2).segment_bytes(64 << 10).batch_bytes(8 << 10)
}

/// Reads all logs, and follows them.
fn stream(root: &Path) -> Stream {
    StdEnv.block_on(async {
        let mut changes =
            merged(&StdVfs, logs_in(&StdVfs, root).await.unwrap(), READ_AHEAD_BYTES).await.unwrap();
        let mut stream = Stream::default();
        let (mut cores, mut ended) = (BTreeMap::<CoreId, Model>::new(), BTreeMap::<Epoch, usize>::new());
        while let Some(change) = changes.next().await.unwrap() {
            stream.places.push((change.token, change.epoch, change.core, change.lsn));
            let state = cores.entry(change.core).or_default();
            match change.record {
                WalRecord::Put { key, value } => drop(state.insert(key.to_vec(), value.to_vec())),
                WalRecord::Delete { key } => drop(state.remove(key)),
                WalRecord::Clear => state.clear(),
                WalRecord::EpochEnd { epoch } => {
                    assert_eq!(epoch, change.epoch, "an end is of the epoch that it ends");
                    let cores_that_ended = ended.entry(epoch).or_default();
                    *cores_that_ended += 1;
                    if *cores_that_ended == 2 {
                        stream.states.insert(
                            epoch,
                            cores
                                .values()
                                .flatten()
                                .map(|(key, value)| (key.clone(), value.clone()))
                                .collect(),
                        );
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        stream
    })
}

fn state(cores: &[CoreHandle]) -> Model {
    let entries = cores.iter().flat_map(|core| core.scan_prefix(b""));
    entries.map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())).unwrap()).collect()
}

fn change(engine: &Engine, cores: &mut [CoreHandle], round: u64) {
    for n in 0..200_u64 {
        let key = format!("key/{:03}", (n * 7 + round * 13) % 300);
        let core = &mut cores[engine.core_of(key.as_bytes()).index()];
        match n % 5 {
            4 => core.delete(key.as_bytes()).unwrap(),
            _ => core.put(key.as_bytes(), format!("{round}.{n}").as_bytes()).unwrap(),
        };
    }
    if round % 4 == 3 {
        cores[0].clear().unwrap();
    }
}

fn end_epoch(engine: &Engine, cores: &mut [CoreHandle]) -> Epoch {
    let mut ended = Epoch(0);
    for core in cores {
        ended = core.close_epoch(EpochMark::new()).unwrap();
    }
    engine.wait_durable(ended).unwrap();
    ended
}

#[test]
fn the_stream_of_all_lives_leads_to_the_state_of_every_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    let mut states = BTreeMap::new();
    for life in 0..4_u64 {
        let Opened { engine, mut cores, .. } = Engine::open(options(&root)).unwrap();
        for round in 0..5 {
            change(&engine, &mut cores, life * 5 + round);
            states.insert(end_epoch(&engine, &mut cores), state(&cores));
        }
        // Beside a writer: what has ended is there, what is open is no part of it.
        change(&engine, &mut cores, 99);
        let beside = stream(&root);
        assert!(beside.states == states, "life {life}, beside the engine");
        cores.iter_mut().for_each(CoreHandle::discard_open);
        engine.close(cores).unwrap();

        let stream = stream(&root);
        assert!(stream.states == states, "life {life}");
        assert!(stream.places.is_sorted(), "in the order of tokens, epochs, cores and LSNs");
    }
    assert_eq!(states.len(), 20, "epochs");
}

#[test]
fn the_stream_begins_behind_the_oldest_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    let Opened { engine, mut cores, .. } = Engine::open(options(&root)).unwrap();
    let mut newest = Epoch(0);
    // Until bases were rewritten twice: the log leads there from its beginning as long as only one was.
    for round in 0..40 {
        change(&engine, &mut cores, round);
        newest = end_epoch(&engine, &mut cores);
        engine.checkpoint().unwrap();
    }
    let oldest = engine.retained()[0].epoch;
    assert!(oldest > Epoch(1) && oldest < newest, "{oldest} to {newest}");
    change(&engine, &mut cores, 40);
    newest = end_epoch(&engine, &mut cores);
    let epochs: BTreeSet<_> = stream(&root).places.iter().map(|place| place.1.0).collect();
    assert_eq!(epochs, (oldest.0 + 1..=newest.0).collect(), "what follows the checkpoint of epoch {oldest}");
    engine.close(cores).unwrap();
}

#[test]
fn where_no_database_is_that_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let error = StdEnv.block_on(logs_in(&StdVfs, dir.path())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains(&dir.path().display().to_string()), "{error}");
}
