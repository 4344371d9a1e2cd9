//! The goals: a ratio within one run, met when the 95 % interval of the paired ratio reaches it.

use crate::run::{Run, Table};
use crate::stats::{self, Ratio};
use crate::workload::{self, Better, Group};

use Bound::{AtLeast, AtMost};
use Than::{Baseline, BestPeer, One};

/// What a figure of highwater is measured against.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Than {
    /// The form of the baseline that is best in the column by which the workload is rated.
    Baseline,
    /// One row.
    Row(&'static str),
    /// The best peer in the same column.
    BestPeer,
    /// Nothing: the figure itself.
    One,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    pub(crate) workload: &'static str,
    pub(crate) row: &'static str,
    pub(crate) column: &'static str,
    pub(crate) bound: Bound,
    pub(crate) than: Than,
}

const fn goal(
    (workload, row, column): (&'static str, &'static str, &'static str),
    bound: Bound,
    than: Than,
) -> Goal {
    Goal { workload, row, column, bound, than }
}

/// Every goal, in the order of the workloads.
pub(crate) const GOALS: &[Goal] = &[
    goal(("W1", "highwater-inline", "p50_us"), AtMost(1.05), Baseline),
    goal(("W1", "highwater-inline", "p99_us"), AtMost(1.3), Baseline),
    goal(("W1", "highwater-inline", "p50_us"), AtMost(1.0), BestPeer),
    goal(("W1", "highwater", "p50_us"), AtMost(1.3), Baseline),
    goal(("W1", "highwater", "p50_us"), AtMost(1.0), BestPeer),
    goal(("W2", "highwater", "recs_s"), AtLeast(0.9), Than::Row("raw-bytes")),
    goal(("W2", "highwater", "recs_s"), AtLeast(2.3), BestPeer),
    goal(("W2", "highwater", "cpu_us"), AtMost(1.0 / 6.0), Than::Row("laminar")),
    goal(("W2", "highwater-pipelined", "recs_s"), AtLeast(1.4), Than::Row("raw-bytes")),
    goal(("W3-100", "highwater", "cpu_ns"), AtMost(0.9), Baseline),
    goal(("W3-100", "highwater", "caller_ns"), AtMost(0.5), Baseline),
    goal(("W3-1008", "highwater", "cpu_ns"), AtMost(0.9), Baseline),
    goal(("W3-1008", "highwater", "caller_ns"), AtMost(0.5), Baseline),
    goal(("W3-16368", "highwater", "cpu_ns"), AtMost(0.9), Baseline),
    goal(("W3-16368", "highwater", "caller_ns"), AtMost(0.5), Baseline),
    goal(("W4", "highwater", "recs_s"), AtLeast(0.7), Baseline),
    goal(("W4", "highwater-state", "recs_s"), AtLeast(4e6), One),
    goal(("W5", "highwater", "full_ms"), AtMost(1.15), Baseline),
    goal(("W5", "highwater", "incr_ms"), AtMost(1.4), Baseline),
    goal(("W5", "highwater", "incr_bytes_key"), AtMost(130.0), One),
    goal(("W5", "highwater", "open_ms"), AtMost(0.6), Baseline),
    goal(("W6", "highwater-inline", "commits_s"), AtLeast(0.95), Baseline),
    goal(("W6", "highwater-inline", "commits_s"), AtLeast(1.4), BestPeer),
    goal(("W7", "highwater", "update_ns"), AtMost(1.2), Baseline),
    goal(("W7", "highwater", "get_ns"), AtMost(1.0), Baseline),
    goal(("W7", "highwater", "key_bytes"), AtMost(160.0), One),
    goal(("W7", "highwater", "churn"), AtMost(1.5), One),
    goal(("W8", "highwater", "commits_s"), AtLeast(2.0), Baseline),
    goal(("W8", "highwater-inline", "commits_s"), AtLeast(2.0), Baseline),
    goal(("W8", "highwater-inline", "p99_us"), AtMost(1.2), Baseline),
    goal(("W8", "highwater", "p99_us"), AtMost(1.2), Baseline),
    goal(("W8", "highwater-wal", "commits_s"), AtLeast(2.0), Baseline),
    goal(("W8", "highwater-wal", "p99_us"), AtMost(1.2), Baseline),
];

/// What became of a goal.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    Met,
    /// By how much of the bound even the better end of the interval missed it.
    MissedBy(f64),
    NotRun,
}

