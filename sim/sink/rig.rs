//! What the scenarios work with: machines around one external system, and perhaps one object store, and who writes rows.

#![expect(clippy::unwrap_used, reason = "a scenario says what it expects")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use highwater::remote::Remote;
use highwater::sim::{
    Executor, Handle, Hardware, Machine, SimEnv, SimStore, SimVfs, Simulator, StoreFaults, Streams, Trace,
};
use highwater::sink::FileSink;
use highwater::{CoreId, Engine, Epoch, EpochMark, Error, ErrorKind, Offset, Opened, Options, Standing};

use super::outlet::{Manners, Outlet, OutletSink};

pub(super) type World = SimEnv<SimVfs>;

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) const CORES: u16 = 2;

/// Machines around one outlet, and perhaps one object store.
pub(super) struct Rig {
    pub(super) sim: Handle,
    pub(super) outlet: Outlet,
    pub(super) store: SimStore,
    seed: u64,
    machines: u64,
}

/// The sinks of one open.
pub(super) struct Writers {
    pub(super) outlet: OutletSink,
    pub(super) files: FileSink<World>,
}

pub(super) fn story<Fut: Future<Output = ()> + 'static>(seed: u64, story: impl FnOnce(Rig) -> Fut + 'static) {
    let run = Simulator::new(seed).time_max(Duration::from_secs(24 * 3600)).run(async move |sim| {
        let manners =
            Manners { latency_ms: (0, 3), late_max: SECOND * 60, in_doubt_max: 1_000, ..Manners::default() };
        let outlet = Outlet::new(Streams::new(seed), manners, Trace::new());
        let store = SimStore::new(&Streams::new(seed).fork("store"), StoreFaults::none(), Trace::new());
        story(Rig { sim, outlet, store, seed, machines: 0 }).await;
    });
    run.unwrap_or_else(|stuck| panic!("seed {seed}: {stuck}"));
}

impl Rig {
    pub(super) fn machine(&mut self) -> Machine {
        self.machine_with(Hardware::default())
    }

    pub(super) fn machine_with(&mut self, hardware: Hardware) -> Machine {
        self.machines += 1;
        Machine::new(&self.sim, self.seed * 1_000 + self.machines, hardware)
    }

    pub(super) fn options(&self, machine: &Machine) -> (Options, Writers) {
        options(&self.outlet, machine.env(), Arc::new(machine.process().clone()))
    }

    pub(super) async fn open(&self, machine: &Machine) -> Result<User, Error> {
        let (options, writers) = self.options(machine);
        open(machine.env(), options, writers).await
    }

    /// The same, with an object store. Files would be lost with the machine.
    pub(super) async fn open_remote(&self, machine: &Machine) -> Result<User, Error> {
        let executor: Arc<dyn Executor> = Arc::new(machine.process().clone());
        let remote = Remote::new(self.store.client("engine", Arc::clone(&executor))).part_bytes(1_000);
        let writers = Writers {
            outlet: self.outlet.client("engine", executor),
            files: FileSink::in_env(machine.env(), "unused"),
        };
        let options = plain_options().remote(remote).sink("outlet", writers.outlet.clone());
        open(machine.env(), options, writers).await
    }

    /// Every row that the outlet shows, per core: 1, 2, 3 …
    pub(super) fn assert_dense(&self) -> [u64; CORES as usize] {
        [0, 1].map(|core| {
            let (rows, forgotten) = self.outlet.rows(CoreId(core));
            super::dense("outlet", usize::from(core), &rows, &forgotten);
            rows.last().copied().unwrap_or(0)
        })
    }
}

pub(super) fn plain_options() -> Options {
    Options::new("db")
        .cores(CORES)
        .segment_bytes(64 << 10)
        .batch_bytes(4 << 10)
        .write_unit_bytes(512)
        .checkpoint_interval(None)
}

pub(super) fn options(outlet: &Outlet, env: World, executor: Arc<dyn Executor>) -> (Options, Writers) {
    let writers = Writers { outlet: outlet.client("engine", executor), files: FileSink::in_env(env, "out") };
    let options = plain_options().sink("outlet", writers.outlet.clone()).sink("files", writers.files.clone());
    (options, writers)
}

/// An open database, with what its cores have written.
pub(super) struct User {
    pub(super) opened: Opened<World>,
    pub(super) writers: Writers,
    pub(super) rows: [u64; CORES as usize],
}

pub(super) async fn open(env: World, options: Options, writers: Writers) -> Result<User, Error> {
    let opened = Engine::open_in(env, options).await?;
    let rows = [0, 1].map(|core| match opened.report.offsets.get(&(CoreId(core), "rows".to_owned())) {
        Some(Offset::Number(rows)) => *rows,
        _ => 0,
    });
    Ok(User { opened, writers, rows })
}

impl User {
    /// Every core writes `count` rows and ends its epoch.
    pub(super) async fn round(&mut self, count: u64) -> Result<Epoch, Error> {
        let mut epoch = Epoch(0);
        for core in 0..usize::from(CORES) {
            epoch = self.end(core, count).await?;
        }
        Ok(epoch)
    }

    pub(super) async fn end(&mut self, core: usize, count: u64) -> Result<Epoch, Error> {
        let handle = &mut self.opened.cores[core];
        for _ in 0..count {
            self.rows[core] += 1;
            self.writers.outlet.write(handle.id(), self.rows[core]);
            self.writers.files.write(handle.id(), &self.rows[core].to_le_bytes());
        }
        let mark = EpochMark::new().offset("rows", self.rows[core]);
        loop {
            match handle.close_epoch_async(mark.clone()).await {
                Err(error) if error.kind() == ErrorKind::Busy => handle.ready().await?,
                ended => return ended,
            }
        }
    }

    pub(super) async fn published(&self, epoch: Epoch) -> Result<(), Error> {
        loop {
            match self.opened.engine.published(epoch).await {
                Err(error) if error.kind() == ErrorKind::Busy => {}
                done => return done,
            }
        }
    }

    pub(super) fn standings(&self) -> BTreeSet<(u64, Standing)> {
        self.opened.engine.in_doubt().iter().map(|one| (one.epoch.0, one.standing)).collect()
    }
}

/// What the files show of each core.
pub(super) async fn file_rows(user: &User) -> [Vec<u64>; CORES as usize] {
    let disk = user.opened.engine.env();
    let sink = &user.writers.files;
    let mut rows = [Vec::new(), Vec::new()];
    for file in sink.published().await.unwrap() {
        let content = read(disk, &file.path).await;
        rows[file.part.core.index()]
            .extend(content.as_chunks::<8>().0.iter().map(|row| u64::from_le_bytes(*row)));
    }
    rows
}

async fn read(env: &World, path: &std::path::Path) -> Vec<u8> {
    use highwater::env::Env;
    use highwater::vfs::{File, OpenMode, Vfs};
    let file = env.vfs().unwrap().open(path, OpenMode::Read).await.unwrap();
    let mut content = Vec::new();
    loop {
        let (bytes, count) =
            file.read_at(content.len() as u64, bytes::BytesMut::zeroed(4_096)).await.unwrap();
        if count == 0 {
            return content;
        }
        content.extend_from_slice(&bytes[..count]);
    }
}
