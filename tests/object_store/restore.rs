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

pub(crate) fn a_large_state_comes_back_byte_for_byte(place: &Place) {
    let keys = std::env::var("HIGHWATER_KEYS").map_or(1_000_000, |keys| keys.parse().unwrap());
    comes_back(place, keys, 2);
}

/// A state of `keys` keys on so many cores, whose directory is lost.
fn comes_back(place: &Place, keys: u64, cores: u16) {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let options = |dir: &tempfile::TempDir| {
        Options::new(dir.path().join("data")).cores(cores).remote(place.remote().part_bytes(5 << 20))
    };
    let mut opened = Engine::open(options(&first)).unwrap();
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

    let began = Instant::now();
    let restored = Engine::open(options(&second)).unwrap();
    let down = began.elapsed();
    assert!(restored.report.restored);
    assert_eq!((restored.report.epoch, restored.report.live_records), (stored, keys));
    assert!(export(&restored.cores) == wanted, "the sorted export differs");
    let (up, down, mib) = (up.as_secs_f64(), down.as_secs_f64(), wanted.len() >> 20);
    println!("    {keys} keys, {mib} MiB, {cores} cores: up in {up:.2} s, open again in {down:.2} s");
    restored.engine.close(restored.cores).unwrap();
}

/// The tool brings the newest checkpoint down, and takes nothing over.
#[cfg(feature = "cli")]
pub(crate) fn a_fetched_copy_leaves_the_store_to_its_writer(place: &Place) {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open(&dir.path().join("data"), 2, place.remote()).unwrap();
    let stored = write_epoch(&mut opened);
    wait_remote(&opened, stored);

    let copy = dir.path().join("copy");
    let mut tool = std::process::Command::new(env!("CARGO_BIN_EXE_highwater"));
    tool.args(["fetch", &place.url]).arg(&copy);
    tool.args(place.options.iter().map(|(name, value)| format!("--option={name}={value}")));
    let output = tool.output().unwrap();
    let told =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    println!("    {}", told.trim());

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
