use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Hardware, Machine};
use crate::env::Env;
use crate::sim::{Executor, FaultClass, SimEnv, SimVfs, Simulator, Streams, Tape, lock};
use crate::vfs::{File, OpenMode, Vfs};

const SECOND: Duration = Duration::from_secs(1);

/// Writes one byte after the other, each synced, and notes how far it knows them to be.
async fn count_up(env: SimEnv<SimVfs>, known: Arc<Mutex<u8>>) {
    let vfs = env.vfs().unwrap();
    let file = vfs.create_new("count".as_ref()).await.unwrap();
    vfs.sync_dir("".as_ref()).await.unwrap();
    for number in 1..=10_u8 {
        file.write_at(0, vec![number].into()).await.unwrap();
        file.sync_data().await.unwrap();
        *lock(&known) = number;
    }
}

fn machine_at(calls: u64) -> (Option<String>, u8, Option<Vec<u8>>) {
    let known = Arc::new(Mutex::new(0));
    let seen = Arc::clone(&known);
    let run = Simulator::new(1).run(async move |sim| {
        let mut machine = Machine::new(&sim, 1, Hardware::default());
        machine.spawn("count", move |env| count_up(env, seen));
        let stopped = machine.run_until_call(calls, SECOND).await;
        machine.cut_power_with(&mut Tape::default().replay());
        assert!(!machine.process().is_dead(), "the next process");
        (stopped.map(|info| info.operation.to_owned()), machine.disk().disk().read_file("count"))
    });
    let (stopped, found) = run.unwrap();
    let known = *lock(&known);
    (stopped, known, found)
}

#[test]
fn a_process_stops_at_its_call_and_no_later() {
    assert_eq!(machine_at(1), (Some("create_new".to_owned()), 0, None));
    assert_eq!(machine_at(2), (Some("sync_dir".to_owned()), 0, None));
    // The directory was synced; nothing in the file was.
    assert_eq!(machine_at(4), (Some("sync_data".to_owned()), 0, Some(vec![])));
    assert_eq!(machine_at(5), (Some("write_at".to_owned()), 1, Some(vec![1])));
    assert_eq!(machine_at(10), (Some("sync_data".to_owned()), 3, Some(vec![3])));
    assert_eq!(machine_at(1_000), (None, 10, Some(vec![10])));
}

#[test]
fn a_stopped_process_can_go_on() {
    let known = Arc::new(Mutex::new(0));
    let seen = Arc::clone(&known);
    Simulator::new(1)
        .run(async move |sim| {
            let mut machine = Machine::new(&sim, 1, Hardware::default());
            machine.spawn("count", move |env| count_up(env, seen));
            assert!(machine.run_until_call(5, SECOND).await.is_some());
            sim.sleep(SECOND).await;
            let stopped_at = *lock(&known);
            machine.resume();
            assert!(machine.run_until_call(1_000, SECOND).await.is_none());
            assert_eq!((stopped_at, *lock(&known)), (1, 10));
        })
        .unwrap();
}

#[test]
fn a_process_crash_keeps_the_page_cache_and_the_next_process_finds_it() {
    Simulator::new(1)
        .run(async |sim| {
            let mut machine = Machine::new(&sim, 1, Hardware::default());
            let write = async |env: SimEnv<SimVfs>| {
                let file = env.vfs().unwrap().create_new("a".as_ref()).await.unwrap();
                file.write_at(0, b"cached".to_vec().into()).await.unwrap();
                std::future::pending::<()>().await;
            };
            machine.spawn("write", write);
            assert!(machine.run_until_call(3, SECOND).await.is_none());
            let before = machine.env();
            machine.crash_process();
            assert!(
                before.vfs().unwrap().open("a".as_ref(), OpenMode::Read).await.is_err(),
                "of a dead process"
            );
            let file = machine.env().vfs().unwrap().open("a".as_ref(), OpenMode::Read).await.unwrap();
            assert_eq!(file.len().await.unwrap(), 6);
        })
        .unwrap();
}

#[test]
fn hardware_is_drawn_from_its_seed_and_tells_what_it_is() {
    let draw = |seed| Hardware::draw(&Streams::new(seed));
    assert_eq!(draw(3), draw(3));
    assert!((0..50).any(|seed| draw(seed) != draw(3)));
    for seed in 0..50 {
        let faults = draw(seed).faults;
        assert!(FaultClass::RATED.iter().all(|&class| class.in_contract() || faults.rate(class) == 0.0));
    }
    let small = Hardware { disk_bytes: 4096, ..Hardware::default() };
    assert!(small.to_string().contains("bytes=4096; faults: sites=1"), "{small}");
}
