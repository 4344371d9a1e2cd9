//! How the golden directories are made: the same code, clock and dice write the same bytes again.
//!
//! The disk, the clock, the scheduler and the entropy are simulated, without faults and with the plainest of all schedules.
//! What a story's writer knew is kept beside the bytes, and is not read back from them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use highwater::remote::{ObjectStore as _, Remote};
use highwater::sim::{
    ClockFaults, Damage, Executor as _, FaultPlan, Hardware, Latency, Machine, Personality, SimEnv, SimStore,
    SimVfs, Simulator, StoreClient, StoreFaults, Streams, Tape, Trace,
};
use highwater::wal::{CoreWal, WalOpened, WalRecord};
use highwater::{Engine, Epoch, EpochMark, Offset, Opened, Options};

use crate::archive::{Golden, Tree, parse};
use crate::held::{Held, of_record};
use crate::sink::Stand;
use crate::{FOLDER, GIVEN_UP, STORED, at, options, wal_options, with_sinks};

/// The root of all dice.
const SEED: u64 = 1;

/// A folder, and what is in it.
pub(crate) struct Made {
    pub(crate) tree: Tree,
    pub(crate) held: String,
}

/// Makes the golden directory `name` anew.
pub(crate) fn make(name: &str) -> Made {
    let simulator = Simulator::with_choices(Tape::default().replay());
    let made = simulator.run(async |sim| {
        let mut machine = Machine::new(&sim, SEED, hardware());
        if name == STORED {
            let store = empty_store();
            let held = Box::pin(stored(&machine, &store)).await.to_string();
            return Made { tree: objects(&store), held };
        }
        let held = match name {
            "one-core" => Box::pin(one_core(&mut machine)).await.to_string(),
            "three-cores" => Box::pin(three_cores(&mut machine)).await.to_string(),
            "rescaled" => Box::pin(rescaled(&mut machine)).await.to_string(),
            GIVEN_UP => Box::pin(given_up(&mut machine)).await.to_string(),
            "log-alone" => log_alone(&mut machine).await,
            _ => panic!("nobody knows how {name} was made"),
        };
        Made { tree: tree(&machine), held }
    });
    made.unwrap()
}

/// A disk and a clock that always take the same time, and do nothing wrong.
fn hardware() -> Hardware {
    let latency = Latency { read_us: (50, 50), write_us: (20, 20), sync_us: (300, 300), name_us: (10, 10) };
    Hardware {
        disk: Personality::default(),
        disk_bytes: u64::MAX,
        faults: FaultPlan::none().with_latency(latency),
        clock: ClockFaults::default(),
    }
}

/// What an open of `golden` on a simulated disk gives back.
pub(crate) fn open(golden: &Golden) -> Held {
    let simulator = Simulator::with_choices(Tape::default().replay());
    let held = simulator.run(async |sim| {
        let machine = Machine::new(&sim, SEED, hardware());
        machine.disk().with_disk(|disk| {
            disk.install_dir(FOLDER).unwrap();
            for (below, bytes) in parse(golden.files) {
                let path = Path::new(FOLDER).join(below);
                match bytes {
                    None => disk.install_dir(path).unwrap(),
                    Some(bytes) => disk.install_file(path, &bytes).unwrap(),
                }
            }
        });
        let stand = Stand::reachable();
        let options = at(Path::new(FOLDER), golden.name, &stand);
        let opened = Engine::open_in(machine.env(), options).await.unwrap();
        assert!(opened.report.skipped.is_empty(), "{}", opened.report);
        if !opened.engine.sinks().is_empty() {
            opened.engine.published(opened.report.epoch).await.unwrap();
        }
        Held { published: stand.published(), ..Held::of(&opened) }
    });
    held.unwrap()
}

/// What another machine restores from the objects of `golden`; it works on with them.
pub(crate) fn restore(golden: &Golden) -> Held {
    let simulator = Simulator::with_choices(Tape::default().replay());
    let held = simulator.run(async |sim| {
        let machine = Machine::new(&sim, SEED + 1, hardware());
        let store = empty_store();
        let client = client(&machine, &store);
        for (name, body) in parse(golden.files) {
            if let Some(body) = body {
                client.put(&name, body.into()).await.unwrap();
            }
        }
        let mut opened = Engine::open_in(machine.env(), in_store(&machine, &store)).await.unwrap();
        assert!(opened.report.restored && opened.report.skipped.is_empty(), "{}", opened.report);
        let held = Held::of(&opened);
        let core = opened.engine.core_of(b"k").index();
        opened.cores[core].put(b"k", b"of another machine").unwrap();
        for core in &mut opened.cores {
            core.close_epoch_async(EpochMark::new()).await.unwrap();
        }
        opened.engine.remote_durable(Epoch(held.epoch + 1)).await.unwrap();
        assert!(objects(&store).len() > parse(golden.files).len());
        held
    });
    held.unwrap()
}

