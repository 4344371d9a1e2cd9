//! The simulated store does what it says, fault by fault, and nothing that a naive model of it forbids.

mod client;
mod image;
mod naive;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{SimStore, StoreClient, StoreFault, StoreFaults};
use crate::env::Tick;
use crate::remote::{Created, ObjectStore, StoreError, StoreErrorKind};
use crate::sim::{Executor, Handle, Simulator, Streams, Trace};

const MINUTE: Duration = Duration::from_secs(60);

/// Runs `story` with a store that does what `faults` says.
fn with<Fut: Future<Output = ()> + 'static>(
    faults: StoreFaults,
    story: impl FnOnce(SimStore, StoreClient, Handle) -> Fut + 'static,
) {
    Simulator::new(3)
        .run(async move |sim| {
            let store = SimStore::new(&Streams::new(3), faults, Trace::new());
            let client = store.client("test", Arc::new(sim.clone()));
            story(store, client, sim).await;
        })
        .unwrap();
}

fn only(fault: StoreFault) -> StoreFaults {
    StoreFaults::none().with(fault, 1.0)
}

fn kind<T>(reply: Result<T, StoreError>) -> Option<StoreErrorKind> {
    reply.err().map(|error| error.kind())
}

const ONE: Bytes = Bytes::from_static(b"one");
const TWO: Bytes = Bytes::from_static(b"two");

#[test]
fn without_faults_it_is_a_map() {
    with(StoreFaults::none(), async |store, client, _| {
        assert_eq!(client.create("m/1", ONE).await, Ok(Created::New));
        assert_eq!(client.create("m/1", TWO).await, Ok(Created::Exists));
        client.put("f/a", TWO).await.unwrap();
        assert_eq!(client.get("m/1", 1..9).await, Ok(Some(ONE.slice(1..))));
        assert_eq!(client.get("m/1", 3..9).await, Ok(Some(Bytes::new())));
        assert_eq!((client.size("f/a").await, client.size("f/b").await), (Ok(Some(3)), Ok(None)));
        let names: Vec<_> = client.list("f/").await.unwrap().into_iter().map(|listed| listed.name).collect();
        assert_eq!(names, ["f/a"]);
        client.delete("f/a").await.unwrap();
        client.delete("f/a").await.unwrap();
        assert_eq!(store.objects().len(), 1);
    });
}

#[test]
fn an_upload_in_parts_appears_whole_when_it_is_completed() {
    with(StoreFaults::none(), async |store, client, _| {
        let id = client.begin_upload("f/a").await.unwrap();
        let second = client.put_part("f/a", &id, 1, TWO).await.unwrap();
        let first = client.put_part("f/a", &id, 0, ONE).await.unwrap();
        assert_eq!((client.size("f/a").await, store.open_uploads()), (Ok(None), 1));
        client.complete_upload("f/a", &id, &[first, second]).await.unwrap();
        assert_eq!(client.get("f/a", 0..9).await, Ok(Some(Bytes::from_static(b"onetwo"))));
        assert_eq!(kind(client.complete_upload("f/a", &id, &[]).await), Some(StoreErrorKind::Refused));

        let id = client.begin_upload("f/b").await.unwrap();
        client.abort_upload("f/b", &id).await.unwrap();
        assert_eq!(kind(client.put_part("f/b", &id, 0, ONE).await), Some(StoreErrorKind::Refused));
    });
}

#[test]
fn what_is_not_done_is_not_done() {
    for (fault, told) in [
        (StoreFault::Throttled, StoreErrorKind::Throttled),
        (StoreFault::Unavailable, StoreErrorKind::Unavailable),
        (StoreFault::RequestLost, StoreErrorKind::Unknown),
    ] {
        with(only(fault), async move |store, client, _| {
            assert_eq!(kind(client.create("m/1", ONE).await), Some(told));
            assert_eq!(kind(client.put("m/1", ONE).await), Some(told));
            assert_eq!(kind(client.get("m/1", 0..1).await), Some(told));
            assert_eq!(kind(client.list("").await), Some(told));
            assert!(store.objects().is_empty());
            assert_eq!(store.injected()[&fault], 4);
        });
    }
}

#[test]
fn a_lost_reply_leaves_what_was_done() {
    with(only(StoreFault::ReplyLost), async |store, client, _| {
        assert_eq!(kind(client.create("m/1", ONE).await), Some(StoreErrorKind::Unknown));
        assert_eq!(store.objects()["m/1"], ONE);
        assert_eq!(kind(client.delete("m/1").await), Some(StoreErrorKind::Unknown));
        assert!(store.objects().is_empty());
    });
}

#[test]
fn a_late_request_is_done_after_everybody_has_given_it_up() {
    with(only(StoreFault::Late), async |store, client, sim| {
        assert_eq!(kind(client.create("m/1", ONE).await), Some(StoreErrorKind::Unknown));
        store.stop_faults();
        assert_eq!(client.size("m/1").await, Ok(None));
        sim.sleep(MINUTE).await;
        assert_eq!(client.create("m/1", TWO).await, Ok(Created::Exists));
        assert_eq!(store.objects()["m/1"], ONE);
    });
}

