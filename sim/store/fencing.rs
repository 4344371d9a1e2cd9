//! Two writers, and one of them does not know.

use std::pin::Pin;

use highwater::sim::{Executor, StoreFault, StoreFaults};
use highwater::{ErrorKind, Health};

use super::rig::{SECOND, assert_round, round, story};
use crate::Test;

/// See [`Test`].
pub(super) const TESTS: &[Test] = tests![
    a_deposed_writer_is_told_and_lands_nothing,
    a_writer_that_wakes_behind_the_boundary_lands_nothing,
    a_name_that_its_own_manifest_has_deposes_nobody,
    what_its_own_dead_have_sent_deposes_nobody,
    what_lands_under_the_eyes_of_an_older_copy_is_not_given_up,
    of_two_that_take_over_at_once_one_goes_on,
    who_takes_over_does_not_give_way_to_the_owner,
    two_databases_do_not_share_a_store,
];

/// I8: whoever was deposed lands nothing, is told so, and is not let in again.
fn a_deposed_writer_is_told_and_lands_nothing() {
    story(21, StoreFaults::none(), async |mut rig| {
        let mut first = rig.machine();
        let mut old = rig.open(&first).await.unwrap();
        let epoch = round(&mut old, 1, 20).await.unwrap();
        old.engine.remote_durable(epoch).await.unwrap();

        let second = rig.machine();
        let mut new = rig.open(&second).await.unwrap();
        let before = rig.store.objects();
        let epoch = round(&mut old, 2, 20).await.unwrap();
        let fenced = old.engine.remote_durable(epoch).await.expect_err("another has taken over");
        assert_eq!(fenced.kind(), ErrorKind::Fenced, "{fenced}");
        assert_eq!(old.engine.health(), Health::Failed);
        let refused = round(&mut old, 3, 20).await.expect_err("fenced");
        assert_eq!(refused.kind(), ErrorKind::Fenced, "{refused}");
        let kept = before.iter().all(|(name, body)| rig.store.objects().get(name) == Some(body));
        assert!(kept, "a fenced writer removes nothing");
        assert_eq!(rig.names("m/").len(), before.keys().filter(|name| name.starts_with("m/")).count());

        drop(old);
        first.crash_process();
        let refused = rig.open(&first).await.expect_err("deposed");
        assert_eq!(refused.kind(), ErrorKind::Fenced, "{refused}");

        let epoch = round(&mut new, 4, 20).await.unwrap();
        new.engine.remote_durable(epoch).await.unwrap();
        let third = rig.machine();
        assert_round(&rig.open(&third).await.unwrap(), 4, 20);
    });
}

/// S1: a writer stops for so long that its next manifest number has been taken, freed and forgotten. It takes the
/// name, looks at the boundary, and knows.
fn a_writer_that_wakes_behind_the_boundary_lands_nothing() {
    story(22, StoreFaults::none().with_latency_ms(1, 5), async |mut rig| {
        let first = rig.machine();
        let mut old = rig.open(&first).await.unwrap();
        let epoch = round(&mut old, 1, 20).await.unwrap();
        old.engine.remote_durable(epoch).await.unwrap();
        let next = format!("m/{:020}", old.engine.remote_status().unwrap().manifest.0 + 1);
        let woken = round(&mut old, 2, 20).await.unwrap();
        first.process().pause();

        let second = rig.machine();
        let mut new = rig.open(&second).await.unwrap();
        let mut last = 0;
        while rig.names("b/").len() < 3 || rig.names(&next).len() == 1 {
            last += 1;
            assert!(last < 200, "no number is freed, with the marks {:?}", rig.names("b/"));
            let epoch = round(&mut new, last, 20).await.unwrap();
            new.engine.remote_durable(epoch).await.unwrap();
            rig.sim.sleep(SECOND).await;
        }
        assert!(rig.names(&next).is_empty(), "its number was freed");
        let files = rig.names("f/");

        first.process().resume();
        let fenced = old.engine.remote_durable(woken).await.expect_err("the number is dead");
        assert_eq!(fenced.kind(), ErrorKind::Fenced, "{fenced}");
        assert_eq!(rig.names(&next).len(), 1, "it did take the name");
        rig.sim.sleep(SECOND * 100).await;
        assert!(files.iter().all(|name| rig.names("f/").contains(name)), "and removed nothing");

        let third = rig.machine();
        assert_round(&rig.open(&third).await.unwrap(), last, 20);
    });
}

