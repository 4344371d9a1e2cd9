//! Sinks as a program meets them: rows are seen once, whatever happens to the process.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![expect(clippy::disallowed_methods, reason = "a test reads what a reader would")]

use std::path::Path;
use std::sync::{Arc, Mutex};

use highwater::env::{Blocking, StdEnv};
use highwater::sink::{
    Commit, FileSink, LostPolicy, Part, Prepared, Recovered, Sink, SinkError, SinkErrorKind, SinkLife,
    SinkResult,
};
use highwater::{CoreId, Engine, Epoch, EpochMark, ErrorKind, Opened, Options, Standing};

fn options(dir: &Path) -> Options {
    Options::new(dir.join("data"))
        .segment_bytes(64 << 10)
        .batch_bytes(8 << 10)
        .queue_bytes(64 << 10)
        .checkpoint_interval(None)
}

fn open(options: &Options) -> Result<Opened, highwater::Error> {
    loop {
        match Engine::open(options.clone()) {
            // The background of a dropped engine may still hold the lock.
            Err(error) if error.kind() == ErrorKind::Busy => std::thread::yield_now(),
            opened => return opened,
        }
    }
}

fn rows(sink: &FileSink) -> Vec<String> {
    let files = StdEnv.block_on(sink.published()).unwrap();
    files.into_iter().map(|file| std::fs::read_to_string(file.path).unwrap()).collect()
}

fn standings(engine: &Engine) -> Vec<(u64, Standing)> {
    engine.in_doubt().iter().map(|one| (one.epoch.0, one.standing)).collect()
}

#[test]
fn rows_are_published_when_a_checkpoint_holds_their_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let sink = FileSink::new(dir.path().join("out"));
    let options = options(dir.path()).cores(2).sink("rows", sink.clone());
    let Opened { engine, mut cores, .. } = open(&options).unwrap();
    let mut epoch = Epoch(0);
    for number in 0..3 {
        for core in &mut cores {
            if number < 2 {
                sink.write(core.id(), format!("row {number} of core {}", core.id()).as_bytes());
            }
            epoch = core.close_epoch(EpochMark::new()).unwrap();
        }
    }
    engine.wait_durable(epoch).unwrap();
    assert_eq!(rows(&sink), [""; 0], "in doubt");
    let in_doubt = Standing::InDoubt;
    assert_eq!(standings(&engine), [(1, in_doubt), (1, in_doubt), (2, in_doubt), (2, in_doubt)]);
    assert_eq!(engine.published_epoch(), Epoch(0));

    engine.wait_published(epoch).unwrap();
    let all = ["row 0 of core 0", "row 0 of core 1", "row 1 of core 0", "row 1 of core 1"];
    assert_eq!(rows(&sink), all);
    assert_eq!((engine.published_epoch(), standings(&engine)), (epoch, vec![]));
    engine.close(cores).unwrap();
}

#[test]
fn a_new_life_publishes_what_was_in_doubt_and_gives_up_what_had_not_closed() {
    let dir = tempfile::tempdir().unwrap();
    let sink = FileSink::new(dir.path().join("out"));
    let options = options(dir.path()).cores(2).sink("rows", sink.clone());
    let Opened { engine, mut cores, .. } = open(&options).unwrap();
    for core in &mut cores {
        sink.write(core.id(), b"closed");
        core.close_epoch(EpochMark::new()).unwrap();
    }
    engine.wait_durable(Epoch(1)).unwrap();
    // One core ends the second epoch, the other does not: it never closes.
    sink.write(CoreId(0), b"half an epoch");
    cores[0].close_epoch(EpochMark::new()).unwrap();
    sink.write(CoreId(0), b"nobody's");
    drop((engine, cores));

    let Opened { engine, mut cores, report } = open(&options).unwrap();
    assert_eq!(report.epoch, Epoch(1));
    assert_eq!(standings(&engine), [(1, Standing::InDoubt); 2]);
    assert_eq!(rows(&sink), [""; 0]);
    for core in &mut cores {
        sink.write(core.id(), b"second");
        core.close_epoch(EpochMark::new()).unwrap();
    }
    engine.wait_published(Epoch(2)).unwrap();
    assert_eq!(rows(&sink), ["closed", "closed", "second", "second"]);
    engine.close(cores).unwrap();
}