#[test]
fn a_late_create_does_not_take_a_name_that_was_taken_meanwhile() {
    with(only(StoreFault::Late), async |store, client, sim| {
        assert_eq!(kind(client.create("m/1", ONE).await), Some(StoreErrorKind::Unknown));
        store.stop_faults();
        assert_eq!(client.create("m/1", TWO).await, Ok(Created::New));
        sim.sleep(MINUTE).await;
        assert_eq!(client.get("m/1", 0..9).await, Ok(Some(TWO)));
    });
}

#[test]
fn a_create_may_be_told_that_its_own_object_is_in_the_way() {
    with(only(StoreFault::TriedTwice), async |store, client, _| {
        assert_eq!(client.create("m/1", ONE).await, Ok(Created::Exists));
        assert_eq!(store.objects()["m/1"], ONE);
    });
}

#[test]
fn a_conflict_may_be_told_where_nothing_is() {
    with(only(StoreFault::FalseConflict), async |store, client, _| {
        assert_eq!(client.create("m/1", ONE).await, Ok(Created::Exists));
        assert!(store.objects().is_empty());
    });
}

#[test]
fn a_listing_may_be_old_and_a_look_is_not() {
    with(only(StoreFault::StaleList), async |_, client, sim| {
        client.put("f/a", ONE).await.unwrap();
        sim.sleep(Duration::from_secs(20)).await;
        client.delete("f/a").await.unwrap();
        assert_eq!(client.size("f/a").await, Ok(None));
        let mut seen = [false; 2];
        for _ in 0..50 {
            let listed = client.list("f/").await.unwrap();
            seen[listed.len()] = true;
        }
        assert_eq!(seen, [true; 2], "sometimes it is there still, sometimes it is not");
        assert_eq!(client.size("f/a").await, Ok(None));
    });
}

#[test]
fn a_get_may_be_short_and_never_empty() {
    with(only(StoreFault::ShortGet), async |_, client, _| {
        client.put("f/a", Bytes::from_static(b"0123456789")).await.unwrap();
        for _ in 0..50 {
            let got = client.get("f/a", 2..8).await.unwrap().unwrap();
            assert!((1..6).contains(&got.len()) && b"234567".starts_with(&got), "{got:?}");
        }
    });
}

#[test]
fn an_upload_may_be_gone_before_it_is_completed() {
    with(only(StoreFault::UploadLost), async |store, client, _| {
        let id = client.begin_upload("f/a").await.unwrap();
        assert_eq!(kind(client.put_part("f/a", &id, 0, ONE).await), Some(StoreErrorKind::Refused));
        assert!(store.objects().is_empty());
    });
}

#[test]
fn a_store_that_lies_creates_a_name_twice() {
    with(StoreFaults::none().lying(), async |_, client, _| {
        assert_eq!(client.create("m/1", ONE).await, Ok(Created::New));
        assert_eq!(client.create("m/1", TWO).await, Ok(Created::New));
    });
}

#[test]
fn in_an_outage_nobody_is_told_anything_and_some_of_it_is_done() {
    with(only(StoreFault::Outage), async |store, client, sim| {
        for number in 0..50 {
            let told = client.create(&format!("m/{number}"), ONE).await;
            assert_eq!(kind(told), Some(StoreErrorKind::Unknown));
        }
        let done = store.objects().len();
        assert!((5..45).contains(&done), "{done} of 50");
        store.stop_faults();
        sim.sleep(MINUTE).await;
        assert_eq!(client.size("m/none").await, Ok(None));
        assert!(store.objects().len() > done, "and some later");
    });
}

#[test]
fn an_unplugged_store_comes_back() {
    with(StoreFaults::none(), async |store, client, sim| {
        store.unplug(Tick(sim.now().0 + 1_000_000_000));
        assert_eq!(kind(client.put("f/a", ONE).await), Some(StoreErrorKind::Unavailable));
        sim.sleep(Duration::from_secs(1)).await;
        client.put("f/a", ONE).await.unwrap();
    });
}

#[test]
fn of_many_racers_one_creates_the_name() {
    for seed in 0..20 {
        let run = Simulator::new(seed).run(async move |sim| {
            let faults = StoreFaults::none().with_latency_ms(0, 5);
            let store = SimStore::new(&Streams::new(seed), faults, Trace::new());
            let racers = (0..50_u8).map(|racer| {
                let client = store.client("racer", Arc::new(sim.clone()));
                async move { (racer, client.create("m/1", vec![racer].into()).await) }
            });
            let answers = crate::parallel::beside(racers.collect()).await;
            let won: Vec<_> = answers.iter().filter(|(_, told)| *told == Ok(Created::New)).collect();
            assert_eq!(won.len(), 1);
            assert_eq!(store.objects()["m/1"], vec![won[0].0]);
        });
        run.unwrap();
    }
}
