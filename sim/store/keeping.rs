//! What is kept in a store, what goes, and that nothing which went is ever named again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use highwater::env::Tick;
use highwater::sim::{Executor, Machine, StoreFault, StoreFaults, StoreImage};
use highwater::{Engine, Epoch, ErrorKind, Opened, Options, RetainedEpoch};

use super::rig::{Rig, SECOND, World, round, story};
use crate::Test;
use crate::decode::{Database, Memo};
use crate::stored::{Stored, Sums};

/// See [`Test`].
pub(super) const TESTS: &[Test] = tests![
    pins_come_back_with_a_restore,
    a_pin_that_was_set_later_gets_there,
    what_is_undone_while_it_is_on_its_way_is_undone_there,
    whatever_the_head_names_is_there_at_any_time,
    a_file_that_the_directory_names_is_not_removed,
    orphans_of_attempts_that_are_over_go,
    manifests_below_the_boundary_go_later,
];

/// As little as possible is retained.
fn frugal(options: Options) -> Options {
    options.retain_checkpoints(1).fallback_bytes_max(0)
}

async fn open(rig: &Rig, machine: &Machine) -> Opened<World> {
    Engine::open_in(machine.env(), frugal(rig.options(machine))).await.unwrap()
}

fn held(opened: &Opened<World>, name: &str) -> Option<RetainedEpoch> {
    opened.engine.retained().into_iter().find(|retained| retained.pins.iter().any(|pin| pin == name))
}

/// A round, and its checkpoint in the store.
async fn stored_round(opened: &mut Opened<World>, number: u64) -> Epoch {
    let epoch = round(opened, number, 40).await.unwrap();
    while let Err(error) = opened.engine.remote_durable(epoch).await {
        assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    }
    epoch
}

/// Waits until nothing is on its way any more.
async fn settle(rig: &Rig, opened: &Opened<World>) {
    for _ in 0..1_000 {
        if !opened.engine.remote_status().unwrap().pending {
            // What nobody needs is removed one after the other.
            return rig.sim.sleep(SECOND * 30).await;
        }
        rig.sim.sleep(SECOND).await;
    }
    panic!("I11: it does not get there: {:?}", opened.engine.remote_status());
}

/// The machine is lost, and the next one holds what the first held: restore after restore, with other numbers of cores.
fn pins_come_back_with_a_restore() {
    story(80, StoreFaults::none().with_latency_ms(1, 5), async |mut rig| {
        let first = rig.machine();
        let mut opened = open(&rig, &first).await;
        stored_round(&mut opened, 1).await;
        let pinned = opened.engine.pin_async("audit", None).await.unwrap();
        for number in 2..30 {
            stored_round(&mut opened, number).await;
        }
        settle(&rig, &opened).await;
        let names = rig.names("f/");
        for cores in [2, 3, 2] {
            let next = rig.machine();
            let options = frugal(rig.options(&next)).cores(cores);
            opened = Engine::open_in(next.env(), options).await.unwrap();
            assert!(opened.report.restored);
            let found = held(&opened, "audit").expect("it came back");
            assert_eq!((found.epoch, found.away, found.recovers), (pinned, true, false));
            for number in 30..50 {
                stored_round(&mut opened, number).await;
            }
            settle(&rig, &opened).await;
            assert!(opened.engine.remote_status().unwrap().trouble.is_none());
        }
        let kept: Vec<_> = rig.names("f/").into_iter().filter(|name| names.contains(name)).collect();
        assert!(!kept.is_empty(), "its files are there");
        assert_eq!(opened.engine.unpin_async("audit").await.unwrap(), pinned);
        stored_round(&mut opened, 60).await;
        settle(&rig, &opened).await;
        assert!(held(&opened, "audit").is_none());
        assert!(!rig.names("f/").iter().any(|name| kept.contains(name)), "and now they are not");
    });
}