/// A goal with its outcome.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) goal: Goal,
    /// The row that it was measured against.
    pub(crate) than: Option<String>,
    pub(crate) ratio: Option<Ratio>,
    pub(crate) verdict: Verdict,
}

/// The goals of the workloads that were run.
pub(crate) fn outcomes(run: &Run) -> Vec<Outcome> {
    let of = |goal: &Goal| {
        let table = run.tables.iter().find(|table| table.workload == goal.workload)?;
        Some(outcome(table, *goal))
    };
    GOALS.iter().filter_map(of).collect()
}

fn outcome(table: &Table, goal: Goal) -> Outcome {
    let than = opponent(table, &goal);
    let ratio = match (goal.than, &than) {
        (One, _) => {
            let figures = table.figures(goal.row, goal.column);
            stats::ratio(&figures.into_iter().map(|figure| (figure, 1.0)).collect::<Vec<_>>())
        }
        (_, Some(than)) => stats::ratio(&table.pairs(goal.row, than, goal.column)),
        (_, None) => None,
    };
    let verdict = ratio.map_or(Verdict::NotRun, |ratio| judge(goal.bound, ratio));
    Outcome { goal, than, ratio, verdict }
}

fn judge(bound: Bound, ratio: Ratio) -> Verdict {
    match bound {
        AtMost(most) if ratio.low > most => Verdict::MissedBy(ratio.low / most - 1.0),
        AtLeast(least) if ratio.high < least => Verdict::MissedBy(1.0 - ratio.high / least),
        _ => Verdict::Met,
    }
}

/// The row that `goal` is measured against.
fn opponent(table: &Table, goal: &Goal) -> Option<String> {
    let workload = workload::of(&table.workload)?;
    match goal.than {
        Than::Row(row) => Some(row.to_owned()),
        Baseline => best(table, Group::Baseline, workload.rated().name),
        BestPeer => best(table, Group::Peer, goal.column),
        One => None,
    }
}

/// The row of `group` whose median is the best in `column`.
pub(crate) fn best(table: &Table, group: Group, column: &str) -> Option<String> {
    let better = workload::of(&table.workload)?.column(column)?.better;
    let rows = table.rows.iter().filter(|row| row.row.group == group);
    let medians = rows.filter_map(|row| Some((stats::median(&row.figures(column))?, &row.row.name)));
    let best = match better {
        Better::Lower => medians.min_by(|(one, _), (other, _)| one.total_cmp(other)),
        Better::Higher => medians.max_by(|(one, _), (other, _)| one.total_cmp(other)),
    };
    best.map(|(_, name)| name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_goal_names_a_workload_a_column_and_a_row_that_exist() {
        for goal in GOALS {
            let workload = workload::of(goal.workload).unwrap();
            assert!(workload.column(goal.column).is_some(), "{goal:?}");
            assert!((workload.rows)().iter().any(|row| row.name == goal.row), "{goal:?}");
        }
    }

    #[test]
    fn a_goal_is_met_when_the_interval_reaches_it() {
        let ratio = Ratio { median: 1.2, low: 1.04, high: 1.3 };
        assert!(matches!(judge(AtMost(1.05), ratio), Verdict::Met));
        assert!(matches!(judge(AtMost(1.0), ratio), Verdict::MissedBy(_)));
        assert!(matches!(judge(AtLeast(1.3), ratio), Verdict::Met));
        assert!(matches!(judge(AtLeast(1.4), ratio), Verdict::MissedBy(_)));
    }
}
