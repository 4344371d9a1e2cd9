//! Random work on the real disk, by every means there is, against a model: for what only real threads and a real kernel
//! can do to the engine. Power losses and lies are the simulator's business.
//!
//! ```text
//! round:  options drawn ─► life ─► life, perhaps with another number of cores ─► … ─► verified
//! life:   open, compare ─► steps ─► close, or drop everything in the middle
//! ```
//!
//! 1. What an open recovers is exactly the state at the end of an epoch, at least of the last one that was acknowledged.
//! 2. After every life `highwater::verify` finds the database sound.
//! 3. Nothing waits for ever: a life that takes longer than [`LIFE_MAX`] ends the test, which says what it was doing.
//!
//! `HIGHWATER_SOAK_SECONDS` says for how long; `HIGHWATER_SOAK_SEED` where the rounds begin.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![expect(clippy::disallowed_methods, reason = "a test of the real system looks at its clock")]
#![expect(clippy::print_stdout, reason = "a test says what it did, and did not run")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use highwater::env::{Blocking, SystemEnv};
use highwater::vfs::SystemVfs;
use highwater::{
    Backend, CoreHandle, DurableWrite, Engine, Epoch, EpochMark, Error, ErrorKind, Opened, Options, Result,
    VerifyOptions, verify,
};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// How long the rounds go on without `HIGHWATER_SOAK_SECONDS`.
const SOAK: Duration = Duration::from_secs(12);

/// A life takes a second or two, ten on a busy machine.
const LIFE_MAX: Duration = Duration::from_secs(120);

const SEED: u64 = 0x50a6;

/// Lives of a round, and keys that all its cores share.
const LIVES: u64 = 4;
const KEYS: u64 = 1_500;

/// Indexes of cores, of which a round has some.
const CORES: [usize; 4] = [0, 1, 2, 3];

/// Numbers without a pattern, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        xxh3_64(&self.0.to_le_bytes())
    }

    fn below(&mut self, end: u64) -> u64 {
        self.bits() % end
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap()]
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
}

/// What one core holds, and what it held at the end of each epoch.
#[derive(Default)]
struct CoreModel {
    state: BTreeMap<Vec<u8>, Vec<u8>>,
    digests: BTreeMap<u64, u64>,
}

/// Of several cores together it is the sum.
fn digest_of<'a>(entries: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> u64 {
    let of_entry = |(key, value): (&[u8], &[u8])| xxh3_64_with_seed(value, xxh3_64_with_seed(key, 1));
    entries.map(of_entry).fold(0, u64::wrapping_add)
}

impl CoreModel {
    fn digest(&self) -> u64 {
        digest_of(self.state.iter().map(|(key, value)| (&key[..], &value[..])))
    }

    /// The core as it was recovered at the end of `epoch`.
    fn recovered(core: &CoreHandle, epoch: u64) -> Self {
        let entries = core.scan_prefix(b"").map(|entry| {
            let (key, value) = entry.unwrap();
            (key.to_vec(), value.to_vec())
        });
        let mut model = Self { state: entries.collect(), digests: BTreeMap::new() };
        model.digests.insert(epoch, model.digest());
        model
    }
}

/// One round: the options that stay, and what is known of the database.
struct Round {
    env: SystemEnv,
    cores: u16,
    /// Per core, the keys that are its own.
    keys: Vec<Vec<Vec<u8>>>,
    models: Vec<CoreModel>,
    acknowledged: u64,
    /// What is going on, for whoever finds it going on for ever.
    log: Arc<Mutex<String>>,
}

impl Round {
    fn say(&self, what: &str) {
        writeln!(self.log.lock().unwrap(), "{what}").unwrap();
    }

