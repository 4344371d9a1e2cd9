//! How long a recovery takes is predicted, measured, and kept within what was asked for, on the disk of this machine.

#![expect(clippy::unwrap_used, reason = "a test says what it expects")]
#![expect(clippy::disallowed_methods, reason = "it waits for what works in the background")]

use std::path::Path;
use std::time::{Duration, Instant};

use highwater::{Engine, EpochMark, Opened, Options, RecoveryReport};

/// Records of one epoch, and bytes of their values.
const RECORDS: u64 = 8_000;
const VALUE: [u8; 250] = [7; 250];

fn options(root: &Path) -> Options {
    Options::new(root).segment_bytes(4 << 20).checkpoint_interval(None).checkpoint_wal_bytes(1 << 40)
}

/// Writes `epochs` epochs of two megabytes each.
fn write(opened: &mut Opened, epochs: u64) {
    for _ in 0..epochs {
        let core = &mut opened.cores[0];
        for number in 0..RECORDS {
            while core.put(&number.to_le_bytes(), &VALUE).is_err() {
                core.ready().wait().unwrap();
            }
        }
        let epoch = core.close_epoch(EpochMark::new()).unwrap();
        opened.engine.wait_durable(epoch).unwrap();
    }
}

fn reopen(opened: Opened, options: Options) -> Opened {
    opened.engine.close(opened.cores).unwrap();
    Engine::open(options).unwrap()
}

#[test]
fn a_recovery_is_predicted_and_each_one_corrects_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    let mut opened = Engine::open(options(&root)).unwrap();
    let empty = opened.engine.recovery_forecast();
    write(&mut opened, 12);
    let forecast = opened.engine.recovery_forecast();
    assert!(forecast.log_bytes > 12 * RECORDS * 250, "{forecast:?}");
    assert!(forecast.predicted > empty.predicted && !forecast.exceeds_budget());

    let told = |name: &str, report: &RecoveryReport| {
        let RecoveryReport { predicted, took, replayed_records, .. } = report;
        println!("    {name}: {replayed_records} records, predicted {predicted:.1?}, took {took:.1?}");
    };
    let opened = reopen(opened, options(&root));
    told("at guesses", &opened.report);
    assert!(opened.report.predicted >= forecast.predicted, "what was forecast is what was done");
    let corrected = opened.engine.recovery_forecast();
    assert!(corrected.predicted < opened.report.predicted, "guesses are on the slow side: {corrected:?}");

    // A checkpoint carries what was learned.
    let mut opened = opened;
    write(&mut opened, 6);
    opened.engine.checkpoint().unwrap();
    let loads = opened.engine.recovery_forecast();
    assert!(loads.checkpoint_bytes > RECORDS * 250 && loads.log_bytes == 0, "{loads:?}");
    // What belongs to an epoch that is still open is in no checkpoint, however often one is taken.
    for number in 0..RECORDS {
        opened.cores[0].put(&number.to_le_bytes(), &VALUE).unwrap();
    }
    let closed = opened.cores[0].close_epoch(EpochMark::new()).unwrap();
    opened.engine.wait_durable(closed).unwrap();
    for number in 0..RECORDS {
        opened.cores[0].put(&number.to_le_bytes(), &VALUE).unwrap();
    }
    while opened.engine.recovery_forecast().log_bytes < 2 * RECORDS * 250 - (512 << 10) {
        std::thread::yield_now();
    }
    opened.engine.checkpoint().unwrap();
    let forecast = opened.engine.recovery_forecast();
    assert!(forecast.log_bytes > RECORDS * 250 - (512 << 10), "half of it is in no checkpoint: {forecast:?}");
    write(&mut opened, 12);
    let forecast = opened.engine.recovery_forecast().predicted;
    let opened = reopen(opened, options(&root));
    told("as measured", &opened.report);
    assert!(opened.report.predicted >= forecast);
    let (predicted, took) = (opened.report.predicted, opened.report.took);
    assert!(predicted < 10 * took + Duration::from_secs(1), "{predicted:?} for {took:?}");
    opened.engine.close(opened.cores).unwrap();
}

#[test]
fn checkpoints_are_taken_as_often_as_the_budget_asks_for() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    let budget = Duration::from_millis(400);
    let mut opened = Engine::open(options(&root).max_recovery(budget)).unwrap();
    write(&mut opened, 20);
    // Forty megabytes of log are more than the budget allows, and nobody asks for a checkpoint.
    let began = Instant::now();
    while opened.engine.retained().is_empty() || opened.engine.recovery_forecast().exceeds_budget() {
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", opened.engine.recovery_forecast());
        std::thread::sleep(Duration::from_millis(10));
    }
    let opened = reopen(opened, options(&root));
    println!("    within {budget:?}: {}", opened.report);
    opened.engine.close(opened.cores).unwrap();
}
