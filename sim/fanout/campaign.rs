//! Many runs, until enough crash states were recovered; and what is said about it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Cut, Exploration, Explored, Tally, caught};
use crate::settings;
use crate::sweep;
use crate::usage;
use crate::watch::Watch;
use crate::world::lock;

/// The seeds and states of a campaign.
struct Campaign {
    name: &'static str,
    next: AtomicU64,
    states: u64,
    total: Mutex<(Tally, u64)>,
    /// Nanoseconds on processors, of all threads together.
    busy_ns: AtomicU64,
    failure: Mutex<Option<String>>,
}

/// Runs `explore` over fresh seeds on every processor, until `default_states` crash states (or `HIGHWATER_STATES`) were
/// recovered; over `HIGHWATER_SEED` alone if it is set.
///
/// Panics at the first failure, with what is needed to see it again.
pub(crate) fn run(name: &'static str, default_states: u64, explore: Exploration) {
    let campaign = Campaign {
        name,
        next: AtomicU64::new(settings::base()),
        states: states(default_states),
        total: Mutex::default(),
        busy_ns: AtomicU64::new(0),
        failure: Mutex::default(),
    };
    #[expect(clippy::disallowed_methods, reason = "the rate is measured in real time")]
    let began = Instant::now();
    if let Some(seed) = settings::one_seed() {
        campaign.timed(|| campaign.seed(seed, explore));
    } else {
        let _alone = sweep::all_cores();
        let watch = Watch::default();
        let work = || {
            while campaign.goes_on() {
                let seed = campaign.next.fetch_add(1, Ordering::Relaxed);
                watch.over(seed, || campaign.seed(seed, explore));
            }
        };
        watch.on_every_core(|seed| campaign.replay_line(seed), || campaign.timed(work));
    }
    campaign.report(began.elapsed());
    let failure = lock(&campaign.failure).take();
    if let Some(failure) = failure {
        panic!("{failure}");
    }
}

impl Campaign {
    /// Runs `work` on this thread and counts the time that a processor spent on it: other tests run beside this one.
    fn timed(&self, work: impl FnOnce()) {
        let before = usage::on_processor();
        work();
        let busy = usage::on_processor().saturating_sub(before);
        self.busy_ns.fetch_add(u64::try_from(busy.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    #[expect(clippy::cast_precision_loss, reason = "for people")]
    fn report(&self, took: Duration) {
        let (tally, seeds) = *lock(&self.total);
        let Tally { moments, images, states, nested, bytes, distinct } = tally;
        let busy = Duration::from_nanos(self.busy_ns.load(Ordering::Relaxed));
        let (rate, each) = (states as f64 / busy.as_secs_f64(), distinct as f64 / seeds.max(1) as f64);
        let each_kib = bytes.checked_div(states).unwrap_or(0) >> 10;
        println!(
            "fan-out of {}: {seeds} seeds, {moments} moments, {images} images, {states} crash states recovered ({nested} \
             nested, {each_kib} KiB each), {distinct} distinct, {each:.0} of them per seed; {took:.1?}, {rate:.0} states/s per core",
            self.name
        );
    }

    fn goes_on(&self) -> bool {
        let failed = lock(&self.failure).is_some();
        // With all crashes switched off there are no states: then a seed counts as one.
        let (tally, seeds) = *lock(&self.total);
        !failed && tally.states.max(seeds) < self.states
    }

    fn seed(&self, seed: u64, explore: Exploration) {
        let Explored { tally, result, .. } = caught(explore, seed, &Cut::default());
        let mut total = lock(&self.total);
        total.0.add(tally);
        total.1 += 1;
        if let Err(why) = result {
            let states = total.0.states;
            let mut failure = lock(&self.failure);
            failure.get_or_insert_with(|| {
                format!(
                    "fan-out of {}, seed {seed:#x}, after {} seeds and {states} states:\n  {why}\n  again: {}",
                    self.name,
                    total.1,
                    self.replay_line(seed)
                )
            });
        }
    }

    fn replay_line(&self, seed: u64) -> String {
        format!("cargo sim replay {seed:#x} --profile fan-out-{}", self.name.trim_start_matches("the "))
    }
}

/// How many states a campaign recovers that would recover `default` of them: `HIGHWATER_STATES`.
fn states(default: u64) -> u64 {
    let Ok(text) = std::env::var("HIGHWATER_STATES") else { return default };
    settings::parse(&text).unwrap_or_else(|| panic!("HIGHWATER_STATES={text}: a number is needed"))
}