    fn options(&self, path: &Path, dice: &mut Dice) -> Options {
        Options::new(path)
            .cores(self.cores)
            .inline(dice.chance(4))
            .segment_bytes(dice.one_of(&[64 << 10, 256 << 10, 1 << 20]))
            .batch_bytes(dice.one_of(&[4 << 10, 16 << 10]))
            .queue_bytes(dice.one_of(&[64 << 10, 256 << 10]))
            .depth(dice.one_of(&[1, 2, 4, 16]))
            .ordered_index(dice.chance(2))
            .idle_seal_after(Duration::from_millis(dice.one_of(&[1, 20])))
            .checkpoint_interval(dice.one_of(&[None, Some(Duration::from_millis(5))]))
            .checkpoint_wal_bytes(dice.one_of(&[64 << 10, 1 << 30]))
            .checkpoint_memory_bytes(dice.one_of(&[1 << 20, 64 << 20]))
            .retain_checkpoints(dice.one_of(&[1, 2, 5]))
    }

    fn life(&mut self, path: &Path, dice: &mut Dice) -> Result<()> {
        if dice.chance(5) {
            self.cores = dice.one_of(&[1, 2, 3, 4]);
        }
        let options = self.options(path, dice);
        self.say(&format!("open {options:?}"));
        let mut opened = loop {
            match self.env.block_on(Engine::open_in(self.env.clone(), options.clone())) {
                // The life before was dropped, and its threads have to notice.
                Err(error) if error.kind() == ErrorKind::Busy => std::thread::sleep(Duration::from_millis(1)),
                opened => break opened?,
            }
        };
        self.compare(&opened);
        self.share_keys(&opened.engine);
        for _ in 0..dice.below(400) {
            self.step(&mut opened, dice)?;
        }
        let Opened { engine, mut cores, .. } = opened;
        if dice.chance(2) {
            self.say("drop");
            return Ok(());
        }
        self.say("close");
        cores.iter_mut().for_each(CoreHandle::discard_open);
        self.acknowledged = cores.iter().map(|core| core.open_epoch().0 - 1).min().unwrap_or(0);
        engine.close(cores)
    }

    fn share_keys(&mut self, engine: &Engine<SystemEnv>) {
        self.keys = vec![Vec::new(); self.models.len()];
        for number in 0..KEYS {
            let key = format!("key/{number}").into_bytes();
            self.keys[engine.core_of(&key).index()].push(key);
        }
    }

    /// Promise 1.
    fn compare(&mut self, opened: &Opened<SystemEnv>) {
        let epoch = opened.report.epoch.0;
        assert!(
            epoch >= self.acknowledged,
            "epoch {} was acknowledged, {epoch} came back",
            self.acknowledged
        );
        let expected = self.models.iter().map(|model| model.digests.get(&epoch).copied());
        let expected: Option<Vec<u64>> = expected.collect();
        assert!(epoch == 0 || expected.is_some(), "epoch {epoch} was never ended by all cores");
        // Before the first epoch there is nothing, on as many cores as this open asked for.
        let expected = expected.unwrap_or_else(|| vec![0; opened.cores.len()]);
        self.models = opened.cores.iter().map(|core| CoreModel::recovered(core, epoch)).collect();
        let found: Vec<u64> = self.models.iter().map(CoreModel::digest).collect();
        let sum = |digests: &[u64]| digests.iter().copied().fold(0, u64::wrapping_add);
        assert_eq!(sum(&found), sum(&expected), "epoch {epoch} came back changed");
        if opened.report.rescaled_from.is_none() {
            assert_eq!(found, expected, "epoch {epoch} came back with other cores' keys");
        }
        self.acknowledged = epoch;
    }

