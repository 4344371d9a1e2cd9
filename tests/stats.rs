//! `Engine::stats` says what was done, to the byte.

#![expect(clippy::unwrap_used, reason = "a test says what it expects")]
#![expect(clippy::disallowed_methods, reason = "a test looks at the files by itself")]

mod shelf;

use std::time::Duration;

use highwater::env::Blocking;
use highwater::remote::Remote;
use highwater::sink::FileSink;
use highwater::{CoreStats, Engine, EngineStats, Epoch, EpochMark, ErrorKind, Health, Lsn, Opened, Options};

use shelf::Shelf;

/// What a frame takes at least, and what its place is a multiple of.
const UNIT_BYTES: u64 = 4096;

/// Bytes of a record in front of its key (docs/format.md).
const RECORD_HEADER_BYTES: u64 = 8;

/// Nothing happens by itself: no seal of an idle log, no checkpoint.
fn options(dir: &tempfile::TempDir) -> Options {
    Options::new(dir.path().join("data"))
        .segment_bytes(64 << 10)
        .batch_bytes(8 << 10)
        .queue_bytes(64 << 10)
        .idle_seal_after(Duration::from_secs(3600))
        .checkpoint_interval(None)
}

fn open(options: &Options) -> Opened {
    loop {
        match Engine::open(options.clone()) {
            // The background of the engine before may still hold the lock.
            Err(error) if error.kind() == ErrorKind::Busy => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

/// The only core, without what is prepared in the background.
fn core(stats: &EngineStats) -> CoreStats {
    let mut core = stats.cores[0];
    core.spare_segments = 0;
    core
}

#[test]
fn a_commit_is_counted_to_the_byte() {
    for inline in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let Opened { engine, mut cores, report } = open(&options(&dir).inline(inline));
        let before = engine.stats();
        assert_eq!((before.health, before.recovered_epoch), (Health::Healthy, Epoch(0)));
        assert_eq!((before.ended_epoch, before.closed_epoch), (Epoch(0), Epoch(0)));
        assert_eq!(before.recovery_took, report.took);
        assert_eq!((before.forecast.log_bytes, before.checkpoints), (0, engine.stats().checkpoints));
        assert!(before.remote.is_none() && before.sinks.is_empty());
        let fresh = core(&before);
        assert_eq!((fresh.appended_lsn, fresh.durable_lsn, fresh.segments), (Lsn(0), Lsn(0), 1));
        assert_eq!((fresh.frames, fresh.log_bytes, fresh.syncs, fresh.commits), (0, 0, 0, 0));

        for key in 0..10_u8 {
            cores[0].put(&[key], &[7; 100]).unwrap();
        }
        cores[0].delete(&[9]).unwrap();
        let open_batch = core(&engine.stats());
        assert_eq!(open_batch, fresh, "what a handle holds is nobody's yet");

        let epoch = cores[0].commit().unwrap();
        let after = engine.stats();
        assert_eq!((after.ended_epoch, after.closed_epoch), (epoch, epoch));
        let done = core(&after);
        assert_eq!(
            (done.appended_lsn, done.durable_lsn),
            (Lsn(12), Lsn(12)),
            "11 changes and the epoch's end"
        );
        assert_eq!((done.ended_epoch, done.durable_epoch, done.commits), (epoch, epoch, 1));
        assert_eq!((done.frames, done.syncs, done.log_bytes), (1, 1, UNIT_BYTES));
        assert_eq!((done.queued_records, done.queued_bytes, done.segments), (0, 0, 1));
        assert_eq!((done.state_keys, done.state_bytes), (9, 9 * 101));
        assert!(after.forecast.log_bytes > 10 * (RECORD_HEADER_BYTES + 101), "{:?}", after.forecast);
        engine.close(cores).unwrap();
    }
}

/// Where nobody takes them, batches wait; whoever waits takes them.
#[test]
fn what_waits_in_a_queue_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { engine, mut cores, .. } = open(&options(&dir).cores(2).inline(true));
    let mine: Vec<u8> = (0..=255_u8).filter(|key| engine.core_of(&[*key]).0 == 0).take(5).collect();
    for key in &mine {
        cores[0].put(&[*key], b"value").unwrap();
    }
    cores[0].close_epoch(EpochMark::new()).unwrap();
    let waiting = engine.stats();
    assert_eq!((waiting.ended_epoch, waiting.closed_epoch), (Epoch(0), Epoch(0)), "core 1 has ended nothing");
    let first = waiting.cores[0];
    assert_eq!((first.ended_epoch, first.durable_epoch), (Epoch(1), Epoch(0)));
    assert_eq!((first.appended_lsn, first.durable_lsn, first.queued_records), (Lsn(6), Lsn(0), 6));
    assert_eq!((first.frames, first.syncs), (0, 0));
    assert_eq!((first.state_keys, first.state_bytes), (5, 5 * 6));
    let idle = waiting.cores[1];
    assert_eq!((idle.appended_lsn, idle.queued_records, idle.queued_bytes), (Lsn(0), 0, 0));

    engine.env().block_on(engine.drive());
    let driven = engine.stats();
    assert_eq!(driven.cores[0].durable_lsn, Lsn(6));
    assert_eq!((driven.cores[0].queued_records, driven.cores[0].queued_bytes), (0, 0));
    assert_eq!(driven.cores[0].durable_epoch, Epoch(1));
    assert_eq!(driven.closed_epoch, Epoch(0));
    assert_eq!(driven.forecast.log_bytes, first.queued_bytes, "what waited is what the log was given");

    let epoch = cores[1].close_epoch(EpochMark::new()).unwrap();
    engine.wait_durable(epoch).unwrap();
    let closed = engine.stats();
    assert_eq!((closed.ended_epoch, closed.closed_epoch), (Epoch(1), Epoch(1)));
    engine.close(cores).unwrap();
}

/// No checkpoint is kept but the newest, and no log before it.
fn lean(dir: &tempfile::TempDir, inline: bool) -> Options {
    options(dir).inline(inline).retain_checkpoints(1).fallback_bytes_max(0)
}

/// How many files hold the log, once those and the spare ones are all that there are: the background prepares and recycles, and
/// rests then.
fn settled(engine: &Engine, dir: &tempfile::TempDir) -> u64 {
    let count = || {
        let files = std::fs::read_dir(dir.path().join("data/wal/00000")).unwrap().count() as u64;
        let CoreStats { segments, spare_segments, .. } = engine.stats().cores[0];
        (files, segments, spare_segments)
    };
    until(|| matches!(count(), (files, segments, spare) if segments + spare == files && spare > 0), &count);
    count().1
}

/// Waits until it `holds`, or long enough to be sure that it never will.
fn until<T: std::fmt::Debug>(holds: impl Fn() -> bool, told: &dyn Fn() -> T) {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "{:?}", told());
        std::thread::yield_now();
    }
}

