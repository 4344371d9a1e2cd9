use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::SimEnv;
use crate::env::{Clock, Entropy, Env, Spawn};
use crate::sim::{Executor, Simulator, Streams, lock};
use crate::vfs::StdVfs;

/// What an engine would do: only through the seams, on whatever environment.
async fn beat(env: impl Env, beats: Arc<AtomicU32>) {
    let clock = env.clock();
    loop {
        clock.sleep(Duration::from_millis(10)).await;
        beats.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn work_runs_as_tasks_of_its_node_and_dies_with_it() {
    Simulator::new(1)
        .run(async |sim| {
            let beats = Arc::new(AtomicU32::new(0));
            let node = sim.node("engine");
            let env = SimEnv::new("engine", Arc::new(node.clone()), StdVfs, &Streams::new(1));
            let (inner, counted) = (env.clone(), Arc::clone(&beats));
            env.spawn().spawn("heart", move || beat(inner, counted)).unwrap();
            sim.sleep(Duration::from_millis(105)).await;
            assert_eq!(beats.load(Ordering::Relaxed), 10);
            node.kill();
            sim.sleep(Duration::from_secs(1)).await;
            assert_eq!(beats.load(Ordering::Relaxed), 10);
        })
        .unwrap();
}

/// A process that drew the identities of its predecessor would take its files for its own.
#[test]
fn a_rebooted_process_draws_fresh_identities() {
    Simulator::new(1)
        .run(async |sim| {
            let streams = Streams::new(1);
            let seen = Mutex::new(Vec::new());
            let mut env = SimEnv::new("engine", Arc::new(sim.node("engine")), StdVfs, &streams);
            for _ in 0..3 {
                lock(&seen).extend([env.entropy().nonce(), env.entropy().nonce()]);
                env.clock().jump_wall(1_000);
                env = env.reboot(Arc::new(sim.node("engine")), StdVfs);
            }
            let mut nonces = lock(&seen).clone();
            nonces.sort_unstable();
            nonces.dedup();
            assert_eq!(nonces.len(), 6);

            let fresh = SimEnv::new("other", Arc::new(sim.node("other")), StdVfs, &streams);
            assert!(!nonces.contains(&fresh.entropy().nonce()));
            assert_eq!(env.clock().wall_ms(), fresh.clock().wall_ms() + 3_000);
        })
        .unwrap();
}
