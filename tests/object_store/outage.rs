//! The store is away, or dies in the middle.

use std::time::{Duration, Instant};

use highwater::{EpochMark, ErrorKind, Opened, RemoteStatus};

use crate::load::{end_epoch, model, open, put_epoch, state, wait_remote, write_epoch};
use crate::weed::Weed;

/// How often a server is killed while something goes up.
const KILLS: u32 = 2;

/// Epochs that the cores may be ahead of the store, in the trials that unplug it.
const LAG: u64 = 50;

fn status(opened: &Opened) -> RemoteStatus {
    opened.engine.remote_status().unwrap()
}

/// Writes until an upload is on its way.
fn until_uploading(opened: &mut Opened) {
    while status(opened).pending {
        write_epoch(opened);
    }
    while !status(opened).pending {
        write_epoch(opened);
    }
}

pub(crate) fn a_server_that_dies_in_the_middle_costs_nothing(server: &mut Weed) {
    let place = server.place().fresh().option("timeout", "5s");
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut opened = open(&first.path().join("data"), 2, place.remote()).unwrap();
    let epoch = write_epoch(&mut opened);
    wait_remote(&opened, epoch);
    for kill in 0..KILLS {
        until_uploading(&mut opened);
        // A little later each time.
        std::thread::sleep(Duration::from_millis(3 * u64::from(kill)));
        server.kill();
        let before = status(&opened).epoch;
        for _ in 0..20 {
            write_epoch(&mut opened);
        }
        server.plug_in();
        assert!(status(&opened).epoch >= before, "the store went back");
    }
    let newest = write_epoch(&mut opened);
    wait_remote(&opened, newest);
    opened.engine.close(opened.cores).unwrap();
    drop(first);
    let restored = open(&second.path().join("data"), 2, place.remote()).unwrap();
    assert_eq!(restored.report.epoch, newest);
    assert!(state(&restored.cores) == model(newest), "another state came back");
    restored.engine.close(restored.cores).unwrap();
}

pub(crate) fn machine_and_server_may_die_together(server: &mut Weed) {
    let place = server.place().fresh().option("timeout", "5s");
    let mut dir = tempfile::tempdir().unwrap();
    for round in 0..2_u32 {
        let mut opened = open(&dir.path().join("data"), 2, place.remote()).unwrap();
        assert_eq!(opened.report.restored, round > 0);
        assert!(state(&opened.cores) == model(opened.report.epoch), "round {round}: another state");
        let promised = write_epoch(&mut opened);
        wait_remote(&opened, promised);
        until_uploading(&mut opened);
        server.kill();
        drop(opened);
        dir = tempfile::tempdir().unwrap();
        server.plug_in();
        let restored = open(&dir.path().join("data"), 2, place.remote()).unwrap();
        assert!(restored.report.epoch >= promised, "round {round}: {} of {promised}", restored.report.epoch);
        restored.engine.close(restored.cores).unwrap();
        dir = tempfile::tempdir().unwrap();
    }
}

pub(crate) fn an_unplugged_store_stops_nobody_before_the_bound(server: &mut Weed) {
    away(server, Weed::kill, Weed::plug_in);
}

pub(crate) fn a_silent_store_stops_nobody_before_the_bound(server: &mut Weed) {
    away(server, |server| server.freeze(), |server| server.thaw());
}

fn away(server: &mut Weed, unplug: impl Fn(&mut Weed), plug_in: impl Fn(&mut Weed)) {
    let seconds = std::env::var("HIGHWATER_UNPLUG_SECONDS").map_or(5, |text| text.parse().unwrap());
    let place = server.place().fresh().option("timeout", "3s");
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut opened = open(&first.path().join("data"), 2, place.remote().epoch_lag_max(LAG)).unwrap();
    for _ in 0..2 * LAG {
        write_epoch(&mut opened);
    }
    let newest = write_epoch(&mut opened);
    wait_remote(&opened, newest);
    unplug(server);
    let began = Instant::now();
    let (ended, refused) = run_to_the_bound(&mut opened);
    assert_eq!(ended, LAG, "what may end without the store: {refused}");
    println!(
        "    {ended} epochs ended after the store had gone, for {:.2} s: {refused}",
        began.elapsed().as_secs_f64()
    );

    // Standing still, and reading, until the store is back.
    while began.elapsed() < Duration::from_secs(seconds) {
        let error = opened.cores[0].close_epoch(EpochMark::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
        assert!(
            opened.cores[0].get(b"key/000000").is_ok_and(|_| true)
                || opened.cores[1].get(b"key/000000").is_ok()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    plug_in(server);
    let back = Instant::now();
    end_epoch(&mut opened);
    let first_again = back.elapsed();
    for _ in 0..LAG {
        write_epoch(&mut opened);
    }
    let newest = end_epoch(&mut opened);
    wait_remote(&opened, newest);
    println!(
        "    away for {seconds} s; the first epoch ended {:.2} s after it was back, all was there after {:.2} s",
        first_again.as_secs_f64(),
        back.elapsed().as_secs_f64()
    );
    opened.engine.close(opened.cores).unwrap();
    let restored = open(&second.path().join("data"), 2, place.remote()).unwrap();
    assert_eq!(restored.report.epoch, newest);
    restored.engine.close(restored.cores).unwrap();
}

/// Works until the bound, and says how many epochs ended before, and what it was told there.
fn run_to_the_bound(opened: &mut Opened) -> (u64, String) {
    let mut ended = 0;
    loop {
        put_epoch(opened);
        let cores = opened.cores.iter_mut();
        let closed: Vec<_> =
            cores.map(|core| (core.open_epoch(), core.close_epoch(EpochMark::new()))).collect();
        let stored = status(opened).epoch;
        if closed.iter().all(|(_, closed)| closed.is_ok()) {
            let epoch = closed[0].0;
            assert!(epoch.0 <= stored.0 + LAG, "epoch {epoch} with {stored} in the store");
            opened.engine.wait_durable(epoch).unwrap();
            ended += 1;
            continue;
        }
        let (epoch, error) =
            closed.into_iter().find_map(|(epoch, closed)| Some((epoch, closed.err()?))).unwrap();
        assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
        assert_eq!(epoch.0, stored.0 + LAG + 1, "exactly at the bound: {error}");
        // Changes of the open epoch still go in, into the state and the log.
        for number in 0..1_000_u32 {
            let key = format!("open/{number}").into_bytes();
            let core = opened.engine.core_of(&key).index();
            opened.cores[core].put(&key, b"during the outage").unwrap();
        }
        return (ended, error.to_string());
    }
}