/// Every file of the log is one that holds some of it, or a spare one.
#[test]
fn the_files_of_a_log_are_counted() {
    for inline in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let Opened { engine, mut cores, .. } = open(&lean(&dir, inline));
        let mut commit = || {
            for key in 0..20_u8 {
                cores[0].put(&[key], &[key; 1000]).unwrap_or_else(|error| panic!("{error}"));
            }
            cores[0].commit().unwrap();
        };
        assert_eq!(settled(&engine, &dir), 1);
        for _ in 0..10 {
            commit();
        }
        let grown = settled(&engine, &dir);
        assert!((3..=10).contains(&grown), "{grown} files for 200 KiB");
        // A checkpoint holds all of it: only the file in use stays.
        engine.checkpoint().unwrap();
        until(|| engine.stats().cores[0].segments < grown, &|| engine.stats());
        assert_eq!(settled(&engine, &dir), 1);
        drop((engine, cores));

        let Opened { engine, cores, .. } = open(&options(&dir).inline(inline));
        // The one that was in use, what was prepared behind it, and this life's first.
        assert!((2..=3).contains(&settled(&engine, &dir)));
        engine.close(cores).unwrap();
    }
}

#[test]
fn checkpoints_are_counted_and_so_are_those_that_fail() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { engine, mut cores, .. } = open(&options(&dir));
    cores[0].put(b"key", &[1; 5000]).unwrap();
    let epoch = cores[0].commit().unwrap();
    let logged = engine.stats().forecast.log_bytes;
    assert!(logged > 5000);
    let info = engine.checkpoint().unwrap();
    let taken = engine.stats();
    assert_eq!((taken.checkpoints.taken, taken.checkpoints.failed), (1, 0));
    assert_eq!((taken.checkpoints.epoch, taken.checkpoints.last), (epoch, Some(info)));
    assert!(taken.checkpoints.last_took > Duration::ZERO);
    assert_eq!(taken.forecast.log_bytes, 0);
    let files = std::fs::read_dir(dir.path().join("data/f")).unwrap();
    let bytes: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert_eq!((info.bytes_written, taken.forecast.checkpoint_bytes), (bytes, bytes));

    engine.checkpoint().unwrap();
    assert_eq!(engine.stats().checkpoints, taken.checkpoints, "there was nothing to take");

    std::fs::rename(dir.path().join("data/f"), dir.path().join("elsewhere")).unwrap();
    cores[0].put(b"key", b"again").unwrap();
    cores[0].commit().unwrap();
    engine.checkpoint().unwrap_err();
    let failed = engine.stats();
    assert_eq!((failed.checkpoints.taken, failed.checkpoints.failed), (1, 1));
    assert_eq!((failed.checkpoints.epoch, failed.health), (epoch, Health::Healthy));
    assert!(failed.forecast.log_bytes > 0);
    std::fs::rename(dir.path().join("elsewhere"), dir.path().join("data/f")).unwrap();
    engine.close(cores).unwrap();
}

