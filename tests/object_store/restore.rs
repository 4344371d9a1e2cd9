//! The disk is gone, and the store has everything.

use std::time::Instant;

use highwater::{Engine, ErrorKind, Options};

use crate::load::{end_epoch, export, model, open, put, state, wait_remote, write_epoch};
use crate::place::Place;

pub(crate) fn a_lost_machine_loses_nothing_that_was_remote(place: &Place) {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut opened = open(&first.path().join("data"), 2, place.remote()).unwrap();
    let mut stored = write_epoch(&mut opened);
    for _ in 0..20 {
        stored = write_epoch(&mut opened);
    }
    wait_remote(&opened, stored);

    // The old process still runs, without its directory, and does not know that it is over.
    std::fs::remove_dir_all(first.path()).unwrap();
    let mut restored = open(&second.path().join("data"), 2, place.remote()).unwrap();
    assert!(restored.report.restored);
    assert_eq!(restored.report.epoch, stored);
    assert!(state(&restored.cores) == model(stored), "another state came back");

    let newest = write_epoch(&mut restored);
    wait_remote(&restored, newest);
    restored.engine.close(restored.cores).unwrap();
    drop(opened);

    // And once more, from what the second one wrote.
    let third = tempfile::tempdir().unwrap();
    let again = open(&third.path().join("data"), 2, place.remote()).unwrap();
    assert!(state(&again.cores) == model(newest), "another state came back");
    assert_eq!(again.report.epoch, newest);
    again.engine.close(again.cores).unwrap();
    let deposed = open(&second.path().join("data"), 2, place.remote()).unwrap_err();
    assert_eq!(deposed.kind(), ErrorKind::Fenced, "{deposed}");
}

/// A large state on two cores, whose directory is lost: onto as many cores, fewer and more.
pub(crate) fn a_large_state_comes_back_byte_for_byte(place: &Place) {
    let keys: u64 = std::env::var("HIGHWATER_KEYS").map_or(1_000_000, |keys| keys.parse().unwrap());
    let options = |dir: &tempfile::TempDir, cores: u16| {
        Options::new(dir.path().join("data")).cores(cores).remote(place.remote().part_bytes(5 << 20))
    };
    let first = tempfile::tempdir().unwrap();
    let mut opened = Engine::open(options(&first, 2)).unwrap();
    let mut fill = |step: u64, from: u64, word: &str| {
        for number in (from..keys).step_by(usize::try_from(step).unwrap()) {
            let key = format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let core = opened.engine.core_of(key.as_bytes()).index();
            put(&mut opened.cores[core], key.as_bytes(), format!("{word} {number}").as_bytes());
        }
        end_epoch(&mut opened)
    };
    fill(1, 0, "first");
    // What is uploaded is a base and deltas.
    let stored = fill(10, 3, "second");
    let began = Instant::now();
    wait_remote(&opened, stored);
    let up = began.elapsed();
    let wanted = export(&opened.cores);
    opened.engine.close(opened.cores).unwrap();
    drop(first);

    let (up, mib) = (up.as_secs_f64(), wanted.len() >> 20);
    println!("    {keys} keys, {mib} MiB on 2 cores: up in {up:.2} s");
    for cores in [1, 2, 4] {
        let dir = tempfile::tempdir().unwrap();
        let began = Instant::now();
        let restored = Engine::open(options(&dir, cores)).unwrap();
        let down = began.elapsed().as_secs_f64();
        assert!(restored.report.restored);
        assert_eq!((restored.report.epoch, restored.report.live_records), (stored, keys));
        assert!(export(&restored.cores) == wanted, "the sorted export differs");
        println!("    onto {cores} cores: open again in {down:.2} s");
        restored.engine.close(restored.cores).unwrap();
    }
}

/// The tool brings the newest checkpoint down, and takes nothing over.
#[cfg(feature = "cli")]
pub(crate) fn a_fetched_copy_leaves_the_store_to_its_writer(place: &Place) {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open(&dir.path().join("data"), 2, place.remote()).unwrap();
    let pinned = write_epoch(&mut opened);
    wait_remote(&opened, pinned);
    opened.engine.pin("audit", None).unwrap();
    let mut stored = pinned;
    for _ in 0..30 {
        stored = write_epoch(&mut opened);
        wait_remote(&opened, stored);
    }
    let tool = |arguments: &[&str]| {
        let mut tool = std::process::Command::new(env!("CARGO_BIN_EXE_highwater"));
        tool.args(arguments);
        tool.args(place.options.iter().map(|(name, value)| format!("--option={name}={value}")));
        let output = tool.output().unwrap();
        let told =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}");
        println!("    {}", told.lines().last().unwrap_or_default());
        told
    };
    let (copy, past) = (dir.path().join("copy"), dir.path().join("past"));
    tool(&["fetch", &place.url, copy.to_str().unwrap()]);
    assert!(tool(&["epochs", &place.url]).contains("audit"));
    tool(&["fetch", &place.url, past.to_str().unwrap(), "--to-epoch", &pinned.to_string()]);
    let plan = tool(&["gc", "--dry-run", "--all", &place.url]);
    assert!(plan.contains(&format!("epoch {pinned}, which is kept, needs it")));
    let of_past = Engine::open(Options::new(&past).cores(2)).unwrap();
    assert_eq!(of_past.report.epoch, pinned);
    assert!(state(&of_past.cores) == model(pinned), "another state was fetched");
    of_past.engine.close(of_past.cores).unwrap();

    let next = write_epoch(&mut opened);
    wait_remote(&opened, next);
    let foreign = open(&copy, 2, place.remote()).unwrap_err();
    assert_eq!(foreign.kind(), ErrorKind::Fenced, "{foreign}");
    let copied = Engine::open(Options::new(&copy).cores(2)).unwrap();
    assert_eq!(copied.report.epoch, stored);
    assert!(state(&copied.cores) == model(stored), "another state was fetched");
    copied.engine.close(copied.cores).unwrap();
    opened.engine.close(opened.cores).unwrap();
}
