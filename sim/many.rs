//! Many keys: the state grows, shrinks and moves its records, which a few keys never make it do. What a core shows is
//! compared with a map, before and after a crash.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use highwater::sim::{
    Crash, Disk, Executor, FaultPlan, Handle, Personality, SimDisk, SimEnv, SimVfs, Simulator, Stream,
    Streams, Trace,
};
use highwater::{CoreHandle, Engine, EpochMark, Error, ErrorKind, Opened, Options};

use crate::{Test, settings};

/// See [`Test`].
pub(crate) const TESTS: &[Test] = tests![many_keys_are_all_there];

/// Distinct keys: most of the 1,024 tables of the index grow from their first 8 slots.
const KEYS: u64 = 8_000;
/// Operations of each of the three rounds.
const OPERATIONS: u64 = 16_000;
/// Bytes of values. Few size classes have more than one chunk each, so that thinning out empties some.
const VALUES: [usize; 2] = [100, 200];

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// I4 for a state of many keys.
fn many_keys_are_all_there() {
    for ordered in [false, true] {
        run(settings::one_seed().unwrap_or_else(settings::base), ordered);
    }
}

fn options(ordered: bool) -> Options {
    Options::new("/data")
        .ordered_index(ordered)
        .segment_bytes(4 << 20)
        .batch_bytes(64 << 10)
        .queue_bytes(1 << 20)
        .epoch_bytes_max(1 << 30)
}

fn run(seed: u64, ordered: bool) {
    let streams = Streams::new(seed);
    let ended = Simulator::new(seed).run(|handle: Handle| async move {
        let executor: Arc<dyn Executor> = Arc::new(handle.clone());
        let disk = Disk::new(Personality::default());
        let disk = SimDisk::new(disk, executor.clone(), &streams, FaultPlan::none(), Trace::new());
        let node = handle.node("engine");
        let env = SimEnv::new("engine", Arc::new(node.clone()), disk.vfs(), &streams);
        let mut model = Model::new();
        let mut draws = streams.stream("many");
        let opened = Engine::open_in(env.clone(), options(ordered))
            .await
            .unwrap_or_else(|error| panic!("open: {error}"));
        work(&*executor, opened, &mut model, &mut draws)
            .await
            .unwrap_or_else(|error| panic!("seed {seed:#x}: {error}"));
        node.kill();
        disk.crash(Crash::Process);
        let env: SimEnv<SimVfs> = env.reboot(executor, disk.vfs());
        let opened =
            Engine::open_in(env, options(ordered)).await.unwrap_or_else(|error| panic!("open: {error}"));
        assert_same(&opened.cores[0], &model);
    });
    ended.unwrap_or_else(|stuck| panic!("seed {seed:#x}: the run is stuck: {stuck}"));
}

/// Fills the state, thins it out, and fills it again with records of other sizes.
async fn work(
    executor: &dyn Executor,
    opened: Opened<SimEnv<SimVfs>>,
    model: &mut Model,
    draws: &mut Stream,
) -> Result<(), Error> {
    let Opened { engine, mut cores, .. } = opened;
    let core = &mut cores[0];
    for deletes in [0.1, 0.9, 0.3] {
        for _ in 0..OPERATIONS {
            let key = draws.below(KEYS).to_le_bytes();
            if draws.chance(deletes) {
                retried(executor, core, |core| core.delete(&key)).await?;
                model.remove(&key[..]);
                continue;
            }
            let mut value = vec![0; *draws.pick(&VALUES)];
            draws.fill(&mut value);
            retried(executor, core, |core| core.put(&key, &value)).await?;
            model.insert(key.to_vec(), value);
        }
        assert_same(core, model);
        let epoch = retried(executor, core, |core| core.close_epoch(EpochMark::new())).await?;
        engine.durable(epoch).await?;
    }
    Ok(())
}

/// Does `change` as soon as there is room for it.
async fn retried<T>(
    executor: &dyn Executor,
    core: &mut CoreHandle,
    mut change: impl FnMut(&mut CoreHandle) -> Result<T, Error>,
) -> Result<T, Error> {
    loop {
        match change(core) {
            Err(error) if error.kind() == ErrorKind::Busy => executor.sleep(Duration::from_millis(1)).await,
            outcome => return outcome,
        }
    }
}

/// Every key by itself, and all of them in order.
fn assert_same(core: &CoreHandle, model: &Model) {
    assert_eq!(core.len(), model.len(), "I4: the count of keys");
    for (key, value) in model {
        let found = core.get(key).unwrap_or_else(|error| panic!("I4: get: {error}"));
        assert_eq!(found.as_deref(), Some(&value[..]), "I4: key \"{}\"", key.escape_ascii());
    }
    let scanned = core.scan_prefix(b"").map(|entry| {
        let (key, value) = entry.unwrap_or_else(|error| panic!("I4: a scan: {error}"));
        (key.to_vec(), value.to_vec())
    });
    assert!(scanned.eq(model.clone()), "I4: a scan finds other records than the model");
}
