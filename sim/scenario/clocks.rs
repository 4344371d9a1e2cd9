//! Clocks that lie.

use std::time::Duration;

use highwater::sim::{ClockFaults, FaultPlan, Streams};

use super::{commit, get, options, put, story};
use crate::Test;

/// See [`Test`].
pub(crate) const TESTS: &[Test] = tests![a_wall_clock_that_lies_changes_nothing,];

/// S16: the wall clock jumps ten years at every reading, stands still, repeats itself; the machine is suspended.
/// Nothing that is stored depends on it.
fn a_wall_clock_that_lies_changes_nothing() {
    story(FaultPlan::none(), async |mut rig| {
        let always = ClockFaults {
            wall_jump: 1.0,
            wall_freeze: 0.3,
            wall_resolution: 0.5,
            suspend: 0.05,
            suspend_max: Duration::from_secs(3600),
        };
        let clock = rig.clock.clone().with_faults(always, Streams::new(0x5eed).stream("clock"));
        rig.env = rig.env.clone().with_clock(clock);
        for round in 0..10_u32 {
            let mut opened =
                rig.recover(options(2).checkpoint_interval(Some(Duration::from_millis(20)))).await;
            assert_eq!(opened.report.epoch.0, u64::from(round) * 3);
            for step in 0..3_u32 {
                put(&mut opened, 1, 1, &(round * 3 + step).to_le_bytes()).expect("room");
                rig.clock.jump_wall(-3_600_000);
                commit(&mut opened).await.expect("no faults");
            }
            opened.engine.checkpoint_async().await.expect("no faults");
            if round % 2 == 0 { rig.cut_power() } else { rig.kill() }
        }
        let opened = rig.recover(options(2)).await;
        assert_eq!(get(&opened, 1, 1).as_deref(), Some(&29_u32.to_le_bytes()[..]));
    });
}
