//! What a database takes of its process: I10.

use highwater::sim::FaultPlan;

use super::{commit, options, put, story};
use crate::Test;

/// See [`Test`].
pub(crate) const TESTS: &[Test] = tests![bases_are_rewritten_by_one_core_at_a_time];

const CORES: u16 = 8;

/// Whoever rewrites a base opens all files of its chain, and the chains of all cores are as long: at once they are more
/// than a process may have open, and so are they at every later attempt.
fn bases_are_rewritten_by_one_core_at_a_time() {
    story(FaultPlan::none(), async |rig| {
        let mut opened = rig.recover(options(CORES)).await;
        let (mut usual, mut most) = (usize::MAX, 0);
        let mut rewritten = 0;
        for round in 0..40_u32 {
            for core in 0..usize::from(CORES) {
                put(&mut opened, core, round, b"a delta of its own").expect("room");
            }
            commit(&mut opened).await.expect("no faults");
            rig.disk.open_files_max();
            let taken = opened.engine.checkpoint_async().await.expect("no faults");
            let open = rig.disk.open_files_max();
            rewritten += u32::from(taken.bases_written > 0 && round > 0);
            (usual, most) = (usual.min(open), most.max(open));
        }
        assert!(rewritten > 0, "no base was rewritten");
        assert!(most < usual + 2 * CHAIN_FILES, "{most} files open at once, usually {usual}");
    });
}

/// More files than a chain of so small a database ever has.
const CHAIN_FILES: usize = 12;