/// S8: the epoch was never uploaded, nor what it is made of: the store was away until all of that had been rewritten.
fn a_pin_that_was_set_later_gets_there() {
    story(81, StoreFaults::none().with_latency_ms(1, 5), async |mut rig| {
        let first = rig.machine();
        let options = rig.options(&first).retain_checkpoints(60);
        let mut opened = Engine::open_in(first.env(), options).await.unwrap();
        rig.store.unplug(Tick(rig.sim.now().0 + 3_600_000_000_000));
        for number in 1..40 {
            round(&mut opened, number, 40).await.unwrap();
            opened.engine.checkpoint_async().await.unwrap();
        }
        rig.sim.sleep(SECOND * 3600).await;
        stored_round(&mut opened, 40).await;
        settle(&rig, &opened).await;
        let before = rig.names("f/").len();
        let pinned = opened.engine.pin_async("late", Epoch(3)).await.unwrap();
        settle(&rig, &opened).await;
        assert!(rig.names("f/").len() > before, "nothing had to be brought");
        assert_every_name_is_there(&rig);
        let second = rig.machine();
        let opened = open(&rig, &second).await;
        let found = held(&opened, "late").expect("it came back");
        assert_eq!((found.epoch, found.away), (pinned, true));
        settle(&rig, &opened).await;
        assert_every_name_is_there(&rig);
    });
}

/// The files that the store's head names are there.
fn assert_every_name_is_there(rig: &Rig) {
    assert_sound(&rig.store.image(), &mut Sums::default());
}

fn assert_sound(image: &StoreImage, sums: &mut Sums) {
    let Some(stored) = Stored::read(image).unwrap_or_else(|why| panic!("{why}")) else { return };
    stored.check(image, sums).unwrap_or_else(|why| panic!("{why}"));
}

/// Looked at behind every request that changes something: bases come and go, uploads are lost, replies are lost or late.
fn whatever_the_head_names_is_there_at_any_time() {
    let faults = StoreFaults::none()
        .with_latency_ms(1, 5)
        .with(StoreFault::UploadLost, 0.1)
        .with(StoreFault::ReplyLost, 0.05)
        .with(StoreFault::Late, 0.05)
        .with(StoreFault::TriedTwice, 0.05);
    story(85, faults, async |mut rig| {
        let (mut sums, effects) = (Sums::default(), Arc::new(AtomicU64::new(0)));
        let seen = Arc::clone(&effects);
        rig.store.on_effect(Box::new(move |image, _| {
            seen.fetch_add(1, Ordering::Relaxed);
            assert_sound(&image, &mut sums);
        }));
        let mut machine = rig.machine();
        for life in 0..20 {
            let mut opened = loop {
                match Engine::open_in(machine.env(), frugal(rig.options(&machine))).await {
                    Ok(opened) => break opened,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Failed, "{error}"),
                }
            };
            for number in 1..25 {
                if number % 3 == 0 {
                    stored_round(&mut opened, life * 100 + number).await;
                } else {
                    round(&mut opened, life * 100 + number, 40).await.unwrap();
                    opened.engine.checkpoint_async().await.unwrap();
                }
            }
            machine.crash_process();
        }
        let (effects, injected) = (effects.load(Ordering::Relaxed), rig.store.injected());
        assert!(effects > 1_000 && injected[&StoreFault::UploadLost] > 15, "{effects} effects, {injected:?}");
    });
}

/// A base that a new one has replaced in the store is still part of an epoch that the directory retains and has not brought up.
/// It stays there until the directory has given it up, too, whatever life looks through the store: so no removal that
/// comes late can meet a pin that was set since.
fn a_file_that_the_directory_names_is_not_removed() {
    let faults = StoreFaults::none().with_latency_ms(1, 5).with(StoreFault::Late, 0.05);
    story(82, faults, async |mut rig| {
        let mut first = rig.machine();
        let open = async |rig: &Rig, machine: &Machine| {
            let options = rig.options(machine).retain_checkpoints(9).fallback_bytes_max(0);
            loop {
                match Engine::open_in(machine.env(), options.clone()).await {
                    Ok(opened) => break opened,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Failed, "{error}"),
                }
            }
        };
        let mut opened = open(&rig, &first).await;
        let (mut seen, mut gone) = (Vec::new(), 0);
        for number in 1..100 {
            if number % 5 > 0 {
                round(&mut opened, number, 40).await.unwrap();
                opened.engine.checkpoint_async().await.unwrap();
                continue;
            }
            stored_round(&mut opened, number).await;
            settle(&rig, &opened).await;
            let now = rig.names("f/");
            let mut memo = Memo::default();
            let files = memo.files_of(&first.disk().disk(), "db");
            let directory = Database::read(&files, &mut memo).unwrap();
            for name in seen.iter().filter(|name| !now.contains(name)) {
                gone += 1;
                let named = directory.needed_files().iter().any(|needed| needed.path == *name);
                assert!(!named, "O8: round {number}: {name} is gone, and the directory names it");
            }
            seen = now;
            let oldest = opened.engine.retained().remove(0);
            opened.engine.pin_async("oldest", oldest.epoch).await.unwrap();
            settle(&rig, &opened).await;
            assert!(opened.engine.remote_status().unwrap().trouble.is_none());
            opened.engine.unpin_async("oldest").await.unwrap();
            if number % 10 == 0 {
                first.crash_process();
                opened = open(&rig, &first).await;
                settle(&rig, &opened).await;
            }
        }
        assert!(gone > 10, "{gone} files have gone");
    });
}