    fn step(&mut self, opened: &mut Opened<SystemEnv>, dice: &mut Dice) -> Result<()> {
        let Opened { engine, cores, .. } = opened;
        match dice.below(40) {
            0 => {
                self.say("checkpoint");
                let info = engine.checkpoint()?;
                assert!(info.epoch >= Epoch(self.acknowledged));
            }
            1 => {
                self.say("checkpoint beside changes");
                let taken = engine.checkpoint_async();
                let beside = std::thread::spawn({
                    let env = self.env.clone();
                    move || env.block_on(taken)
                });
                self.change(engine, cores, dice)?;
                beside.join().unwrap()?;
            }
            2..8 => {
                let epoch = self.end_epochs(engine, cores, dice)?;
                if dice.chance(2) {
                    self.say(&format!("wait for {epoch}"));
                    engine.wait_durable(epoch)?;
                    self.acknowledged = epoch.0;
                }
            }
            8 => {
                let core = dice.one_of(&CORES[..self.models.len()]);
                self.say(&format!("clear core {core}"));
                patiently(engine, &mut cores[core], |core| core.clear().map(drop))?;
                self.models[core].state.clear();
            }
            9..11 => self.look(engine, cores, dice)?,
            _ => self.change(engine, cores, dice)?,
        }
        Ok(())
    }

    /// Puts and deletes, one by one and many at once.
    fn change(
        &mut self,
        engine: &Engine<SystemEnv>,
        cores: &mut [CoreHandle],
        dice: &mut Dice,
    ) -> Result<()> {
        let core = dice.one_of(&CORES[..self.models.len()]);
        let entries: Vec<_> = (0..dice.one_of(&[1, 20, 200]))
            .map(|_| {
                let number = usize::try_from(dice.below(self.keys[core].len() as u64)).unwrap();
                let byte = dice.one_of(b"abcdefgh");
                (self.keys[core][number].clone(), vec![byte; dice.one_of(&[0, 8, 100, 1_000])])
            })
            .collect();
        self.say(&format!("core {core}: {} changes", entries.len()));
        let (handle, model) = (&mut cores[core], &mut self.models[core]);
        if dice.chance(3) {
            let mut rest = &entries[..];
            while let Err(failed) = handle.put_many(rest) {
                rest = &rest[failed.applied..];
                busy_or(failed.error)?;
                wait(engine, handle)?;
            }
            model.state.extend(entries);
            return Ok(());
        }
        for (key, value) in entries {
            if value.is_empty() && dice.chance(2) {
                patiently(engine, handle, |core| core.delete(&key).map(drop))?;
                model.state.remove(&key);
            } else {
                patiently(engine, handle, |core| core.put(&key, &value).map(drop))?;
                model.state.insert(key, value);
            }
        }
        Ok(())
    }

    /// Ends the open epochs of all cores, the one that lags first, until they have ended the same one.
    fn end_epochs(
        &mut self,
        engine: &Engine<SystemEnv>,
        cores: &mut [CoreHandle],
        dice: &mut Dice,
    ) -> Result<Epoch> {
        let ahead = if dice.chance(3) { engine.request_epoch() } else { Epoch(0) };
        let target = cores.iter().map(CoreHandle::open_epoch).max().unwrap().max(ahead);
        self.say(&format!("end epoch {target}"));
        for core in cores {
            while core.open_epoch() <= target {
                let epoch = core.open_epoch();
                patiently(engine, core, |core| {
                    core.close_epoch(EpochMark::new().offset("at", epoch.0)).map(drop)
                })?;
                let model = &mut self.models[core.id().index()];
                let digest = model.digest();
                model.digests.insert(epoch.0, digest);
            }
        }
        Ok(target)
    }

    fn look(&self, engine: &Engine<SystemEnv>, cores: &[CoreHandle], dice: &mut Dice) -> Result<()> {
        engine.check()?;
        for core in cores {
            let model = &self.models[core.id().index()];
            assert_eq!(core.len(), model.state.len());
            let keys = &self.keys[core.id().index()];
            let from = usize::try_from(dice.below(keys.len() as u64)).unwrap();
            let keys = &keys[from..keys.len().min(from + 40)];
            for (key, found) in keys.iter().zip(core.get_many(keys)) {
                let expected = model.state.get(key).map(Vec::as_slice);
                assert_eq!(found?.as_deref(), expected);
                assert_eq!(core.get(key)?.as_deref(), expected);
            }
        }
        Ok(())
    }
}

