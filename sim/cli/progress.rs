//! A bar for people who wait: what is done, and how fast.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::job::{Budget, Totals};

/// A bar of what `budget` allows. It is drawn on a terminal only.
pub(crate) struct Progress {
    bar: ProgressBar,
    budget: Budget,
}

impl Progress {
    /// An empty one.
    pub(crate) fn new(name: &str, budget: Budget) -> Self {
        let length = match budget {
            Budget { seeds: u64::MAX, states: u64::MAX, time } if time < Duration::MAX => time.as_secs(),
            Budget { seeds: u64::MAX, states, .. } => states,
            Budget { seeds, .. } => seeds,
        };
        let bar = ProgressBar::new(length).with_prefix(name.to_owned());
        let style = ProgressStyle::with_template("{prefix} {wide_bar} {msg} [{elapsed}, {eta} left]");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        Self { bar, budget }
    }

    /// Shows what is done.
    pub(crate) fn show(&self, total: &Totals) {
        self.bar.set_position(match self.budget {
            Budget { seeds: u64::MAX, states: u64::MAX, time } if time < Duration::MAX => {
                total.took.as_secs()
            }
            Budget { seeds: u64::MAX, .. } => total.states(),
            Budget { .. } => total.seeds,
        });
        let seconds = total.took.as_secs_f64().max(f64::MIN_POSITIVE);
        #[expect(clippy::cast_precision_loss, reason = "rates are for people")]
        let (seeds, states) = (total.seeds as f64 / seconds, total.states() as f64 / seconds);
        let failed = total.failures.len();
        self.bar.set_message(format!(
            "{} seeds, {seeds:.0}/s; {} crash states, {states:.0}/s; {failed} failed",
            total.seeds,
            total.states()
        ));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
