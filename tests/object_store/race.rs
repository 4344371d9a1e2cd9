//! Many for one name.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use bytes::Bytes;
use highwater::remote::{Bucket, Created, ObjectStore, Remote, StoreErrorKind};
use highwater::{Engine, ErrorKind, Options};

use crate::load::{model, open, state, wait_remote, write_epoch};
use crate::place::{Place, wait};

const RACERS: usize = 50;

/// Each with a connection of its own, some on the same one.
const CLIENTS: usize = 10;

/// Names that they race for, one after the other, and the time after which no further is begun: a server lets those who meet
/// wait for each other.
const ROUNDS: usize = 20;
const ROUNDS_TIME: Duration = Duration::from_secs(10);

/// Engines that open at once.
const ENGINES: usize = 6;

pub(crate) fn of_fifty_racers_one_lands_and_each_knows(place: &Place) {
    let buckets: Vec<Bucket> = (0..CLIENTS).map(|_| place.bucket()).collect();
    let (mut rounds, mut met, began) = (0, 0, Instant::now());
    while rounds < ROUNDS && began.elapsed() < ROUNDS_TIME {
        let round = rounds;
        let name = format!("m/{round:020}");
        let start = Barrier::new(RACERS);
        let racer = |number: usize| {
            let bucket = &buckets[number % CLIENTS];
            let body = Bytes::from(format!("{number:016}"));
            start.wait();
            race(bucket, &name, &body)
        };
        let won: Vec<(bool, bool)> = std::thread::scope(|scope| {
            let racer = &racer;
            let threads: Vec<_> = (0..RACERS).map(|number| scope.spawn(move || racer(number))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(won.iter().filter(|(owns, _)| *owns).count(), 1, "{name}: exactly one owns it");
        for (number, (owns, told)) in won.iter().enumerate() {
            assert!(*owns || !told, "{name}: racer {number} was told that it has what another has");
        }
        rounds += 1;
        met += won.iter().filter(|(owns, told)| *owns && !told).count();
    }
    println!("    {rounds} rounds of {RACERS}; {met} winners were told so by a read only");
}

/// Whether the racer owns the name in the end, and whether its create said so.
fn race(bucket: &Bucket, name: &str, body: &Bytes) -> (bool, bool) {
    for _ in 0..100 {
        let told = wait(bucket.create(name, body.clone()));
        if let Err(error) = &told {
            assert_ne!(error.kind(), StoreErrorKind::Refused, "{error}");
        }
        match wait(bucket.get(name, 0..64)) {
            Ok(Some(found)) => return (found == *body, told == Ok(Created::New)),
            // Nobody has it: the store said "conflict" to those who met.
            Ok(None) => assert_ne!(told, Ok(Created::New), "it is gone"),
            Err(error) => assert_ne!(error.kind(), StoreErrorKind::Refused, "{error}"),
        }
    }
    panic!("the store does not answer");
}

pub(crate) fn of_engines_that_open_at_once_one_owns_the_store(place: &Place) {
    let dirs: Vec<_> = (0..=ENGINES).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut first = open(&dirs[0].path().join("data"), 1, place.remote()).unwrap();
    let epoch = write_epoch(&mut first);
    wait_remote(&first, epoch);
    first.engine.close(first.cores).unwrap();

    let (all_opened, start) = (Barrier::new(ENGINES), Barrier::new(ENGINES));
    let take_over = |dir: &tempfile::TempDir| {
        start.wait();
        let opened = open(&dir.path().join("data"), 1, place.remote());
        // From here on nobody takes anything over.
        all_opened.wait();
        let mut opened = match opened {
            Ok(opened) => opened,
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::Fenced | ErrorKind::Busy), "{error}");
                return None;
            }
        };
        assert!(state(&opened.cores) == model(epoch), "another state came back");
        let next = write_epoch(&mut opened);
        loop {
            match opened.engine.wait_remote(next) {
                Ok(()) => return Some(opened.engine.token()),
                Err(error) if error.kind() == ErrorKind::Busy => {}
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
                    return None;
                }
            }
        }
    };
    let owners: Vec<_> = std::thread::scope(|scope| {
        let take_over = &take_over;
        let threads: Vec<_> = dirs[1..].iter().map(|dir| scope.spawn(move || take_over(dir))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let tokens: BTreeSet<_> = owners.iter().flatten().collect();
    assert_eq!((owners.iter().flatten().count(), tokens.len()), (1, 1), "{owners:?}");
}

/// A bucket that is not there, or keys that are not good, are no outage: trying again does not help.
pub(crate) fn what_is_not_the_stores_fault_is_said(place: &Place) {
    let wrong = match place.url.split(':').next() {
        Some("s3") => place.clone().option("secret_access_key", "another one"),
        Some("az") => place.clone().option("account_key", "YW5vdGhlciBvbmU="),
        _ => Place { url: "file:///proc/version/of-a-file".to_owned(), options: Vec::new() },
    };
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new(dir.path().join("data")).remote(Remote::new(wrong.bucket()));
    let error = Engine::open(options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    println!("    {error}");
}
