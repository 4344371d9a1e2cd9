//! Creation, and directories that are not what they should be.

use highwater::ErrorKind;
use highwater::sim::FaultPlan;

use super::{commit, options, put, story};
use crate::Test;
use crate::shape::DIRECTORY;

/// See [`Test`].
pub(crate) const TESTS: &[Test] = tests![
    a_creation_that_is_interrupted_at_every_call_is_finished_by_the_next_open,
    data_without_its_identity_is_refused_and_left_alone,
];

/// Creation is cut off at each of its calls, by a power loss: the next open goes on with it.
fn a_creation_that_is_interrupted_at_every_call_is_finished_by_the_next_open() {
    for boundaries in 1.. {
        let (sender, receiver) = std::sync::mpsc::channel();
        story(FaultPlan::none(), async move |mut rig| {
            let done = rig.open_for(options(2), boundaries).await.is_some();
            rig.cut_power();
            let mut opened = rig.recover(options(2)).await;
            assert_eq!(opened.report.epoch.0, 0);
            put(&mut opened, 1, 1, b"first").expect("room");
            commit(&mut opened).await.expect("no faults");
            sender.send(done).expect("the test waits");
        });
        if receiver.recv().expect("the story was told") {
            assert!(boundaries > 50, "a creation has more calls than {boundaries}");
            return;
        }
    }
}

/// The identity is gone or damaged, the data is not: open refuses and changes nothing.
fn data_without_its_identity_is_refused_and_left_alone() {
    for damaged in [false, true] {
        story(FaultPlan::none(), async move |mut rig| {
            let mut opened = rig.recover(options(1)).await;
            put(&mut opened, 0, 1, b"kept").expect("room");
            commit(&mut opened).await.expect("no faults");
            rig.cut_power();
            let ident = std::path::Path::new(DIRECTORY).join("IDENT");
            rig.disk.with_disk(|disk| {
                if damaged { disk.scribble(&ident, 20, &[0xFF]) } else { disk.remove_at_rest(&ident) }
                    .expect("IDENT is there");
            });
            let before = rig.disk.disk().hash();
            let error = rig.open(options(1)).await.expect_err("nobody knows whose data it is");
            assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported), "{error}");
            assert_eq!(rig.disk.disk().hash(), before, "a refused open changes nothing");
        });
    }
}
