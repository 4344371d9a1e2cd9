//! Many runs, until enough crash states were recovered; and what is said about it.

#![expect(clippy::print_stdout, reason = "a harness reports to people")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::{Tally, words_of};
use crate::settings;

/// The seeds and states of a campaign.
struct Campaign {
    name: &'static str,
    next: AtomicU64,
    states: u64,
    total: Mutex<(Tally, u64)>,
    failure: Mutex<Option<String>>,
}

/// Runs `explore` over fresh seeds on every processor, until `default_states` crash states (or `HIGHWATER_STATES`) were
/// recovered; over `HIGHWATER_SEED` alone if it is set.
///
/// Panics at the first failure, with what is needed to see it again.
pub(crate) fn run(name: &'static str, default_states: u64, explore: fn(u64) -> (Tally, Result<(), String>)) {
    let campaign = Campaign {
        name,
        next: AtomicU64::new(settings::base()),
        states: states(default_states),
        total: Mutex::default(),
        failure: Mutex::default(),
    };
    #[expect(clippy::disallowed_methods, reason = "the rate is measured in real time")]
    let began = Instant::now();
    if let Some(seed) = settings::one_seed() {
        campaign.seed(seed, explore);
    } else {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while campaign.goes_on() {
                        campaign.seed(campaign.next.fetch_add(1, Ordering::Relaxed), explore);
                    }
                });
            }
        });
    }
    let (tally, seeds) = *campaign.total.lock().unwrap_or_else(PoisonError::into_inner);
    let took = began.elapsed();
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let rate = tally.states as f64 / took.as_secs_f64();
    println!(
        "fan-out of {name}: {seeds} seeds, {} moments, {} images, {} crash states recovered ({} nested) in {took:.1?}: \
         {rate:.0} states/s",
        tally.moments, tally.images, tally.states, tally.nested
    );
    if let Some(failure) = campaign.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        panic!("{failure}");
    }
}

impl Campaign {
    fn goes_on(&self) -> bool {
        let failed = self.failure.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        !failed && self.total.lock().unwrap_or_else(PoisonError::into_inner).0.states < self.states
    }

    fn seed(&self, seed: u64, explore: fn(u64) -> (Tally, Result<(), String>)) {
        let explored = catch_unwind(AssertUnwindSafe(|| explore(seed)));
        let (tally, outcome) =
            explored.unwrap_or_else(|panic| (Tally::default(), Err(words_of(panic.as_ref()))));
        let mut total = self.total.lock().unwrap_or_else(PoisonError::into_inner);
        total.0.add(tally);
        total.1 += 1;
        if let Err(why) = outcome {
            let states = total.0.states;
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert_with(|| {
                format!(
                    "fan-out of {}, seed {seed:#x}, after {} seeds and {states} states:\n  {why}\n  \
                     again: HIGHWATER_SEED={seed:#x} cargo test --features sim --test sim fan_out",
                    self.name, total.1
                )
            });
        }
    }
}

/// How many states a campaign recovers that would recover `default` of them: `HIGHWATER_STATES`.
fn states(default: u64) -> u64 {
    let Ok(text) = std::env::var("HIGHWATER_STATES") else { return default };
    settings::parse(&text).unwrap_or_else(|| panic!("HIGHWATER_STATES={text}: a number is needed"))
}
