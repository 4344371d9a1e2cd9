//! I12: the same seed gives the same trace. On fresh threads of this process, and in another process, where addresses
//! and thread ids are others.

use std::env;
use std::process::Command;

use crate::host::Scheduler;
use crate::sweep;

/// Runs `seed` twice here and once in a process of its own, in which the test `test` replays it.
pub(crate) fn i12_same_seed_same_trace(scheduler: Scheduler, test: &str, seed: u64) {
    let [first, second] = [(); 2].map(|()| {
        let outcome = sweep::one(scheduler, seed);
        assert!(outcome.failure.is_none(), "seed {seed:#x}: {:?}", outcome.failure);
        digest(outcome.run.trace.digest(), outcome.run.trace.events())
    });
    assert_eq!(first, second, "I12: seed {seed:#x} on the {scheduler} scheduler, twice in one process");
    let elsewhere = in_another_process(test, seed);
    assert!(
        elsewhere.lines().any(|line| line == first),
        "I12: seed {seed:#x} on the {scheduler} scheduler: {first} here, and in another process:\n{elsewhere}"
    );
}

/// The line in which a replay tells its digest.
pub(crate) fn digest(digest: u128, events: u64) -> String {
    format!("digest={digest:032x} events={events}")
}

fn in_another_process(test: &str, seed: u64) -> String {
    let program = env::current_exe().unwrap_or_else(|error| panic!("where is this program: {error}"));
    let output = Command::new(program)
        .args([test, "--exact", "--nocapture"])
        .env("HIGHWATER_SEED", format!("{seed:#x}"))
        .output()
        .unwrap_or_else(|error| panic!("running {test} in another process: {error}"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
