//! The report as Markdown: docs/performance.md.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::human;
use crate::goal::{Bound, Goal, Outcome, Than, Verdict, best, outcomes};
use crate::profile::Profile;
use crate::run::{RowFigures, Run, Table};
use crate::stats::{self, Ratio};
use crate::workload::{self, Better, Column, Group, Workload};

/// The whole report. `picture` is the path of the picture as seen from the report.
pub(crate) fn text(run: &Run, picture: Option<&str>) -> String {
    let mut text = String::new();
    let add = |text: &mut String, part: &str| {
        text.push_str(part);
        text.push('\n');
    };
    add(&mut text, "<!-- Written by benches/compare from a run. Never edit a figure by hand. -->");
    add(&mut text, "# Performance\n");
    add(&mut text, &summary(run));
    if let Some(picture) = picture {
        add(&mut text, &format!("![Bars of all tables, on logarithmic scales]({picture})\n"));
    }
    add(&mut text, "## Goals\n");
    add(&mut text, &goals(run));
    add(&mut text, "## What we lose at\n");
    add(&mut text, &losses(run));
    for table in &run.tables {
        if let Some(workload) = workload::of(&table.workload) {
            add(&mut text, &of_table(&workload, table));
        }
    }
    if !run.profiles.is_empty() {
        add(&mut text, "## Where the time goes\n");
        add(&mut text, include_str!("profiles.md"));
        run.profiles.iter().for_each(|profile| add(&mut text, &of_profile(profile)));
    }
    add(&mut text, "## Machine\n");
    add(&mut text, &machine(run));
    add(&mut text, "## Versions\n");
    let versions = run.versions.iter().map(|(name, version)| format!("{name} {version}"));
    add(&mut text, &format!("{}.\n", versions.collect::<Vec<_>>().join(" · ")));
    add(&mut text, "## Method\n");
    text.push_str(include_str!("method.md"));
    text
}

fn summary(run: &Run) -> String {
    let (minutes, command) = (run.seconds.div_ceil(60), &run.command);
    let mut text = format!(
        "highwater against its peers and against plain baselines: {}, {minutes} min, by\n\n```sh\ncargo run --release \
         --manifest-path benches/compare/Cargo.toml -- {command}\n```\n",
        run.date
    );
    if run.quick {
        text.push_str("\n**Made with `--quick`: small sizes, few rounds. The figures mean little.**\n");
    }
    text
}

/// The goals as a table.
pub(crate) fn goals(run: &Run) -> String {
    let mut text = String::from("| | row | figure | goal | found | |\n|--|--|--|--|--|--|\n");
    let outcomes = outcomes(run);
    for outcome in &outcomes {
        let goal = &outcome.goal;
        let found = outcome.ratio.map_or("–".to_owned(), |ratio| interval(ratio, goal.than));
        let verdict = match outcome.verdict {
            Verdict::Met => "met".to_owned(),
            Verdict::MissedBy(share) => format!("**missed by {:.0} %**", (share * 100.0).max(1.0)),
            Verdict::NotRun => "not run".to_owned(),
        };
        let (workload, row, column) = (goal.workload, goal.row, goal.column);
        let _ =
            writeln!(text, "| {workload} | {row} | `{column}` | {} | {found} | {verdict} |", wanted(outcome));
    }
    let met = outcomes.iter().filter(|outcome| matches!(outcome.verdict, Verdict::Met)).count();
    let run = outcomes.iter().filter(|outcome| !matches!(outcome.verdict, Verdict::NotRun)).count();
    let _ = writeln!(text, "\n{met} of the {run} goals that were run are met.");
    text
}

fn wanted(outcome: &Outcome) -> String {
    let (sign, bound) = match outcome.goal.bound {
        Bound::AtMost(most) => ("≤", most),
        Bound::AtLeast(least) => ("≥", least),
    };
    let bound = human(bound);
    let named = outcome.than.as_deref().unwrap_or("no such row");
    match outcome.goal.than {
        Than::One => format!("{sign} {bound}"),
        Than::Baseline => format!("{sign} {bound} × baseline ({named})"),
        Than::BestPeer => format!("{sign} {bound} × best peer ({named})"),
        Than::Row(row) => format!("{sign} {bound} × {row}"),
    }
}

fn interval(ratio: Ratio, than: Than) -> String {
    let [median, low, high] = [ratio.median, ratio.low, ratio.high].map(human);
    let times = if matches!(than, Than::One) { "" } else { " ×" };
    format!("{median}{times} ({low}–{high})")
}

