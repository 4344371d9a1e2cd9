//! Images: what is on its way, what it may come to, and that a copy stays what it was.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{MINUTE, ONE, TWO, kind, only, with};
use crate::remote::{Created, ObjectStore, StoreErrorKind};
use crate::sim::{
    Executor, Handle, SimStore, StoreClient, StoreFault, StoreFaults, StoreImage, Streams, Trace,
};

fn names(image: &StoreImage) -> Vec<&str> {
    image.objects().map(|(name, _)| name).collect()
}

/// B1: what has been asked for and has not taken effect does, or does not, one by one.
#[test]
fn a_request_on_its_way_takes_effect_or_not() {
    with(StoreFaults::none().with_latency_ms(10, 10), async |store, client, sim| {
        let (one, two) = (client.clone(), client.clone());
        sim.spawn("one", Box::new(move || Box::pin(async move { drop(one.put("f/a", ONE).await) })));
        sim.sleep(Duration::from_millis(1)).await;
        sim.spawn("two", Box::new(move || Box::pin(async move { drop(two.create("f/b", TWO).await) })));
        sim.sleep(Duration::from_millis(1)).await;
        let image = store.image();
        assert_eq!(image.on_the_way().collect::<Vec<_>>(), [("put", "f/a"), ("create", "f/b")]);
        assert_eq!(names(&image.settled([])), [""; 0]);
        assert_eq!(names(&image.settled([1])), ["f/b"]);
        let both = image.settled([0, 1]);
        assert_eq!((names(&both), both.on_the_way().len(), both.used_bytes()), (vec!["f/a", "f/b"], 0, 6));
        assert_ne!(both.hash(), image.hash());
        sim.sleep(MINUTE).await;
        assert_eq!((store.image().hash(), store.image().on_the_way().len()), (both.hash(), 0));
    });
}

/// B3: the request of a process that has ended takes effect at once, later or never, and nobody takes it back.
#[test]
fn a_request_whose_caller_is_gone_takes_effect_or_not() {
    let mut faults = StoreFaults::none().with_latency_ms(10, 10);
    faults.late_max = MINUTE;
    with(faults, async |store, client, sim| {
        let mut seen = [0; 3];
        for number in 0..60 {
            let (asked, client, name) = (sim.node("one"), client.clone(), format!("f/{number}"));
            let asks = name.clone();
            asked.spawn("one", move || async move { drop(client.put(&asks, ONE).await) });
            sim.sleep(Duration::from_millis(1)).await;
            assert_eq!(store.image().on_the_way().collect::<Vec<_>>(), [("put", &*name)]);
            asked.kill();
            sim.sleep(Duration::from_millis(1)).await;
            let image = store.image();
            let (there, waits) = (image.object(&name).is_some(), image.on_the_way().len() > 0);
            assert!(!there || !waits, "once is all");
            assert_eq!(store.objects().contains_key(&name), there);
            sim.sleep(MINUTE).await;
            let image = store.image();
            assert_eq!(image.on_the_way().len(), 0, "it has become due");
            assert_eq!(image.object(&name).is_some(), there || waits);
            // What an image shows is what the next request meets.
            assert_eq!(client_of(&store, &sim).size(&name).await.unwrap().is_some(), there || waits);
            seen[if there {
                0
            } else if waits {
                1
            } else {
                2
            }] += 1;
        }
        assert!(seen.iter().all(|count| *count > 5), "at once, later, never: {seen:?}");
    });
}

/// A request that nobody receives is not received because its caller dies.
#[test]
fn a_request_that_gets_lost_takes_no_effect_when_its_caller_dies() {
    with(only(StoreFault::RequestLost).with_latency_ms(10, 10), async |store, client, sim| {
        for _ in 0..20 {
            let (asked, client) = (sim.node("one"), client.clone());
            asked.spawn("one", move || async move { drop(client.put("f/a", ONE).await) });
            sim.sleep(Duration::from_millis(1)).await;
            asked.kill();
        }
        sim.sleep(MINUTE).await;
        assert_eq!((store.image().on_the_way().len(), names(&store.image()).len()), (0, 0));
    });
}

fn client_of(store: &SimStore, sim: &Handle) -> StoreClient {
    store.client("another", Arc::new(sim.clone()))
}

#[test]
fn a_late_request_is_on_its_way_until_it_takes_effect() {
    with(only(StoreFault::Late), async |store, client, sim| {
        let effects = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&effects);
        store.on_effect(Box::new(move |image, effect| {
            seen.lock().unwrap().push((effect.name.clone(), image.on_the_way().len(), image.object("f/a")));
        }));
        assert_eq!(kind(client.put("f/a", ONE).await), Some(StoreErrorKind::Unknown));
        assert_eq!(store.image().on_the_way().collect::<Vec<_>>(), [("put", "f/a")]);
        assert!(effects.lock().unwrap().is_empty());
        store.stop_faults();
        sim.sleep(MINUTE).await;
        assert_eq!(client.size("f/a").await, Ok(Some(3)));
        assert_eq!(*effects.lock().unwrap(), [("f/a".to_owned(), 0, Some(ONE))]);
    });
}

/// An image does not follow its store, and a store that begins with it has what it had, listings and uploads too.
#[test]
fn a_store_begins_with_an_image_and_leaves_it_as_it_is() {
    with(StoreFaults::none(), async |store, client, sim| {
        client.put("f/a", ONE).await.unwrap();
        let id = client.begin_upload("f/b").await.unwrap();
        let part = client.put_part("f/b", &id, 0, TWO).await.unwrap();
        let image = store.image();
        let hash = image.hash();
        client.delete("f/a").await.unwrap();
        assert_eq!((image.hash(), image.object("f/a")), (hash, Some(ONE)));

        let streams = Streams::new(4);
        let other = SimStore::from_image(image.clone(), &streams, StoreFaults::none(), Trace::silent());
        let client = other.client("other", Arc::new(sim.clone()));
        assert_eq!(client.list("f/").await.unwrap().len(), 1);
        assert_eq!(client.create("f/a", TWO).await, Ok(Created::Exists));
        client.complete_upload("f/b", &id, &[part]).await.unwrap();
        client.delete("f/a").await.unwrap();
        let left: Vec<_> = client.list("f/").await.unwrap().into_iter().map(|listed| listed.name).collect();
        assert_eq!((left, other.objects()["f/b"].clone()), (vec!["f/b".to_owned()], TWO));
        assert_eq!((image.hash(), names(&image)), (hash, vec!["f/a"]));
    });
}
