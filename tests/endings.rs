//! However a database or a part of it ends, whoever waits hears of it, and nothing that counted is lost unsaid.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "watched/mod.rs"]
mod watched;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use highwater::env::{Blocking, Env, Spawn, StdClock, StdEntropy, StdEnv, StdSpawn};
use highwater::sink::{Commit, Part, Prepared, Recovered, Sink, SinkLife, SinkResult};
use highwater::vfs::{StdVfs, SystemVfs};
use highwater::{
    Backend, CoreHandle, DurableWrite, Engine, Epoch, EpochMark, Error, ErrorCode, ErrorKind, Opened,
    Options, Result,
};

use watched::{Watch, WatchedEnv};

fn options(dir: &Path) -> Options {
    Options::new(dir.join("data"))
        .segment_bytes(64 << 10)
        .batch_bytes(8 << 10)
        .queue_bytes(64 << 10)
        .checkpoint_interval(None)
}

fn code<T: fmt::Debug>(outcome: Result<T>) -> (ErrorKind, ErrorCode) {
    let error: Error = outcome.unwrap_err();
    (error.kind(), error.code())
}

const PANICKED: (ErrorKind, ErrorCode) = (ErrorKind::Failed, ErrorCode::Panicked);
const CLOSED: (ErrorKind, ErrorCode) = (ErrorKind::Invalid, ErrorCode::EngineClosed);
const OPEN: (ErrorKind, ErrorCode) = (ErrorKind::Invalid, ErrorCode::EpochOpen);
const OTHERS: (ErrorKind, ErrorCode) = (ErrorKind::Invalid, ErrorCode::OtherCores);

/// A sink without a system behind it.
#[derive(Debug)]
enum Stub {
    /// Its thread does not survive the first commit.
    Panicking,
    /// It never has anything.
    Quiet,
}

impl Sink for Stub {
    async fn recover(&self, _: &SinkLife) -> SinkResult<Recovered> {
        Ok(Recovered::new(100))
    }

    async fn pre_commit(&self, part: Part) -> SinkResult<Option<Vec<u8>>> {
        let handle = part.epoch.0.to_le_bytes().to_vec();
        Ok(matches!(self, Self::Panicking).then_some(handle))
    }

    async fn commit(&self, _: &[u8]) -> SinkResult<Commit> {
        panic!("a defect of the sink's")
    }

    async fn abort(&self, _: &[u8]) -> SinkResult<()> {
        Ok(())
    }

    async fn in_doubt(&self) -> SinkResult<Vec<Prepared>> {
        Ok(Vec::new())
    }

    async fn forget(&self, _: Epoch) -> SinkResult<()> {
        Ok(())
    }
}

/// `close` waited for the thread for ever.
#[test]
fn a_sink_that_panics_fails_the_engine_and_close_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let Opened { engine, mut cores, .. } =
        Engine::open(options.clone().sink("panics", Stub::Panicking)).unwrap();
    cores[0].put(b"key", b"value").unwrap();
    let epoch = cores[0].commit().unwrap();
    assert_eq!(code(engine.wait_published(epoch)), PANICKED);
    assert_eq!(code(cores[0].put(b"key", b"more")), PANICKED);
    assert_eq!(code(engine.close(&mut cores)), PANICKED);
    // The lock of the directory is free, and what was durable is there.
    let Opened { cores, report, .. } = Engine::open(options.sink("panics", Stub::Panicking)).unwrap();
    assert_eq!(report.epoch, epoch);
    assert_eq!(cores[0].get(b"key").unwrap().as_deref(), Some(&b"value"[..]));
}

/// A disk on which nobody survives who takes a checkpoint.
#[derive(Clone, Default)]
struct Trap;

impl Watch for Trap {
    fn begins(&self) -> usize {
        let thread = std::thread::current();
        assert_ne!(thread.name(), Some("highwater-checkpoint"), "a defect of the checkpoint's");
        0
    }

    fn wrote(&self, _: &Path, _: Bytes, _: bool) {}

    fn synced(&self, _: &Path, _: usize) {}
}

/// Those who had asked for a checkpoint or a pin waited for ever, and so did `close`.
#[test]
fn a_checkpoint_that_panics_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let vfs = SystemVfs::new(Backend::Std, DurableWrite::Cached).unwrap();
    let env = WatchedEnv { vfs, watch: Trap };
    let Opened { engine, mut cores, .. } = Engine::open_blocking_in(env, options(dir.path())).unwrap();
    cores[0].put(b"key", b"value").unwrap();
    cores[0].commit().unwrap();
    assert_eq!(code(engine.checkpoint()), PANICKED);
    assert_eq!(code(engine.checkpoint()), PANICKED, "nobody is there any more");
    assert_eq!(code(engine.pin("pin", None)), PANICKED);
    assert_eq!(code(engine.close(cores)), PANICKED);
}

/// The real world, which starts so many threads and no more.
#[derive(Clone, Debug)]
struct Few(Arc<AtomicUsize>);

impl Few {
    fn new(threads: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(threads)))
    }
}

impl Spawn for Few {
    fn spawn<F, Fut>(&self, name: &str, make: F) -> io::Result<()>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let less = |left: usize| left.checked_sub(1);
        match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            Ok(_) => StdSpawn.spawn(name, make),
            Err(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn give_way(&self) {
        StdSpawn.give_way();
    }
}

impl Env for Few {
    type Vfs = StdVfs;
    type InlineVfs = StdVfs;
    type Clock = StdClock;
    type Spawn = Self;
    type Entropy = StdEntropy;

    fn vfs(&self) -> io::Result<StdVfs> {
        Ok(StdVfs)
    }

