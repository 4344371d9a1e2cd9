//! Shrinking: what a failing run does not need is taken away, until everything that is left matters.
//!
//! ```text
//! items ──► without one half? ──► without a quarter? ──► … ──► without any single one? ──► the minimum
//!                 └──── each question is a run; "it still fails" makes the answer the new list ────┘
//! ```
//!
//! It works on lists, whatever they hold: crashes, operations, classes of faults, and the choices of a [`Tape`]. A list
//! of one kind is shrunk while everything else stays as it is, then the next one, and again from the first as
//! long as anything got shorter.
//!
//! K1. What is returned fails, if what was given does.
//! K2. It is minimal as long as tries last: without any single one of its items it does not fail.
//! K3. Same list, same answers, same result: the order of tries is fixed, and nothing is drawn.
//! K4. No list is tried twice by one call.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use xxhash_rust::xxh3::xxh3_128;

use super::choices::{Deviation, Tape};

/// Tries that a shrinker makes unless told otherwise.
const TRIES_MAX_DEFAULT: u64 = 10_000;

/// The items of `items` that a failure needs, in their order. `fails` says whether a run with these items alone
/// still fails; with all of them it must.
///
/// ```
/// use highwater::sim::minimize;
///
/// let operations: Vec<u32> = (0..100).collect();
/// let needed = minimize(&operations, |kept| kept.contains(&17) && kept.contains(&71));
/// assert_eq!(needed, [17, 71]);
/// ```
///
/// Makes at most 10,000 runs; [`Shrinker`] has the limit as an option.
#[must_use]
pub fn minimize<T: Clone>(items: &[T], fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    Shrinker::new().minimize(items, fails)
}

/// Shrinks the lists and numbers that a failing run is made of, with a limit to the tries of all of them together.
///
/// ```
/// use highwater::sim::Shrinker;
///
/// # #[derive(Clone)] struct Plan { crashes: Vec<u64>, operations: Vec<u64> }
/// # fn fails(plan: &Plan) -> bool { plan.crashes.contains(&3) && plan.operations.contains(&5) }
/// # let mut plan = Plan { crashes: (0..9).collect(), operations: (0..9).collect() };
/// let mut shrinker = Shrinker::new().tries_max(500);
/// let all = plan.clone();
/// plan.crashes = shrinker.minimize(&all.crashes, |crashes| fails(&Plan { crashes: crashes.to_vec(), ..plan.clone() }));
/// plan.operations =
///     shrinker.minimize(&all.operations, |operations| fails(&Plan { operations: operations.to_vec(), ..plan.clone() }));
/// assert_eq!((plan.crashes, plan.operations), (vec![3], vec![5]));
/// println!("{} runs{}", shrinker.tries(), if shrinker.is_exhausted() { ", not minimal" } else { "" });
/// ```
#[derive(Clone, Debug)]
pub struct Shrinker {
    tries_max: u64,
    tries: u64,
    exhausted: bool,
}

impl Default for Shrinker {
    fn default() -> Self {
        Self::new()
    }
}

impl Shrinker {
    /// A shrinker that makes at most 10,000 tries.
    #[must_use]
    pub fn new() -> Self {
        Self { tries_max: TRIES_MAX_DEFAULT, tries: 0, exhausted: false }
    }

    /// The same with at most `tries` tries, over all that it shrinks.
    #[must_use]
    pub fn tries_max(mut self, tries: u64) -> Self {
        self.tries_max = tries;
        self
    }

    /// How many tries there were.
    pub fn tries(&self) -> u64 {
        self.tries
    }

    /// Whether a try was wanted and not made: what was returned fails, and may not be minimal.
    pub fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// The items of `items` that a failure needs, in their order: see [`minimize`].
    #[must_use]
    pub fn minimize<T: Clone>(&mut self, items: &[T], mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
        let mut known = BTreeSet::new();
        let mut kept: Vec<usize> = (0..items.len()).collect();
        let pick = |places: &[usize]| -> Vec<T> { places.iter().map(|&at| items[at].clone()).collect() };
        let mut fails_with = |shrinker: &mut Self, places: &[usize]| {
            known.insert(digest(places)) && shrinker.asks(|| fails(&pick(places)))
        };
        if items.is_empty() || fails_with(self, &[]) {
            return Vec::new();
        }
        let mut chunk = items.len().div_ceil(2);
        loop {
            let before = kept.len();
            let mut at = 0;
            while at < kept.len() {
                let end = kept.len().min(at + chunk);
                let rest = [&kept[..at], &kept[end..]].concat();
                if fails_with(self, &rest) {
                    kept = rest;
                } else {
                    at = end;
                }
            }
            // A pass over single items that took none away has shown K2.
            if chunk == 1 && kept.len() == before {
                return pick(&kept);
            }
            chunk = chunk.div_ceil(2).min(kept.len().max(1));
        }
    }