/// Every goal that was missed, and for every column the peers that are ahead of the best row of highwater.
fn losses(run: &Run) -> String {
    let mut text = String::new();
    for outcome in outcomes(run) {
        let (Verdict::MissedBy(_), Some(ratio)) = (&outcome.verdict, outcome.ratio) else { continue };
        let (Goal { workload, row, column, than, .. }, wanted) = (outcome.goal, wanted(&outcome));
        let found = interval(ratio, than);
        let _ = writeln!(text, "- {workload}, `{column}` of {row}: {found}, and should be {wanted}.");
    }
    for table in &run.tables {
        let Some(workload) = workload::of(&table.workload) else { continue };
        for column in workload.columns {
            let Some(own) = best(table, Group::Highwater, column.name) else { continue };
            let ahead: Vec<String> =
                table.rows.iter().filter_map(|row| ahead(table, row, &own, *column)).collect();
            if !ahead.is_empty() {
                let (id, name, ahead) = (workload.id, column.name, ahead.join(", "));
                let _ = writeln!(text, "- {id}, `{name}`: of {own} it is {ahead}.");
            }
        }
    }
    if text.is_empty() { "Nothing that was measured here.\n".to_owned() } else { text }
}

/// What highwater's row `own` has in `column` in terms of the peer `row`, if that is ahead.
fn ahead(table: &Table, row: &RowFigures, own: &str, column: Column) -> Option<String> {
    let aside = match row.row.group {
        Group::Peer => "",
        Group::Reference => " (not the same work)",
        _ => return None,
    };
    let ratio = stats::ratio(&table.pairs(own, &row.row.name, column.name))?;
    let ahead = match column.better {
        Better::Lower => ratio.median > 1.0,
        Better::Higher => ratio.median < 1.0,
    };
    ahead.then(|| format!("{} × that of {}{aside}", human(ratio.median), row.row.name))
}

fn of_table(workload: &Workload, table: &Table) -> String {
    let mut text = format!("## {}: {}\n\n{}\n\n", workload.id, workload.title, workload.about);
    let baseline = best(table, Group::Baseline, workload.rated().name);
    let peer = best(table, Group::Peer, workload.rated().name);
    let names = workload.columns.iter().map(|column| format!(" {} |", column.name));
    let _ = writeln!(text, "| row | n |{} spread | × baseline | × best peer |", names.collect::<String>());
    let _ = writeln!(text, "|--|--|{}--|--|--|", "--|".repeat(workload.columns.len()));
    for row in &table.rows {
        let of = |name: &Option<String>| {
            let than = name.as_ref().filter(|than| **than != row.row.name)?;
            let ratio = stats::ratio(&table.pairs(&row.row.name, than, workload.rated().name))?;
            Some(interval(ratio, Than::One))
        };
        let ratios = [&baseline, &peer].map(|than| of(than).unwrap_or("–".to_owned()));
        text.push_str(&of_row(workload, row, &ratios));
    }
    let named = |name: &Option<String>| name.clone().unwrap_or("none".to_owned());
    let _ = writeln!(text, "\nBaseline: {}; best peer: {}.\n", named(&baseline), named(&peer));
    for row in &table.rows {
        let failed = row.failure.as_ref().map(|failure| format!(" **failed: {failure}**"));
        let _ = writeln!(text, "- {}: {}.{}", row.row.name, row.row.note, failed.unwrap_or_default());
    }
    text
}

fn of_row(workload: &Workload, row: &RowFigures, ratios: &[String; 2]) -> String {
    let own = row.row.group == Group::Highwater;
    let name = if own { format!("**{}**", row.row.name) } else { row.row.name.clone() };
    let rated = row.figures(workload.rated().name);
    let figures = workload.columns.iter().map(|column| {
        let median = stats::median(&row.figures(column.name));
        format!(" {} |", median.map_or("–".to_owned(), human))
    });
    let spread = stats::spread(&rated).map_or("–".to_owned(), |spread| format!("{spread:.2}"));
    let [baseline, peer] = ratios;
    let figures = figures.collect::<String>();
    format!("| {name} | {} |{figures} {spread} | {baseline} | {peer} |\n", rated.len())
}

/// Functions of a profile that are listed, and the least share that is worth a line.
const PARTS_MAX: usize = 16;
const SHARE_MIN: f64 = 1.0;

fn of_profile(profile: &Profile) -> String {
    let mut places: BTreeMap<&str, f64> = BTreeMap::new();
    for part in &profile.parts {
        *places.entry(&part.place).or_default() += part.share;
    }
    let mut places: Vec<_> = places.into_iter().filter(|(_, share)| *share >= SHARE_MIN).collect();
    places.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    let places: Vec<String> =
        places.into_iter().map(|(place, share)| format!("{place} {share:.0} %")).collect();
    let mut text = format!(
        "### {} {}: {}\n\n| % | in | function |\n|--|--|--|\n",
        profile.workload,
        profile.row,
        places.join(", ")
    );
    for part in profile.parts.iter().take(PARTS_MAX).filter(|part| part.share >= SHARE_MIN) {
        let _ = writeln!(text, "| {:.1} | {} | `{}` |", part.share, part.place, part.function);
    }
    text
}

fn machine(run: &Run) -> String {
    let machine = &run.machine;
    format!(
        "- {}, {} cores, {} of memory\n- kernel {}, {}\n- {}\n- {}\n- load before {}, after {}\n",
        machine.processor,
        machine.cores,
        machine.memory,
        machine.kernel,
        machine.file_system,
        machine.device,
        machine.compiler,
        machine.load_before,
        machine.load_after,
    )
}