/// A process dies while a manifest of it is on its way; that lands under the next one's eyes, in the place of its own.
fn what_its_own_dead_have_sent_deposes_nobody() {
    let mut faults = StoreFaults::none().with_latency_ms(1, 5).with(StoreFault::Late, 0.3);
    faults.late_max = SECOND / 4;
    story(26, faults, async |mut rig| {
        let mut machine = rig.machine();
        let mut last = 0;
        for life in 0..200 {
            let mut opened = loop {
                match rig.open(&machine).await {
                    Ok(opened) => break opened,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Failed, "life {life}: {error}"),
                }
            };
            last += 1;
            round(&mut opened, last, 5).await.expect("nobody else is there");
            opened.engine.checkpoint_async().await.expect("nobody else is there");
            rig.sim.sleep(SECOND / 100 * (life % 7)).await;
            machine.crash_process();
        }
        assert!(rig.store.injected()[&StoreFault::Late] > 100, "{:?}", rig.store.injected());
        rig.store.stop_faults();
        assert_round(&rig.open(&machine).await.unwrap(), last, 5);
    });
}

/// The directory is an older copy, and the checkpoint that it lacks lands between the look at the store and the
/// manifest of the open: as a look that had found it, that refuses the copy. Every moment at which it can land is
/// tried.
fn what_lands_under_the_eyes_of_an_older_copy_is_not_given_up() {
    for ms in 0..100 {
        let faults = StoreFaults::none().with_latency_ms(1, 3);
        story(3_000 + ms, faults, async move |mut rig| {
            let mut machine = rig.machine();
            let mut opened = rig.open(&machine).await.unwrap();
            let epoch = round(&mut opened, 1, 20).await.unwrap();
            opened.engine.remote_durable(epoch).await.unwrap();
            machine.crash_process();
            let older = machine.disk().disk();
            let mut opened = rig.open(&machine).await.unwrap();
            let epoch = round(&mut opened, 2, 20).await.unwrap();
            opened.engine.remote_durable(epoch).await.unwrap();
            machine.crash_process();
            machine.disk().with_disk(|disk| *disk = older);
            let name = rig.names("m/").pop().unwrap();
            let body = rig.store.objects()[&name].clone();
            rig.store.tamper(&name, None);
            let late = async {
                rig.sim.sleep(SECOND / 1_000 * u32::try_from(ms).unwrap()).await;
                let lands = !rig.names("m/").contains(&name);
                if lands {
                    rig.store.tamper(&name, Some(body));
                }
                lands
            };
            let (opened, landed) = pair(Box::pin(rig.open(&machine)), Box::pin(late)).await;
            if landed {
                let refused = opened.expect_err("epoch 2 is in the store");
                assert_eq!(refused.kind(), ErrorKind::Corrupt, "after {ms} ms: {refused}");
            }
            let last = rig.machine();
            let opened = rig.open(&last).await.unwrap();
            assert_round(&opened, if landed { 2 } else { 1 }, 20);
        });
    }
}

/// A create is done, tried again on the way and told that the name is taken; then the store is not reached, so that
/// nobody can read whose it is. It may have landed: another manifest of that number would meet the first, and take it
/// for that of a successor.
fn a_name_that_its_own_manifest_has_deposes_nobody() {
    let faults = StoreFaults::none().with(StoreFault::TriedTwice, 0.7).with(StoreFault::Unavailable, 0.4);
    story(25, faults, async |mut rig| {
        let machine = rig.machine();
        let mut opened = loop {
            match rig.open(&machine).await {
                Ok(opened) => break opened,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Failed, "{error}"),
            }
        };
        let mut epoch = None;
        for number in 1..=200 {
            epoch = Some(round(&mut opened, number, 5).await.expect("nobody else is there"));
            opened.engine.checkpoint_async().await.expect("nobody else is there");
            rig.sim.sleep(SECOND * 10).await;
        }
        assert!(rig.store.injected()[&StoreFault::TriedTwice] > 20, "{:?}", rig.store.injected());
        rig.store.stop_faults();
        opened.engine.remote_durable(epoch.expect("rounds")).await.expect("the store answers");
    });
}

