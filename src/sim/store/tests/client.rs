//! The client over the simulated store: outcomes under every fault.

use std::sync::Arc;

use bytes::Bytes;

use crate::error::ErrorKind;
use crate::remote::{Class, Client, Outcome, Remote, StoreErrorKind};
use crate::sim::{
    Executor, SimClock, SimEntropy, SimStore, Simulator, StoreFault, StoreFaults, Streams, Trace,
};

type SimClient = Client<SimClock, SimEntropy>;

fn with<Fut: Future<Output = ()> + 'static>(
    seed: u64,
    faults: impl FnOnce(&Streams) -> StoreFaults + 'static,
    story: impl FnOnce(SimStore, SimClient) -> Fut + 'static,
) {
    Simulator::new(seed)
        .run(async move |sim| {
            let streams = Streams::new(seed);
            let store = SimStore::new(&streams, faults(&streams), Trace::new());
            let executor: Arc<dyn Executor> = Arc::new(sim.clone());
            let remote = Remote::new(store.client("test", Arc::clone(&executor)));
            let entropy = SimEntropy::new(streams.stream("entropy"));
            story(store, Client::new(&remote, SimClock::new(executor), entropy)).await;
        })
        .unwrap();
}

fn body(number: u64) -> Bytes {
    Bytes::from(format!("body {number}"))
}

/// S2: whatever the store said, *landed* means that it is there, *conflict* that another is, and an error that it
/// is not.
#[test]
fn an_outcome_is_true() {
    let mut seen = [0; 4];
    for seed in 0..300 {
        let outcomes = Arc::new(std::sync::Mutex::new(Vec::new()));
        let told = Arc::clone(&outcomes);
        with(seed, StoreFaults::swarm, async move |store, client| {
            for number in 0..20 {
                let name = format!("m/{}", number / 2);
                let outcome = client.create(&name, body(number), 64).await;
                let there = store.objects().get(&name).cloned();
                let index = match &outcome {
                    Ok(Outcome::Landed) => {
                        assert_eq!(there, Some(body(number)));
                        0
                    }
                    Ok(Outcome::Conflict(found)) => {
                        assert_ne!(*found, body(number));
                        assert_eq!(there.as_ref(), Some(found));
                        1
                    }
                    Ok(Outcome::Unknown(_)) => 2,
                    Err(_) => {
                        assert_ne!(there, Some(body(number)));
                        3
                    }
                };
                told.lock().unwrap().push(index);
            }
        });
        for index in outcomes.lock().unwrap().iter() {
            seen[*index] += 1;
        }
    }
    assert!(seen[0] > 1_000 && seen[1] > 1_000, "{seen:?}");
}

#[test]
fn a_create_that_nobody_confirms_is_unknown_and_no_failure() {
    with(
        1,
        |_| StoreFaults::none().with(StoreFault::RequestLost, 1.0),
        async |_, client| {
            let outcome = client.create("m/1", body(1), 64).await;
            assert!(matches!(outcome, Ok(Outcome::Unknown(_))), "{outcome:?}");
        },
    );
    with(
        1,
        |_| StoreFaults::none().with(StoreFault::Unavailable, 1.0),
        async |_, client| {
            let failed = client.create("m/1", body(1), 64).await.expect_err("nothing is reached");
            assert_eq!(failed.kind(), StoreErrorKind::Unavailable);
        },
    );
}

/// Whoever conflicts is read whole, also when it is longer than what was to be created.
#[test]
fn a_longer_object_in_the_way_is_read_whole() {
    with(
        3,
        |_| StoreFaults::none(),
        async |store, client| {
            let long = Bytes::from(vec![7; 1_000]);
            store.tamper("m/1", Some(long.clone()));
            assert_eq!(client.create("m/1", body(1), 2_000).await, Ok(Outcome::Conflict(long)));
        },
    );
}

#[test]
fn a_long_object_is_read_whole_through_short_answers() {
    with(
        2,
        |_| StoreFaults::none().with(StoreFault::ShortGet, 0.9),
        async |store, client| {
            let long: Bytes = (0..10_000_u32).flat_map(u32::to_le_bytes).collect();
            store.tamper("f/a", Some(long.clone()));
            assert_eq!(client.read(Class::File, "f/a", 1 << 20).await, Ok(Some(long.clone())));
            let cut = client.read(Class::File, "f/a", 99).await.unwrap().unwrap();
            assert_eq!(cut, long.slice(..100), "one byte more than asked for tells that it is longer");
            assert_eq!(client.read(Class::File, "f/b", 99).await, Ok(None));
        },
    );
}

#[test]
fn the_probe_refuses_a_store_that_creates_a_name_twice() {
    for seed in 0..50 {
        let lies = |streams: &Streams| StoreFaults::swarm(streams).lying();
        with(seed, lies, async |_, client| {
            let refused = client.probe().await.expect_err("it lies");
            assert!(matches!(refused.kind(), ErrorKind::Unsupported | ErrorKind::Failed), "{refused}");
        });
        with(
            seed,
            |_| StoreFaults::none().lying(),
            async |_, client| {
                let refused = client.probe().await.expect_err("it lies");
                assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
            },
        );
    }
}

#[test]
fn the_probe_accepts_an_honest_store_with_faults() {
    let mut accepted = 0;
    for seed in 0..100 {
        let told = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let tell = Arc::clone(&told);
        with(seed, StoreFaults::swarm, async move |_, client| match client.probe().await {
            Ok(()) => tell.store(1, std::sync::atomic::Ordering::Relaxed),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Failed, "{error}"),
        });
        accepted += told.load(std::sync::atomic::Ordering::Relaxed);
    }
    assert!(accepted > 60, "{accepted}");
}