#[test]
fn a_recovery_begins_where_the_last_life_ended() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { engine, mut cores, .. } = open(&options(&dir));
    for key in 0..3_u8 {
        cores[0].put(&[key], b"value").unwrap();
        cores[0].commit().unwrap();
    }
    engine.close(cores).unwrap();

    let Opened { engine, mut cores, report } = open(&options(&dir));
    let stats = engine.stats();
    assert_eq!(
        (stats.recovered_epoch, stats.closed_epoch, stats.ended_epoch),
        (Epoch(3), Epoch(3), Epoch(3))
    );
    assert_eq!(stats.recovery_took, report.took);
    assert_eq!(stats.forecast, engine.recovery_forecast());
    let found = core(&stats);
    assert_eq!((found.appended_lsn, found.durable_lsn), (Lsn(6), Lsn(6)));
    assert_eq!((found.state_keys, found.state_bytes, found.commits), (3, 18, 0));
    cores[0].commit().unwrap();
    let found = core(&engine.stats());
    assert_eq!((found.durable_lsn, found.durable_epoch, found.commits), (Lsn(7), Epoch(4), 1));
    engine.close(cores).unwrap();
}

/// What waits for a checkpoint, and then for nothing.
#[test]
fn what_sinks_have_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let rows = FileSink::new(dir.path().join("rows"));
    let Opened { engine, mut cores, .. } = open(&options(&dir).sink("ledger", rows.clone()));
    rows.write(cores[0].id(), b"row\n");
    let epoch = cores[0].commit().unwrap();
    let told = |stats: EngineStats| match &stats.sinks[..] {
        [sink] => (sink.name.clone(), sink.published, sink.pending, sink.trouble.clone()),
        sinks => panic!("{sinks:?}"),
    };
    assert_eq!(told(engine.stats()), ("ledger".to_owned(), Epoch(0), 1, None));
    engine.wait_published(epoch).unwrap();
    assert_eq!(told(engine.stats()), ("ledger".to_owned(), epoch, 0, None));
    assert_eq!(engine.stats().sinks, engine.sinks());
    engine.close(cores).unwrap();
}

/// The store counts by itself what it was asked.
#[test]
fn what_an_object_store_was_asked_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let shelf = Shelf::default();
    let Opened { engine, mut cores, .. } = open(&options(&dir).remote(Remote::new(shelf.clone())));
    cores[0].put(b"key", &[1; 5000]).unwrap();
    let epoch = cores[0].commit().unwrap();
    // Once more, and then for good: a request that is tried again, and uploads go on.
    shelf.with(|inner| inner.throttle = 1);
    engine.wait_remote(epoch).unwrap();
    engine.close(cores).unwrap();
    let remote = engine.stats().remote.unwrap();
    let asked = shelf.with(|inner| inner.asked);
    assert_eq!((remote.status.epoch, remote.failures), (epoch, 0));
    assert_eq!((remote.requests, remote.retries), (asked.requests, 1));
    assert_eq!((remote.sent_bytes, remote.received_bytes), (asked.took_bytes, asked.gave_bytes));
    assert!(remote.sent_bytes > 5000);
}