/// Of two machines that restore at the same moment, each manifest number belongs to one, and in the end one goes on.
fn of_two_that_take_over_at_once_one_goes_on() {
    for seed in 0..30 {
        story(1_000 + seed, StoreFaults::none().with_latency_ms(1, 10), async |mut rig| {
            let first = rig.machine();
            let mut opened = rig.open(&first).await.unwrap();
            let epoch = round(&mut opened, 1, 20).await.unwrap();
            opened.engine.remote_durable(epoch).await.unwrap();
            let (one, two) = (rig.machine(), rig.machine());
            let (one, two) = pair(Box::pin(rig.open(&one)), Box::pin(rig.open(&two))).await;
            let mut landed = 0;
            for (number, opened) in [one, two].into_iter().enumerate() {
                let mut opened = match opened {
                    Ok(opened) => opened,
                    Err(error) => {
                        assert!(matches!(error.kind(), ErrorKind::Fenced | ErrorKind::Busy), "{error}");
                        continue;
                    }
                };
                let epoch = round(&mut opened, 10 + number as u64, 20).await.unwrap();
                match opened.engine.remote_durable(epoch).await {
                    Ok(()) => landed += 1,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Fenced, "{error}"),
                }
            }
            assert!(landed <= 1);
            let last = rig.machine();
            let opened = rig.open(&last).await.unwrap();
            assert!(opened.report.epoch.0 == 1 + landed);
        });
    }
}

/// The owner goes on to land manifests while another takes over, as what a dead one sent may still arrive: the takeover
/// takes the number behind those, and it is the owner that is fenced.
fn who_takes_over_does_not_give_way_to_the_owner() {
    for seed in 0..30 {
        story(2_000 + seed, StoreFaults::none().with_latency_ms(1, 10), async move |mut rig| {
            let first = rig.machine();
            let mut old = rig.open(&first).await.unwrap();
            let second = rig.machine();
            let going_on = async {
                for number in 1..4 {
                    let epoch = round(&mut old, number, 5).await?;
                    old.engine.remote_durable(epoch).await?;
                }
                Ok::<(), highwater::Error>(())
            };
            let (new, old) = pair(Box::pin(rig.open(&second)), Box::pin(going_on)).await;
            let mut new = new.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            if let Err(fenced) = old {
                assert_eq!(fenced.kind(), ErrorKind::Fenced, "{fenced}");
            }
            let epoch = round(&mut new, 9, 20).await.unwrap();
            new.engine.remote_durable(epoch).await.unwrap();
        });
    }
}

/// Runs two futures beside each other.
async fn pair<A, B>(
    mut a: Pin<Box<impl Future<Output = A>>>,
    mut b: Pin<Box<impl Future<Output = B>>>,
) -> (A, B) {
    let (mut first, mut second) = (None, None);
    std::future::poll_fn(|context| {
        if first.is_none()
            && let std::task::Poll::Ready(value) = a.as_mut().poll(context)
        {
            first = Some(value);
        }
        if second.is_none()
            && let std::task::Poll::Ready(value) = b.as_mut().poll(context)
        {
            second = Some(value);
        }
        if first.is_some() && second.is_some() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    (first.unwrap(), second.unwrap())
}

fn two_databases_do_not_share_a_store() {
    story(23, StoreFaults::none(), async |mut rig| {
        let one = rig.machine();
        let _opened = rig.open(&one).await.unwrap();
        let mut two = rig.machine();
        let alone = highwater::Options::new("db").cores(2).write_unit_bytes(512);
        let other = highwater::Engine::open_in(two.env(), alone).await.unwrap();
        drop(other);
        two.crash_process();
        let refused = rig.open(&two).await.expect_err("another database's store");
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    });
}