/// A store that takes no time and does nothing wrong.
fn empty_store() -> SimStore {
    SimStore::new(&Streams::new(SEED), StoreFaults::none(), Trace::new())
}

fn client(machine: &Machine, store: &SimStore) -> StoreClient {
    store.client("a machine", Arc::new(machine.process().clone()))
}

fn in_store(machine: &Machine, store: &SimStore) -> Options {
    small(STORED).remote(Remote::new(client(machine, store)).boundary_stride(4))
}

/// The objects of `store`, with folders for what stands in front of a slash.
fn objects(store: &SimStore) -> Tree {
    let mut tree = Tree::new();
    for (name, body) in store.objects() {
        if let Some((folder, _)) = name.split_once('/') {
            tree.insert(folder.to_owned(), None);
        }
        tree.insert(name, Some(body.to_vec()));
    }
    tree
}

/// How the database `name` is opened.
fn small(name: &str) -> Options {
    options(name, Path::new(FOLDER))
}

/// What the machine's disk has below [`FOLDER`].
fn tree(machine: &Machine) -> Tree {
    machine.disk().with_disk(|disk| {
        let below = |path: &Path| Some(path.strip_prefix(FOLDER).ok()?.to_str().unwrap().to_owned());
        let named = disk.tree().into_iter().filter_map(|(path, bytes)| Some((below(&path)?, path, bytes)));
        let named = named.filter(|(below, ..)| !below.is_empty());
        named.map(|(below, path, bytes)| (below, bytes.map(|_| disk.read_file(path).unwrap()))).collect()
    })
}

/// A program that writes, and what it knows.
struct Writer {
    opened: Opened<SimEnv<SimVfs>>,
    /// With what the open epoch has changed.
    now: Held,
    /// At the end of the last epoch.
    closed: Held,
    watermarks: BTreeMap<u16, i64>,
}

impl Writer {
    async fn open(machine: &Machine, options: Options) -> Self {
        let opened = Engine::open_in(machine.env(), options).await.unwrap();
        let keys = vec![BTreeMap::new(); opened.cores.len()];
        let now = Held { keys, ..Held::default() };
        Self { opened, closed: now.clone(), now, watermarks: BTreeMap::new() }
    }

    /// The next life, of as many cores as `options` say. It has to find what was known at the end of the one before.
    async fn reopen(self, machine: &Machine, options: Options) -> Self {
        let Self { opened, closed, watermarks, .. } = self;
        drop(opened);
        let opened = Engine::open_in(machine.env(), options).await.unwrap();
        let mut keys = vec![BTreeMap::new(); opened.cores.len()];
        for (key, value) in closed.keys.into_iter().flatten() {
            keys[opened.engine.core_of(&key).index()].insert(key, value);
        }
        let now = Held { keys, ..closed };
        assert_eq!(Held { published: now.published.clone(), ..Held::of(&opened) }, now);
        Self { opened, closed: now.clone(), now, watermarks }
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        let core = self.opened.engine.core_of(key).index();
        self.opened.cores[core].put(key, value).unwrap();
        self.now.keys[core].insert(key.to_vec(), value.to_vec());
    }

    fn delete(&mut self, key: &[u8]) {
        let core = self.opened.engine.core_of(key).index();
        self.opened.cores[core].delete(key).unwrap();
        self.now.keys[core].remove(key);
    }

    fn clear(&mut self, core: usize) {
        self.opened.cores[core].clear().unwrap();
        self.now.keys[core].clear();
    }

