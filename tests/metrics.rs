//! What a recorder is told is what docs/operations.md says, name for name.

#![expect(clippy::unwrap_used, reason = "a test says what it expects")]
#![expect(clippy::disallowed_methods, reason = "it reads a page of the documentation")]
#![expect(clippy::float_cmp, reason = "a gauge is what it was set to")]

mod shelf;

use std::collections::BTreeMap;
use std::path::Path;

use highwater::remote::Remote;
use highwater::sink::FileSink;
use highwater::{Engine, EngineStats, Epoch, EpochMark, Opened, Options};
use metrics_util::MetricKind;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

use shelf::Shelf;

/// The rows of the table in the documentation: name, kind, labels.
fn documented() -> BTreeMap<String, (String, String)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `highwater_")).map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let name = format!("highwater_{}", cells[0].trim_end_matches('`'));
        (name, (cells[1].to_owned(), cells[2].to_owned()))
    });
    let found: BTreeMap<_, _> = rows.clone().collect();
    assert_eq!(found.len(), rows.count(), "a name is documented once");
    found
}

/// Everything that the recorder has, by name and labels.
fn told(recorder: &Snapshotter) -> BTreeMap<(String, String), (MetricKind, DebugValue)> {
    let all = recorder.snapshot().into_vec().into_iter().map(|(key, unit, help, value)| {
        assert!(unit.is_some() && help.is_some(), "{key:?} is not described");
        let labels: Vec<_> =
            key.key().labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        ((key.key().name().to_owned(), labels.join(",")), (key.kind(), value))
    });
    all.collect()
}

fn options(dir: &tempfile::TempDir) -> Options {
    Options::new(dir.path().join("data")).cores(2).checkpoint_interval(None)
}

/// Puts, commits, checkpoints; the statistics then.
fn work(opened: &mut Opened) -> (Epoch, EngineStats) {
    let mut epoch = Epoch(0);
    for core in &mut opened.cores {
        let (engine, id) = (&opened.engine, core.id());
        let mine = (0..=255_u8).filter(|key| engine.core_of(&[*key]) == id);
        for key in mine {
            core.put(&[key], b"value").unwrap();
        }
        epoch = core.close_epoch(EpochMark::new()).unwrap();
    }
    opened.engine.wait_durable(epoch).unwrap();
    opened.engine.checkpoint().unwrap();
    if opened.engine.remote_status().is_some() {
        opened.engine.wait_remote(epoch).unwrap();
        opened.engine.wait_published(epoch).unwrap();
    }
    (epoch, opened.engine.stats())
}

#[test]
fn every_documented_name_is_told_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let rows = FileSink::new(dir.path().join("rows"));
    let options = options(&dir).remote(Remote::new(Shelf::default())).sink("ledger", rows);
    let mut opened = metrics::with_local_recorder(&recorder, || Engine::open(options)).unwrap();
    let (epoch, stats) = work(&mut opened);
    let Opened { engine, cores, .. } = opened;
    // The uploader has told its timer when it has ended.
    engine.close(cores).unwrap();
    let told = told(&snapshotter);

    let mut names = BTreeMap::new();
    for ((name, labels), (kind, value)) in &told {
        let kind = match kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        let label = labels.split('=').next().unwrap_or_default();
        names.insert(name.clone(), (kind.to_owned(), label.to_owned()));
        if let DebugValue::Histogram(seconds) = value {
            assert!(!seconds.is_empty(), "{name} {labels} was measured");
            assert!(seconds.iter().all(|seconds| (0.0..60.0).contains(&seconds.0)), "{name}: {seconds:?}");
        }
    }
    assert_eq!(names, documented());

    let level = |name: &str, labels: &str| match told[&(name.to_owned(), labels.to_owned())].1 {
        DebugValue::Gauge(level) => level.0,
        DebugValue::Counter(total) => f64::from(u32::try_from(total).unwrap()),
        DebugValue::Histogram(ref all) => f64::from(u32::try_from(all.len()).unwrap()),
    };
    let float = |count: u64| f64::from(u32::try_from(count).unwrap());
    assert_eq!(level("highwater_closed_epoch", ""), float(epoch.0));
    assert_eq!(level("highwater_remote_epoch", ""), float(epoch.0));
    assert_eq!(level("highwater_checkpoints_taken_total", ""), 1.0);
    assert_eq!(level("highwater_checkpoint_seconds", ""), 1.0);
    assert_eq!(level("highwater_recovery_seconds", ""), 1.0);
    assert_eq!(level("highwater_recovery_last_seconds", ""), stats.recovery_took.as_secs_f64());
    let remote = stats.remote.unwrap();
    assert_eq!(level("highwater_remote_requests_total", ""), float(remote.requests));
    assert_eq!(level("highwater_sink_published_epoch", "sink=ledger"), float(epoch.0));
    assert_eq!(level("highwater_sink_pending", "sink=ledger"), 0.0);
    assert_eq!(level("highwater_sink_lag_epochs", "sink=ledger"), 0.0);
    for core in &stats.cores {
        let label = format!("core={}", core.core);
        assert_eq!(level("highwater_durable_lsn", &label), float(core.durable_lsn.0));
        assert_eq!(level("highwater_log_bytes_total", &label), float(core.log_bytes));
        assert_eq!(level("highwater_state_keys", &label), float(core.state_keys));
        // Seals and new segments come behind the snapshot.
        assert!(level("highwater_log_sync_seconds", &label) >= float(core.syncs));
    }
}

/// Two waits of two callers, by the blocking call and by the commit of a single core; inline logs are measured as others.
#[test]
fn whoever_waits_is_measured() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let options = options(&dir).cores(1).inline(true);
    let opened = metrics::with_local_recorder(&recorder, || Engine::open(options)).unwrap();
    let Opened { engine, mut cores, .. } = opened;
    cores[0].put(b"key", b"value").unwrap();
    let epoch = cores[0].commit().unwrap();
    engine.wait_durable(epoch).unwrap();
    let syncs = engine.stats().cores[0].syncs;
    let told = told(&snapshotter);
    let count = |name: &str, labels: &str| match &told[&(name.to_owned(), labels.to_owned())].1 {
        DebugValue::Histogram(all) => all.len() as u64,
        other => panic!("{other:?}"),
    };
    assert_eq!(count("highwater_commit_wait_seconds", ""), 2);
    assert_eq!((count("highwater_log_sync_seconds", "core=0"), syncs), (1, 1));
    assert!(
        told.keys().all(|(name, _)| !["remote", "upload", "sink"].iter().any(|of| name.contains(of))),
        "no store and no sink, no names"
    );
    engine.close(cores).unwrap();
}

/// A recorder that comes later belongs to the next open.
#[test]
fn without_a_recorder_nothing_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = Engine::open(options(&dir)).unwrap();
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || work(&mut opened));
    assert!(told(&snapshotter).is_empty());
    opened.engine.close(opened.cores).unwrap();
}