fn busy_or(error: Error) -> Result<()> {
    if error.kind() == ErrorKind::Busy { Ok(()) } else { Err(error) }
}

/// Waits until there is room for a change; writes the log, if that is for its callers to do.
fn wait(engine: &Engine<SystemEnv>, core: &CoreHandle) -> Result<()> {
    engine.env().block_on(async {
        engine.drive().await;
        core.ready().await
    })
}

/// `change`, and again when there is room for it.
fn patiently(
    engine: &Engine<SystemEnv>,
    core: &mut CoreHandle,
    mut change: impl FnMut(&mut CoreHandle) -> Result<()>,
) -> Result<()> {
    loop {
        match change(core) {
            Err(error) => busy_or(error)?,
            Ok(()) => return Ok(()),
        }
        wait(engine, core)?;
    }
}

/// The ways to the disk that work here.
fn means() -> Vec<SystemVfs> {
    let mut means = vec![SystemVfs::new(Backend::Std, DurableWrite::Cached).unwrap()];
    for form in [DurableWrite::Auto, DurableWrite::Cached, DurableWrite::Direct, DurableWrite::DirectDsync] {
        match SystemVfs::new(Backend::Uring, form) {
            Ok(vfs) => means.extend([vfs, vfs.pipelined_from(0)]),
            Err(error) => println!("NOT RUN: {error}"),
        }
    }
    means
}

/// Runs one round and says after each life that it has ended.
fn round(seed: u64, log: &Arc<Mutex<String>>, ended: &mpsc::Sender<()>) {
    let mut dice = Dice(xxh3_64(&seed.to_le_bytes()));
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().join("data");
    let (vfs, cores) = (dice.one_of(&means()), dice.one_of(&CORES) + 1);
    log.lock().unwrap().clear();
    let mut round = Round {
        env: SystemEnv::with(vfs),
        cores: u16::try_from(cores).unwrap(),
        keys: Vec::new(),
        models: (0..cores).map(|_| CoreModel::default()).collect(),
        acknowledged: 0,
        log: Arc::clone(log),
    };
    round.say(&format!("seed {seed:#x}: {vfs:?}"));
    for _ in 0..LIVES {
        round.life(&path, &mut dice).unwrap();
        let report = verify(&path, VerifyOptions::new()).unwrap();
        assert!(report.is_sound(), "{report}");
        ended.send(()).unwrap();
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.strip_prefix("0x").map_or_else(|| text.parse(), |hex| u64::from_str_radix(hex, 16)).unwrap())
}

#[test]
fn random_work_on_the_real_disk_agrees_with_the_model_and_never_waits_for_ever() {
    let soak = number("HIGHWATER_SOAK_SECONDS").map_or(SOAK, Duration::from_secs);
    let (began, log) = (Instant::now(), Arc::new(Mutex::new(String::new())));
    let (send, ended) = mpsc::channel();
    let mut seed = number("HIGHWATER_SOAK_SEED").unwrap_or(SEED);
    let rounds = std::thread::spawn({
        let log = Arc::clone(&log);
        move || {
            while began.elapsed() < soak {
                round(seed, &log, &send);
                seed += 1;
            }
        }
    });
    let mut lives = 0;
    loop {
        match ended.recv_timeout(LIFE_MAX) {
            Ok(()) => lives += 1,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                println!("{}\nnothing has ended for {LIFE_MAX:?}", log.lock().unwrap());
                std::process::abort();
            }
        }
    }
    let survived = rounds.join().is_ok();
    assert!(survived, "{}", log.lock().unwrap_or_else(PoisonError::into_inner));
    println!("{lives} lives");
    assert!(lives >= LIVES);
}