    /// The least number from which on no step down still fails, between 0 and `number`, with which it does. Where one
    /// number fails, greater ones need not: it is a minimum, not always the least.
    #[must_use]
    pub fn minimize_number(&mut self, number: u64, mut fails: impl FnMut(u64) -> bool) -> u64 {
        let (mut least, mut step) = (number, number);
        while step > 0 {
            step = step.min(least);
            if step > 0 && self.asks(|| fails(least - step)) {
                least -= step;
            } else {
                step /= 2;
            }
        }
        least
    }

    /// `tape` with the default in every place where the failure does not need another choice, and else with the
    /// smallest choice that was found. `fails` says whether a run on this tape still fails; on `tape` itself it must.
    ///
    /// ```
    /// use highwater::sim::{Shrinker, Simulator, Streams, Tape, yield_now};
    /// # use std::sync::{Arc, atomic::{AtomicU32, Ordering}};
    /// # use highwater::sim::Choices;
    ///
    /// // Fails when `second` comes first.
    /// let fails = |choices: Box<dyn Choices>| {
    ///     let order = Arc::new(AtomicU32::new(0));
    ///     let seen = Arc::clone(&order);
    ///     Simulator::with_choices(choices).run(async move |sim| {
    ///         for task in [1, 2] {
    ///             let order = Arc::clone(&order);
    ///             sim.spawn("task", async move || {
    ///                 let _ = order.compare_exchange(0, task, Ordering::SeqCst, Ordering::SeqCst);
    ///             });
    ///         }
    ///         for _ in 0..8 { yield_now().await; }
    ///     }).unwrap();
    ///     seen.load(Ordering::SeqCst) == 2
    /// };
    /// let tape = (0..).map(|seed| {
    ///     let tape = Tape::default();
    ///     let failed = fails(Box::new(tape.record(Streams::new(seed).stream("schedule"))));
    ///     (failed, tape)
    /// }).find_map(|(failed, tape)| failed.then_some(tape)).unwrap();
    /// let least = Shrinker::new().minimize_tape(&tape, |tape| fails(Box::new(tape.replay())));
    /// assert_eq!(least.deviations().len(), 1); // one task was not taken in its turn
    /// ```
    #[must_use]
    pub fn minimize_tape(&mut self, tape: &Tape, mut fails: impl FnMut(&Tape) -> bool) -> Tape {
        let deviations = tape.deviations();
        let mut needed = self.minimize(&deviations, |kept| fails(&Tape::of_deviations(kept)));
        for at in 0..needed.len() {
            let above_least = u64::from(needed[at].choice - 1);
            let less = self.minimize_number(above_least, |above_least| {
                let mut tried = needed.clone();
                tried[at].choice = choice_above_least(above_least);
                fails(&Tape::of_deviations(&tried))
            });
            needed[at] = Deviation { choice: choice_above_least(less), ..needed[at] };
        }
        Tape::of_deviations(&needed)
    }

    /// The answer of one try, or no when there are none left.
    fn asks(&mut self, fails: impl FnOnce() -> bool) -> bool {
        if self.tries >= self.tries_max {
            self.exhausted = true;
            return false;
        }
        self.tries += 1;
        fails()
    }
}

/// A choice is 1 at least: 0 would be no deviation.
fn choice_above_least(above_least: u64) -> u32 {
    u32::try_from(above_least + 1).expect("not above the choice that it came from")
}

fn digest(places: &[usize]) -> u128 {
    let bytes: Vec<u8> = places.iter().flat_map(|&at| (at as u64).to_le_bytes()).collect();
    xxh3_128(&bytes)
}

/// Runs `run` and turns a panic into its message: how a violation that an assertion found becomes an answer for
/// [`minimize`]. The panic hook still has its say; silence it (`std::panic::set_hook`) where many runs fail.
///
/// # Errors
///
/// The message of the panic.
///
/// ```
/// let failure = highwater::sim::caught(|| assert!(1 > 2, "I1: money is missing"));
/// assert_eq!(failure, Err("I1: money is missing".to_owned()));
/// ```
pub fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    // What the run has built is dropped with it: nobody sees it in a half-made state.
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
    })
}