/// What was sent and left out for something newer is found, also while its writer goes on.
fn orphans_of_attempts_that_are_over_go() {
    let faults = StoreFaults::none().with_latency_ms(200, 2_000).with(StoreFault::ReplyLost, 0.2);
    story(83, faults, async |mut rig| {
        let first = rig.machine();
        let mut opened = open(&rig, &first).await;
        for number in 1..120 {
            round(&mut opened, number, 40).await.unwrap();
            opened.engine.checkpoint_async().await.unwrap();
            rig.sim.sleep(SECOND).await;
        }
        stored_round(&mut opened, 120).await;
        settle(&rig, &opened).await;
        rig.sim.sleep(SECOND * 600).await;
        let needed = opened.engine.retained().iter().map(|retained| retained.bytes).sum::<u64>();
        let objects = rig.store.objects();
        let there: u64 = rig.names("f/").iter().map(|name| objects[name].len() as u64).sum();
        assert!(there <= 2 * needed, "{there} bytes are there, {needed} are needed: {:?}", rig.names("f/"));
    });
}

/// A writer that dies between a mark and the removals leaves numbers that are dead: the next one finds them.
fn manifests_below_the_boundary_go_later() {
    story(84, StoreFaults::none().with_latency_ms(1, 5), async |mut rig| {
        let mut machine = rig.machine();
        for life in 0..6 {
            let mut opened = open(&rig, &machine).await;
            for number in 1..9 {
                stored_round(&mut opened, life * 10 + number).await;
            }
            // At once: the removals wait for their turn.
            machine.crash_process();
        }
        let opened = open(&rig, &machine).await;
        settle(&rig, &opened).await;
        let manifests = rig.names("m/");
        assert!(manifests.len() <= 5, "{manifests:?} with marks {:?}", rig.names("b/"));
    });
}

/// Waits until a manifest is on its way to the store: files go before it, and removals behind the one before.
async fn under_way(rig: &Rig) {
    for _ in 0..100_000 {
        let image = rig.store.image();
        if image.on_the_way().any(|(operation, name)| operation == "create" && name.starts_with("m/")) {
            return;
        }
        rig.sim.sleep(SECOND / 1_000).await;
    }
    panic!("no manifest goes up");
}

/// A pin was let go, and set again while the manifest without it was on its way: the store had the pin when it was asked, and
/// lost it a moment later, for good (0x900031). The same the other way round. Whoever takes over finds what was asked for last.
fn what_is_undone_while_it_is_on_its_way_is_undone_there() {
    // Longer than the directory takes for all that follows from a pin: nothing that comes behind the upload heals it.
    story(89, StoreFaults::none().with_latency_ms(2_000, 2_000), async |mut rig| {
        let first = rig.machine();
        let mut opened = open(&rig, &first).await;
        for number in 0..12 {
            stored_round(&mut opened, number).await;
            settle(&rig, &opened).await;
            let (name, is_set) = (format!("pin {number}"), number % 2 == 0);
            opened.engine.pin_async(&*name, None).await.unwrap();
            if is_set {
                settle(&rig, &opened).await;
                opened.engine.unpin_async(&*name).await.unwrap();
            }
            under_way(&rig).await;
            if is_set {
                opened.engine.pin_async(&*name, None).await.unwrap();
            } else {
                opened.engine.unpin_async(&*name).await.unwrap();
            }
            assert!(rig.store.image().on_the_way().len() > 0, "the first of the two is still on its way");
            settle(&rig, &opened).await;
            let next = rig.machine();
            opened = open(&rig, &next).await;
            assert_eq!(held(&opened, &name).is_some(), is_set, "{name}");
        }
    });
}
