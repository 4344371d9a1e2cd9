//! The service of `examples/simulate_your_app` is one program in both worlds: what a client sees on a real disk it
//! sees on a simulated one.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "../examples/simulate_your_app/service.rs"]
mod service;

use std::sync::Arc;

use highwater::Options;
use highwater::env::{Blocking, Env, Spawn, StdEnv};

use service::{ACCOUNTS, Bug, START, Transfer, Wire, audit, client, expected, serve};

fn transfers(count: usize) -> Vec<Transfer> {
    let transfer = |number| Transfer {
        from: number % ACCOUNTS,
        to: (number * 3 + 1) % ACCOUNTS,
        amount: number as u64 * 7 % START,
    };
    (0..count).map(transfer).collect()
}

fn options(path: impl AsRef<std::path::Path>) -> Options {
    Options::new(path).segment_bytes(64 << 10).batch_bytes(4 << 10).queue_bytes(64 << 10)
}

/// The service on a thread, until the client on this one has had everything confirmed.
fn live_on_a_real_disk(options: &Options, transfers: &[Transfer]) -> u64 {
    let wire = Arc::new(Wire::default());
    let (served, outcome) = std::sync::mpsc::channel();
    let (line, its_options) = (Arc::clone(&wire), options.clone());
    let serving = async move || {
        let outcome = serve(StdEnv, its_options, &line, Bug::None).await;
        line.hang_up();
        served.send(outcome).unwrap();
    };
    StdEnv.spawn().spawn("service", serving).unwrap();
    StdEnv.block_on(client(StdEnv.clock(), &wire, transfers));
    outcome.recv().unwrap().unwrap();
    wire.confirmed()
}

#[test]
fn on_a_real_disk_every_transfer_is_made_once_across_lives() {
    let home = tempfile::tempdir().unwrap();
    let options = options(home.path().join("bank"));
    let all = transfers(60);
    assert_eq!(live_on_a_real_disk(&options, &all[..25]), 25);
    // This client asks for the first 25 once more: they were made, and are only confirmed.
    assert_eq!(live_on_a_real_disk(&options, &all), 60);
    assert_eq!(StdEnv.block_on(audit(StdEnv, options)).unwrap(), expected(&all));
    assert_ne!(expected(&all), expected(&all[25..]));
}

#[cfg(feature = "sim")]
#[test]
fn on_a_simulated_disk_it_does_the_same() {
    use std::time::Duration;

    use highwater::sim::{Executor, Hardware, Machine, SimClock, Simulator};

    let all = transfers(60);
    let told = Simulator::new(1).run(async |sim| {
        let wire = Arc::new(Wire::default());
        let mut machine = Machine::new(&sim, 1, Hardware::default());
        for life in 0..3 {
            let line = Arc::clone(&wire);
            let serving = async move |env| {
                let _ends_with_the_process = serve(env, options("bank"), &line, Bug::None).await;
            };
            machine.spawn("service", serving);
            if life == 0 {
                let (clock, line, all) =
                    (SimClock::new(Arc::new(sim.clone())), Arc::clone(&wire), all.clone());
                sim.spawn("client", async move || client(clock, &line, &all).await);
                assert!(machine.run_until_call(100, Duration::from_secs(5)).await.is_some());
            } else {
                sim.sleep(Duration::from_secs(5)).await;
            }
            machine.cut_power();
            wire.hang_up();
        }
        (wire.confirmed(), audit(machine.env(), options("bank")).await.unwrap())
    });
    assert_eq!(told.unwrap(), (60, expected(&all)));
}