    fn inline_vfs(&self) -> io::Result<StdVfs> {
        Ok(StdVfs)
    }

    fn clock(&self) -> StdClock {
        StdClock
    }

    fn spawn(&self) -> Self {
        self.clone()
    }

    fn entropy(&self) -> StdEntropy {
        StdEntropy
    }
}

impl Blocking for Few {
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        StdEnv.block_on(future)
    }
}

/// The threads that had been started held the lock of the directory, and nobody told them to end.
#[test]
fn an_open_that_is_refused_a_thread_leaves_none_behind() {
    let dir = tempfile::tempdir().unwrap();
    for inline in [false, true] {
        let options = options(dir.path()).cores(2).inline(inline).sink("rows", Stub::Panicking);
        let mut threads = 0;
        let opened = loop {
            match Engine::open_blocking_in(Few::new(threads), options.clone()) {
                Ok(opened) => break opened,
                refused => assert_eq!(code(refused), (ErrorKind::Failed, ErrorCode::ThreadRefused)),
            }
            threads += 1;
        };
        let parts = if inline { 3 } else { 5 };
        assert!(threads >= parts, "{threads}: segments, checkpoints, a sink, and a log per core");
        opened.engine.close(opened.cores).unwrap();
    }
}

/// They took records that no disk ever saw, and said `Ok`.
#[test]
fn the_handles_of_an_engine_that_is_gone_refuse_every_change() {
    let refuses = |core: &mut CoreHandle| {
        for (key, value) in [(&b"key"[..], vec![1; 10]), (b"other", vec![2; 20_000])] {
            assert_eq!(code(core.put(key, &value)), CLOSED);
            assert_eq!(code(core.delete(key)), CLOSED);
        }
        assert_eq!(code(core.put_many(&[(b"key", b"value")]).map_err(Error::from)), CLOSED);
        assert_eq!(code(core.clear()), CLOSED);
        assert_eq!(code(core.close_epoch(EpochMark::new())), CLOSED);
        assert_eq!(code(core.commit()), CLOSED);
        assert_eq!(code(core.ready().wait()), CLOSED);
        assert_eq!(core.get(b"key").unwrap().as_deref(), Some(&b"value"[..]), "reading goes on");
    };
    for inline in [false, true] {
        for dropped in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let Opened { engine, mut cores, .. } = Engine::open(options(dir.path()).inline(inline)).unwrap();
            cores[0].put(b"key", b"value").unwrap();
            cores[0].commit().unwrap();
            if dropped {
                drop(engine);
            } else {
                engine.close(&mut cores).unwrap();
                engine.close(&mut cores).unwrap();
            }
            refuses(&mut cores[0]);
        }
    }
}

/// It said `Ok`, and the next open found what one core had ended gone.
#[test]
fn close_refuses_to_forget_an_epoch_that_one_core_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { engine, mut cores, .. } = Engine::open(options(dir.path()).cores(2)).unwrap();
    let fast = engine.core_of(b"key").index();
    cores[fast].put(b"key", b"value").unwrap();
    let epoch = cores[fast].close_epoch(EpochMark::new()).unwrap();
    assert_eq!(code(engine.close(&mut cores)), OPEN);
    // Everything goes on.
    assert_eq!(cores[1 - fast].close_epoch(EpochMark::new()).unwrap(), epoch);
    engine.close(&mut cores).unwrap();
    drop((engine, cores));

    for giver in [0, 1] {
        let Opened { engine, mut cores, report } = Engine::open(options(dir.path()).cores(2)).unwrap();
        assert_eq!(report.epoch, epoch);
        cores[fast].put(b"key", b"in vain").unwrap();
        cores[giver].discard_open();
        cores[fast].close_epoch(EpochMark::new()).unwrap();
        let given_up = giver != fast;
        assert_eq!(engine.close(&mut cores).is_ok(), given_up, "what is put behind it counts again");
        cores[giver].discard_open();
        engine.close(&mut cores).unwrap();
    }
}

#[test]
fn close_wants_every_core_of_the_engine_once() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [mut ours, mut theirs] =
        dirs.each_ref().map(|dir| Engine::open(options(dir.path()).cores(2)).unwrap());
    let engine = &ours.engine;
    assert_eq!(code(engine.close(&mut ours.cores[..1])), OTHERS);
    assert_eq!(code(engine.close(&mut ours.cores[1..])), OTHERS);
    assert_eq!(code(engine.close(Vec::new())), OTHERS);
    assert_eq!(code(engine.close(&mut theirs.cores[..])), OTHERS);
    ours.engine.close(ours.cores).unwrap();
    theirs.engine.close(theirs.cores).unwrap();
}

/// They were refused: `open_in` does not know that its callers may block.
#[test]
fn an_environment_that_blocks_is_opened_so() {
    let dir = tempfile::tempdir().unwrap();
    for inline in [false, true] {
        let options = options(dir.path()).inline(inline).sink("none", Stub::Quiet);
        let Opened { engine, mut cores, .. } = Engine::open_blocking_in(StdEnv, options.clone()).unwrap();
        cores[0].ready().wait().unwrap();
        cores[0].put(b"key", b"value").unwrap();
        cores[0].commit().unwrap();
        let epoch = cores[0].close_epoch(EpochMark::new()).unwrap();
        engine.wait_durable(epoch).unwrap();
        engine.close(cores).unwrap();
        drop(engine);

        let Opened { engine, mut cores, .. } = StdEnv.block_on(Engine::open_in(StdEnv, options)).unwrap();
        assert_eq!(code(cores[0].commit()), (ErrorKind::Invalid, ErrorCode::CannotBlock));
        engine.close(cores).unwrap();
    }
}
