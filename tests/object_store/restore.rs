//! The disk is gone, and the store has everything.

use std::time::Instant;

#[cfg(feature = "cli")]
use highwater::remote::ObjectStore;
use highwater::{Engine, ErrorKind, Options};

use crate::load::{end_epoch, export, model, open, put, state, wait_remote, write_epoch};
use crate::place::Place;
#[cfg(feature = "cli")]
use crate::place::wait;

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
        assert_eq!((restored.report.epoch, restored.report.live_keys), (stored, keys));
        assert!(export(&restored.cores) == wanted, "the sorted export differs");
        println!("    onto {cores} cores: open again in {down:.2} s");
        restored.engine.close(restored.cores).unwrap();
    }
}

/// What the tool says; it succeeds.
#[cfg(feature = "cli")]
fn tool(place: &Place, arguments: &[&str]) -> String {
    let mut tool = std::process::Command::new(env!("CARGO_BIN_EXE_highwater"));
    tool.args(arguments);
    tool.args(place.options.iter().map(|(name, value)| format!("--option={name}={value}")));
    let output = tool.output().unwrap();
    let told =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    println!("    {}", told.lines().last().unwrap_or_default());
    told
}

/// An object of the newest checkpoint is gone. Nobody takes the database over, and no attempt takes the earlier checkpoint away,
/// which the tool brings down.
#[cfg(feature = "cli")]
pub(crate) fn a_rotten_checkpoint_leaves_the_one_before_it(place: &Place) {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open(&dir.path().join("data"), 2, place.remote()).unwrap();
    let earlier = write_epoch(&mut opened);
    wait_remote(&opened, earlier);
    let bucket = place.bucket();
    let before = wait(bucket.list("f/")).unwrap();
    let newest = write_epoch(&mut opened);
    wait_remote(&opened, newest);
    opened.engine.close(opened.cores).unwrap();
    let after = wait(bucket.list("f/")).unwrap();
    let rotten = after.into_iter().find(|object| !before.contains(object)).unwrap();
    wait(bucket.delete(&rotten.name)).unwrap();
    for attempt in 0..2 {
        let data = dir.path().join(format!("attempt-{attempt}"));
        let refused = open(&data, 2, place.remote()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
        assert!(refused.to_string().contains(&format!("--to-epoch {earlier}`")), "{refused}");
    }
    let copy = dir.path().join("copy");
    let epoch = earlier.to_string();
    let told = tool(place, &["fetch", &place.url, copy.to_str().unwrap(), "--to-epoch", &epoch, "--json"]);
    assert!(told.contains(&format!("\"epoch\": {epoch}")), "{told}");
    let copied = Engine::open(Options::new(&copy).cores(2)).unwrap();
    assert_eq!(copied.report.epoch, earlier);
    assert!(state(&copied.cores) == model(earlier), "another state was fetched");
    copied.engine.close(copied.cores).unwrap();
}

/// The writer retires what is being fetched: that is no damage, and the tool comes down with what is there then.
#[cfg(feature = "cli")]
pub(crate) fn a_copy_is_fetched_while_the_writer_goes_on(place: &Place) {
    let dir = tempfile::tempdir().unwrap();
    let options =
        Options::new(dir.path().join("data")).cores(2).segment_bytes(4 << 20).remote(place.remote());
    let options =
        options.retain_checkpoints(1).checkpoint_interval(Some(std::time::Duration::from_millis(1)));
    let mut opened = Engine::open(options).unwrap();
    let stored = write_epoch(&mut opened);
    wait_remote(&opened, stored);
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                let epoch = write_epoch(&mut opened);
                wait_remote(&opened, epoch);
            }
        });
        for number in 0..10 {
            let copy = dir.path().join(format!("copy-{number}"));
            tool(place, &["fetch", &place.url, copy.to_str().unwrap()]);
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        writer.join().unwrap();
    });
    opened.engine.close(opened.cores).unwrap();
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
    let tool = |arguments: &[&str]| tool(place, arguments);
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
