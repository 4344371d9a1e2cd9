//! Machines around one simulated object store.

use std::sync::Arc;
use std::time::Duration;

use highwater::remote::Remote;
use highwater::sim::{
    Executor, Handle, Hardware, Machine, SimEnv, SimStore, SimVfs, Simulator, StoreFaults, Streams, Trace,
};
use highwater::{CoreId, Engine, Epoch, EpochMark, Error, Offset, Opened, Options};

pub(super) type World = SimEnv<SimVfs>;

pub(super) const SECOND: Duration = Duration::from_secs(1);

/// A store, and the means to make machines.
pub(super) struct Rig {
    pub(super) sim: Handle,
    pub(super) store: SimStore,
    machines: u64,
    seed: u64,
}

/// Runs `story` with a store that does what `faults` says.
pub(super) fn story<Fut: Future<Output = ()> + 'static>(
    seed: u64,
    faults: StoreFaults,
    story: impl FnOnce(Rig) -> Fut + 'static,
) {
    let run = Simulator::new(seed).time_max(Duration::from_secs(24 * 3600)).run(async move |sim| {
        let store = SimStore::new(&Streams::new(seed).fork("store"), faults, Trace::new());
        story(Rig { sim, store, machines: 0, seed }).await;
    });
    run.unwrap_or_else(|stuck| panic!("seed {seed}: {stuck}"));
}

impl Rig {
    /// Another machine, with an empty disk.
    pub(super) fn machine(&mut self) -> Machine {
        self.machines += 1;
        let seed = self.seed * 1_000 + self.machines;
        Machine::new(&self.sim, seed, Hardware::default())
    }

    /// The store as the present process of `machine` sees it.
    pub(super) fn remote(&self, machine: &Machine) -> Remote {
        let executor: Arc<dyn Executor> = Arc::new(machine.process().clone());
        let name = format!("machine-{}", self.machines);
        Remote::new(self.store.client(&name, executor)).part_bytes(1_000).boundary_stride(2).parallel(2)
    }

    pub(super) fn options(&self, machine: &Machine) -> Options {
        Options::new("db")
            .cores(2)
            .segment_bytes(64 << 10)
            .batch_bytes(4 << 10)
            .write_unit_bytes(512)
            .checkpoint_interval(None)
            .remote(self.remote(machine))
    }

    /// Opens the database in the present process of `machine`.
    pub(super) async fn open(&self, machine: &Machine) -> Result<Opened<World>, Error> {
        Engine::open_in(machine.env(), self.options(machine)).await
    }

    /// The names in the store that begin with `prefix`.
    pub(super) fn names(&self, prefix: &str) -> Vec<String> {
        self.store.objects().into_keys().filter(|name| name.starts_with(prefix)).collect()
    }
}

/// Puts `count` keys, the same each time, with a value that tells the round, ends the epoch and waits for it.
pub(super) async fn round(opened: &mut Opened<World>, round: u64, count: u64) -> Result<Epoch, Error> {
    for number in 0..count {
        let key = number.to_le_bytes();
        let core = opened.engine.core_of(&key).index();
        let value = [round.to_le_bytes(), number.to_le_bytes()].concat();
        opened.cores[core].put(&key, &value)?;
    }
    let mut epoch = Epoch(0);
    for core in &mut opened.cores {
        let watermark = i64::try_from(round).unwrap();
        epoch = core.close_epoch(EpochMark::new().offset("source", round).watermark(watermark))?;
    }
    opened.engine.durable(epoch).await?;
    Ok(epoch)
}

/// The database is as round `expected`, of `count` keys, has left it.
pub(super) fn assert_round(opened: &Opened<World>, expected: u64, count: u64) {
    assert_state(opened, expected, count);
    let offset = &opened.report.offsets[&(CoreId(1), "source".to_owned())];
    assert_eq!(*offset, Offset::Number(expected));
}

/// The same, whichever cores have stated the offset.
pub(super) fn assert_state(opened: &Opened<World>, expected: u64, count: u64) {
    for number in 0..count {
        let key = number.to_le_bytes();
        let core = opened.engine.core_of(&key).index();
        let value = opened.cores[core].get(&key).unwrap();
        let expected = [expected.to_le_bytes(), number.to_le_bytes()].concat();
        assert_eq!(value.as_deref(), Some(&expected[..]), "key {number}");
    }
    assert_eq!(opened.report.live_keys, count);
    assert!(opened.report.offsets.values().all(|offset| *offset == Offset::Number(expected)));
    assert_eq!(opened.report.watermark, i64::try_from(expected).ok());
}