#[test]
fn a_sink_with_something_in_doubt_cannot_be_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let sink = FileSink::new(dir.path().join("out"));
    let plain = options(dir.path());
    let options = plain.clone().sink("rows", sink.clone());
    let Opened { engine, mut cores, .. } = open(&options).unwrap();
    sink.write(CoreId(0), b"row");
    cores[0].commit().unwrap();
    engine.close(cores).unwrap();

    for wrong in [plain.clone(), plain.clone().sink("other", FileSink::new(dir.path().join("other")))] {
        let refused = open(&wrong).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
        assert!(refused.to_string().contains("`rows` has 1 transactions"), "{refused}");
    }
    let Opened { engine, mut cores, .. } = open(&options).unwrap();
    let epoch = cores[0].commit().unwrap();
    engine.wait_published(epoch).unwrap();
    engine.close(cores).unwrap();
    let Opened { engine, cores, .. } = open(&options).unwrap();
    engine.checkpoint().unwrap();
    engine.close(cores).unwrap();
    let twice = open(&options.clone().sink("rows", sink)).unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::Invalid);
}

#[test]
fn an_older_copy_is_refused_by_what_the_sink_has_published() {
    let dir = tempfile::tempdir().unwrap();
    let sink = FileSink::new(dir.path().join("out"));
    let options = options(dir.path()).sink("rows", sink.clone());
    let Opened { engine, mut cores, .. } = open(&options).unwrap();
    cores[0].commit().unwrap();
    engine.close(&mut cores).unwrap();
    drop((engine, cores));
    copy(&dir.path().join("data"), &dir.path().join("copy"));
    let Opened { engine, mut cores, .. } = open(&options).unwrap();
    sink.write(CoreId(0), b"row");
    let epoch = cores[0].commit().unwrap();
    engine.wait_published(epoch).unwrap();
    engine.close(&mut cores).unwrap();
    drop((engine, cores));

    std::fs::remove_dir_all(dir.path().join("data")).unwrap();
    copy(&dir.path().join("copy"), &dir.path().join("data"));
    let refused = open(&options).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
    assert!(refused.to_string().contains("published epoch 2"), "{refused}");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A sink that does what the test says.
#[derive(Clone, Debug, Default)]
struct Told {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    refuses: bool,
    silent: bool,
    forgets: bool,
    in_doubt_max: u64,
    pre_commits: u64,
    commits: Vec<Epoch>,
}

impl Told {
    fn new(in_doubt_max: u64) -> Self {
        Self { state: Arc::new(Mutex::new(State { in_doubt_max, ..State::default() })) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Sink for Told {
    async fn recover(&self, _: &SinkLife) -> SinkResult<Recovered> {
        Ok(Recovered::new(self.state().in_doubt_max))
    }

    async fn pre_commit(&self, part: Part) -> SinkResult<Option<Vec<u8>>> {
        let mut state = self.state();
        state.pre_commits += 1;
        if state.refuses {
            return Err(SinkError::new(SinkErrorKind::Refused, "no such table"));
        }
        if state.silent {
            return Err(SinkError::new(SinkErrorKind::Unknown, "no answer"));
        }
        Ok(Some(part.epoch.0.to_le_bytes().to_vec()))
    }

    async fn commit(&self, handle: &[u8]) -> SinkResult<Commit> {
        let mut state = self.state();
        if state.silent {
            return Err(SinkError::new(SinkErrorKind::Unavailable, "gone for lunch"));
        }
        if state.forgets {
            return Ok(Commit::Lost);
        }
        state.commits.push(Epoch(u64::from_le_bytes(handle.try_into().unwrap())));
        Ok(Commit::Done)
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

#[test]
fn an_epoch_whose_sink_does_not_answer_is_ending_until_it_does() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Told::new(100);
    let Opened { engine, mut cores, .. } = open(&options(dir.path()).sink("told", sink.clone())).unwrap();
    let core = &mut cores[0];
    core.put(b"key", b"value").unwrap();
    sink.state().silent = true;
    for _ in 0..2 {
        assert_eq!(core.close_epoch(EpochMark::new()).unwrap_err().kind(), ErrorKind::Busy);
        assert!(core.is_ending());
        assert_eq!(core.put(b"key", b"too late").unwrap_err().kind(), ErrorKind::Busy);
    }
    sink.state().silent = false;
    let epoch = core.close_epoch(EpochMark::new()).unwrap();
    assert!(!core.is_ending());
    core.put(b"key", b"the next epoch's").unwrap();
    engine.wait_published(epoch).unwrap();
    sink.state().refuses = true;
    let refused = core.close_epoch(EpochMark::new()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    core.discard_open();
    engine.close(cores).unwrap();
}

#[test]
fn what_is_in_doubt_is_bounded_and_asks_for_checkpoints_itself() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Told::new(4);
    let Opened { engine, mut cores, .. } = open(&options(dir.path()).sink("told", sink.clone())).unwrap();
    let core = &mut cores[0];
    // No checkpoint is asked for, and none is taken by time.
    for _ in 0..40 {
        loop {
            match core.close_epoch(EpochMark::new()) {
                Ok(_) => break,
                Err(error) if error.kind() == ErrorKind::Busy => core.ready().wait().unwrap(),
                Err(error) => panic!("{error}"),
            }
        }
        assert!(engine.in_doubt().len() <= 4);
    }
    engine.wait_published(Epoch(40)).unwrap();
    assert_eq!(sink.state().commits, (1..=40).map(Epoch).collect::<Vec<_>>(), "each once, in order");

    // While commits fail, epochs end until the bound, and then they wait.
    sink.state().silent = false;
    engine.close(cores).unwrap();
    drop(engine);
    let few = open(&options(dir.path()).sink("told", Told::new(0))).unwrap_err();
    assert_eq!(few.kind(), ErrorKind::Invalid, "{few}");
}

#[test]
fn a_commit_that_fails_is_tried_until_it_succeeds() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Told::new(100);
    let Opened { engine, mut cores, .. } = open(&options(dir.path()).sink("told", sink.clone())).unwrap();
    let epoch = cores[0].commit().unwrap();
    sink.state().silent = true;
    let busy = engine.wait_published(epoch).unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy, "{busy}");
    assert_eq!(standings(&engine), [(1, Standing::Decided)]);
    assert_eq!(engine.sinks()[0].trouble.as_deref(), Some("gone for lunch"));
    sink.state().silent = false;
    engine.wait_published(epoch).unwrap();
    assert_eq!(engine.sinks()[0].trouble, None);
    engine.close(cores).unwrap();
}

#[test]
fn what_a_sink_has_forgotten_halts_the_engine_until_somebody_accepts_it() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Told::new(100);
    let halting = options(dir.path()).sink("told", sink.clone());
    let Opened { engine, mut cores, .. } = open(&halting).unwrap();
    let epoch = cores[0].commit().unwrap();
    sink.state().forgets = true;
    for _ in 0..2 {
        let lost = engine.wait_published(epoch).unwrap_err();
        assert_eq!(lost.kind(), ErrorKind::Lost, "{lost}");
    }
    assert_eq!(cores[0].put(b"key", b"value").unwrap_err().kind(), ErrorKind::Lost);
    drop((engine, cores));

    let Opened { engine, mut cores, .. } = open(&halting.on_lost(LostPolicy::Accept)).unwrap();
    engine.wait_published(epoch).unwrap();
    assert_eq!(standings(&engine), [(1, Standing::Lost)]);
    sink.state().forgets = false;
    let epoch = cores[0].commit().unwrap();
    engine.wait_published(epoch).unwrap();
    engine.close(cores).unwrap();
    drop(engine);

    // The record stays, and nothing is halted any more.
    let Opened { engine, cores, .. } = open(&options(dir.path()).sink("told", sink.clone())).unwrap();
    assert_eq!(standings(&engine), [(1, Standing::Lost), (2, Standing::Decided)]);
    engine.wait_published(epoch).unwrap();
    assert_eq!(
        sink.state().commits,
        [Epoch(2), Epoch(2)],
        "a commit that is not known to be done comes again"
    );
    engine.close(cores).unwrap();
}
