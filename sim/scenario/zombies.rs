//! Processes that stop for a while and go on as if nothing had happened.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use highwater::ErrorKind;
use highwater::sim::FaultPlan;

use super::{Rig, commit, options, put, story};
use crate::Test;
use crate::world::World;

pub(crate) const TESTS: &[Test] = tests![a_paused_owner_is_still_the_owner];

/// Works for ever: commits `from`, `from` + 1, … under key 1, with a checkpoint after each third; tells every commit.
async fn work(env: World, from: u64, committed: Arc<AtomicU64>) {
    let Ok(mut opened) = highwater::Engine::open_in(env, options(1)).await else { return };
    for round in from.. {
        if put(&mut opened, 0, 1, &round.to_le_bytes()).is_err() || commit(&mut opened).await.is_err() {
            return;
        }
        committed.store(round, Ordering::SeqCst);
        if round % 3 == 2 && opened.engine.checkpoint_async().await.is_err() {
            return;
        }
    }
}

impl Rig {
    /// Starts [`work`] in the present process.
    fn start(&self, from: u64) -> Arc<AtomicU64> {
        let committed = Arc::new(AtomicU64::new(0));
        let (env, told) = (self.env.clone(), Arc::clone(&committed));
        self.process.executor().spawn("work", Box::new(move || Box::pin(work(env, from, told))));
        committed
    }

    /// Another process beside the present one, which becomes the present one.
    fn beside(&mut self) -> crate::host::Process {
        let before = std::mem::replace(&mut self.process, self.host.process("second"));
        self.env = self.env.reboot(self.process.executor(), self.disk.vfs());
        before
    }
}

/// E2: the owner is stopped, not dead. Its lock is held, whoever comes is told so and changes nothing; then the owner
/// goes on.
fn a_paused_owner_is_still_the_owner() {
    story(FaultPlan::none(), async |mut rig| {
        let committed = rig.start(1);
        rig.host.sleep(Duration::from_millis(100)).await;
        let owner = rig.beside();
        owner.pause();
        let so_far = committed.load(Ordering::SeqCst);
        assert!(so_far > 0);
        rig.host.sleep(Duration::from_secs(60)).await;
        let before = rig.disk.disk().hash();
        let error = rig.open(options(1)).await.expect_err("it is open");
        assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
        assert_eq!(rig.disk.disk().hash(), before);
        assert_eq!(committed.load(Ordering::SeqCst), so_far, "a paused process does nothing");
        owner.resume();
        rig.host.sleep(Duration::from_millis(100)).await;
        assert!(committed.load(Ordering::SeqCst) > so_far, "and then it goes on");
    });
}