    /// Ends the epoch on every core, and waits until it has closed.
    async fn end(&mut self, says: impl Fn(u16) -> (Vec<(&'static str, Offset)>, Option<i64>)) {
        let mut ended = Epoch(0);
        for (core, handle) in (0_u16..).zip(&mut self.opened.cores) {
            let (offsets, watermark) = says(core);
            let mut mark = EpochMark::new();
            for (source, offset) in offsets {
                mark = mark.offset(source, offset.clone());
                self.now.offsets.insert((core, source.to_owned()), offset);
            }
            if let Some(watermark) = watermark {
                mark = mark.watermark(watermark);
                self.watermarks.insert(core, watermark);
            }
            ended = handle.close_epoch_async(mark).await.unwrap();
        }
        self.opened.engine.durable(ended).await.unwrap();
        self.now.epoch = ended.0;
        let all = self.watermarks.len() == self.opened.cores.len();
        self.now.watermark = self.watermarks.values().min().copied().filter(|_| all);
        self.closed = self.now.clone();
    }

    async fn checkpoint(&self) {
        self.opened.engine.checkpoint_async().await.unwrap();
    }

    async fn pin(&mut self, name: &str) {
        let epoch = self.opened.engine.pin_async(name, None).await.unwrap();
        for held in [&mut self.now, &mut self.closed] {
            held.pins.insert(name.to_owned(), epoch.0);
        }
    }

    /// Ends this life in peace.
    async fn close(&mut self) {
        self.opened.engine.close_async(&mut self.opened.cores).await.unwrap();
    }
}

/// One core: bases, deltas, one of them with a `Clear`, a log behind them, and a life that was killed
/// in the middle of an epoch.
async fn one_core(machine: &mut Machine) -> Held {
    let mut writer = Writer::open(machine, small("one-core")).await;
    for epoch in 1..=5_u8 {
        for number in 0..12 {
            writer.put(format!("key/{:02}", (number * 5 + epoch) % 20).as_bytes(), &[epoch, number, 0, 255]);
        }
        writer.delete(format!("key/{:02}", epoch + 3).as_bytes());
        if epoch == 3 {
            writer.clear(0);
            writer.put(b"after the clear", b"");
        }
        let says = |_| (vec![("source", Offset::Number(u64::from(epoch) * 100))], Some(i64::from(epoch) - 3));
        writer.end(says).await;
        if epoch < 5 {
            writer.checkpoint().await;
        }
    }
    writer.close().await;
    let mut writer = writer.reopen(machine, small("one-core")).await;
    writer.put(&[0, 1, 0xfe, 0xff], &[7; 300]);
    writer.end(|_| (Vec::new(), None)).await;
    writer.put(b"key/00", b"of an epoch that never closed");
    machine.crash_process();
    writer.closed
}

/// Three cores and, from the second life on, two sinks: offsets of both kinds, watermarks, a pin that
/// holds what nothing else does, transactions decided and in doubt, and a power cut.
async fn three_cores(machine: &mut Machine) -> Held {
    let with_sinks = || with_sinks(small("three-cores"), &Stand::default());
    let mut writer = Writer::open(machine, small("three-cores")).await;
    let mut published = Vec::new();
    for epoch in 1..=6_u8 {
        if epoch == 4 {
            writer.close().await;
            writer = writer.reopen(machine, with_sinks()).await;
        }
        for user in 0..9_u8 {
            writer.put(format!("user {user}/visits").as_bytes(), format!("{epoch}.{user}").as_bytes());
        }
        writer.delete(format!("user {epoch}/visits").as_bytes());
        let says = |core: u16| {
            let clicks = Offset::Opaque(vec![epoch, u8::try_from(core).unwrap(), 0xff]);
            let orders = Offset::Number(u64::from(epoch) << 33);
            let offsets = if core == 1 { vec![("clicks", clicks)] } else { vec![("orders", orders)] };
            (offsets, Some(i64::from(epoch) * 1_000 + i64::from(core)))
        };
        writer.end(says).await;
        if epoch >= 4 {
            published.extend((0..2).map(|core| format!("epoch {epoch}, core {core}")));
        }
        if epoch < 6 {
            writer.checkpoint().await;
        }
        if epoch == 1 {
            writer.pin("before the storm").await;
        }
    }
    let mut writer = Box::pin(writer.reopen_after_power_cut(machine, with_sinks())).await;
    writer.put(b"user 9/visits", b"of an epoch that never closed");
    machine.cut_power_with(&mut Tape::default().replay());
    writer.closed.published = published;
    writer.closed.published.sort();
    writer.closed
}

impl Writer {
    async fn reopen_after_power_cut(self, machine: &mut Machine, options: Options) -> Self {
        machine.cut_power_with(&mut Tape::default().replay());
        self.reopen(machine, options).await
    }
}

/// One core with two sinks whose checkpoints have rotted: the log from its beginning is all that there is, and nothing but the
/// manifest says which transactions are decided. No checkpoint was taken since.
async fn given_up(machine: &mut Machine) -> Held {
    let with_sinks = || with_sinks(small(GIVEN_UP), &Stand::default());
    let mut writer = Writer::open(machine, with_sinks()).await;
    for epoch in 1..=3_u8 {
        for number in 0..6 {
            writer.put(format!("key/{number}").as_bytes(), &[epoch, number]);
        }
        writer.end(|_| (vec![("source", Offset::Number(u64::from(epoch)))], None)).await;
        if epoch < 3 {
            writer.checkpoint().await;
        }
    }
    machine.cut_power_with(&mut Tape::default().replay());
    for path in tree(machine).into_keys().filter(|path| path.starts_with("f/")) {
        machine
            .disk()
            .damage(Path::new(FOLDER).join(path), &Damage::BitRot { offset: 100, mask: 1 })
            .unwrap();
    }
    let mut writer = writer.reopen(machine, with_sinks()).await;
    machine.cut_power_with(&mut Tape::default().replay());
    writer.closed.published = (1..=3).map(|epoch| format!("epoch {epoch}, core 0")).collect();
    writer.closed
}

/// Two cores became three, in units of 512 bytes: offsets that two had stated, one of them stated anew, and a pin of
/// an epoch of two cores.
async fn rescaled(machine: &mut Machine) -> Held {
    let mut writer = Writer::open(machine, small("rescaled").cores(2)).await;
    for epoch in 1..=3_u8 {
        for number in 0..15_u8 {
            writer.put(&[number, number, epoch], &[epoch; 9]);
        }
        writer
            .end(|core| (vec![(["left", "right"][usize::from(core)], Offset::Number(epoch.into()))], Some(7)))
            .await;
        writer.checkpoint().await;
        if epoch == 2 {
            writer.pin("two cores").await;
        }
    }
    writer.close().await;
    writer.watermarks = (0..3).map(|core| (core, 7)).collect();
    let mut writer = writer.reopen(machine, small("rescaled")).await;
    for number in 10..20_u8 {
        writer.put(&[number, number, 1], b"of three cores");
    }
    let says = |core| (if core == 2 { vec![("left", Offset::Number(40))] } else { Vec::new() }, None);
    // What any core states anew takes the place of what a core of the two had stated.
    writer.now.offsets.remove(&(0, "left".to_owned()));
    writer.end(says).await;
    writer.checkpoint().await;
    writer.delete(&[19, 19, 1]);
    writer.end(|_| (Vec::new(), None)).await;
    writer.close().await;
    writer.closed
}

/// Two cores and an object store: bases and deltas, a boundary mark with manifests above it, and a pin.
/// What the machine had and the store did not is lost with it.
async fn stored(machine: &Machine, store: &SimStore) -> Held {
    let mut writer = Writer::open(machine, in_store(machine, store)).await;
    for epoch in 1..=9_u8 {
        for number in 0..10_u8 {
            writer.put(&[b'k', number * 3, number], &[epoch, number]);
        }
        writer.delete(&[b'k', epoch * 3, epoch]);
        let says =
            |core: u16| (vec![("source", Offset::Number(u64::from(core) + 10))], Some(i64::from(epoch)));
        writer.end(says).await;
        writer.opened.engine.remote_durable(Epoch(epoch.into())).await.unwrap();
        if epoch == 2 {
            writer.pin("for ever").await;
        }
    }
    // Until what is needless is gone, too.
    machine.process().sleep(Duration::from_secs(60)).await;
    let held = writer.closed.clone();
    writer.put(b"k", b"of an epoch that did not get there");
    writer.end(|_| (Vec::new(), None)).await;
    held
}

/// A log without a database: two lives, a floor above its first segment, records of every kind.
async fn log_alone(machine: &mut Machine) -> String {
    let path = Path::new(FOLDER);
    let mut held: Vec<(u64, String)> = Vec::new();
    let WalOpened { mut wal, .. } = CoreWal::open(machine.env(), path, wal_options()).await.unwrap();
    for round in 1..=8_u64 {
        let (key, value) = (format!("round {round}"), [b'v'; 700]);
        let records = [
            WalRecord::Put { key: key.as_bytes(), value: &value[..] },
            WalRecord::Delete { key: b"\0\xff" },
            WalRecord::Clear,
            WalRecord::EpochEnd { epoch: Epoch(round) },
        ];
        for record in &records {
            let lsn = wal.append(record).unwrap();
            held.push((lsn.0, of_record(record)));
        }
        wal.sync().await.unwrap();
    }
    let through = wal.high_water();
    assert!(wal.trim(highwater::Lsn(through.0 / 2)).await.unwrap() > 0, "a segment goes");
    wal.close().await.unwrap();
    let WalOpened { mut wal, .. } = CoreWal::open(machine.env(), path, wal_options()).await.unwrap();
    let first = {
        let mut reader = wal.read(None).await.unwrap();
        let mut frame = reader.next().await.unwrap().unwrap();
        frame.next().unwrap().0
    };
    held.retain(|(lsn, _)| *lsn >= first.0);
    let last = WalRecord::Put { key: b"the second life", value: b"" };
    held.push((wal.append(&last).unwrap().0, of_record(&last)));
    wal.sync().await.unwrap();
    machine.crash_process();
    held.into_iter().map(|(_, line)| line).collect()
}
