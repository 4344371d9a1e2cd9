//! `cargo sim shrink`: the least that fails like a seed, on record.

use std::panic;
use std::process::Command;
use std::time::Duration;

use indicatif::ProgressBar;
use toml::Table;

use super::seed::Which;
use super::{Exit, broken};
use crate::fanout::{Cut, Exploration};
use crate::host::Scheduler;
use crate::plan::{LifePlan, Plan};
use crate::profile::Profile;
use crate::recipe::Recipe;
use crate::seeds::{Recorded, UNTOLD};
use crate::shrink::fanout::FanOut;
use crate::shrink::story::Story;
use crate::text::{self, FiringText};

/// A shrunk failure is told in so many lines, none of them longer than this.
const LINES_MAX: usize = 10;
const COLUMNS_MAX: usize = 300;

/// Find the least that fails like a seed, and record it in seeds/.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// Stop after so many seconds, with the least that was found by then.
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// Write no file.
    #[arg(long)]
    dry_run: bool,
}

/// Shrinks the seed.
pub(crate) fn run(args: &Args) -> Exit {
    let case = match args.which.case() {
        Ok(case) => case,
        Err(why) => return broken(why),
    };
    match shrunk(&case.recipe, case.profile, Duration::from_secs(args.seconds)) {
        None => {
            println!("it passes: there is nothing to shrink");
            Exit::Clean
        }
        Some(_) if args.dry_run => Exit::Failed,
        Some(recorded) => match recorded.write() {
            Ok(path) => {
                println!("recorded in {}; tell its story there, and fix the cause", path.display());
                Exit::Failed
            }
            Err(why) => broken(why),
        },
    }
}

/// Shrinks what fails and says what is left of it; `None` when it does not fail.
pub(super) fn shrunk(recipe: &Recipe, profile: Profile, time_max: Duration) -> Option<Recorded> {
    let bar = ProgressBar::new_spinner();
    // Every run that still fails would tell its panic.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let found = match recipe {
        Recipe::Story(scheduler, plan) => story(*scheduler, plan, time_max, &bar),
        Recipe::FanOut(explore, seed, cut) => fan_out((*explore, profile), (*seed, cut), time_max, &bar),
    };
    panic::set_hook(hook);
    bar.finish_and_clear();
    let (lines, recorded) = found?;
    println!("{}", lines.join("\n  "));
    Some(recorded)
}

fn story(
    scheduler: Scheduler,
    plan: &Plan,
    time_max: Duration,
    bar: &ProgressBar,
) -> Option<(Vec<String>, Recorded)> {
    let progress = |plan: &Plan, tries: u64| {
        let steps: usize = plan.lives.iter().map(|life| life.steps.len()).sum();
        let (lives, faults) = (plan.lives.len(), plan.faults.firings().count());
        bar.set_message(format!("{tries} runs: {lives} lives, {steps} steps, {faults} faults left"));
        bar.tick();
    };
    let mut story = Story::new(scheduler, plan, time_max, &progress)?;
    story.shrink();
    let Story { scheduler, plan, why, signature, tries, .. } = story;
    let mut lines = vec![format!("{tries} runs; what is left:")];
    lines.extend(in_lines(scheduler, &plan));
    lines.push(format!("fails: {}", why.lines().next().unwrap_or_default()));
    let (seed, profile) = (plan.seed, plan.profile);
    let recorded = recorded((profile, scheduler), seed, signature, text::of_plan(&plan));
    Some((lines, recorded))
}

fn fan_out(
    (explore, profile): (Exploration, Profile),
    (seed, cut): (u64, &Cut),
    time_max: Duration,
    bar: &ProgressBar,
) -> Option<(Vec<String>, Recorded)> {
    let progress = |cut: &Cut, tries: u64| {
        let operations = cut.kept.as_ref().map_or("all".to_owned(), |kept| kept.len().to_string());
        let faults = cut.faults.as_ref().map_or("all".to_owned(), |faults| faults.len().to_string());
        bar.set_message(format!("{tries} runs: {operations} operations, {faults} faults left"));
        bar.tick();
    };
    let FanOut { cut, words, why, signature, tries, .. } =
        FanOut::shrunk(explore, (seed, cut), time_max, &progress)?;
    let mut lines = vec![format!("{tries} runs; what is left:"), format!("{seed:#x}, {profile}")];
    lines.push(format!("operations: {}", words.join("; ")));
    let faults =
        cut.faults.iter().flatten().map(|firing| FiringText(*firing).to_string()).collect::<Vec<_>>();
    if !faults.is_empty() {
        lines.push(format!("faults: {}", faults.join("; ")));
    }
    // What it says ends with the shape that the seed drew.
    let said = why.lines().map(|line| line.trim().chars().take(COLUMNS_MAX).collect::<String>());
    lines.extend(said.filter(|line| !line.is_empty()).take(LINES_MAX - lines.len()));
    Some((lines, recorded((profile, Scheduler::BuiltIn), seed, signature, text::of_cut(&cut))))
}

fn recorded(
    (profile, scheduler): (Profile, Scheduler),
    seed: u64,
    signature: String,
    plan: Table,
) -> Recorded {
    let file = match profile {
        Profile::Forward => format!("{seed:#x}.toml"),
        profile => format!("{profile}-{seed:#x}.toml"),
    };
    let (commit, story) = (commit(), UNTOLD.to_owned());
    Recorded { file, seed, profile, scheduler, commit, story, signature: Some(signature), plan: Some(plan) }
}

/// A shrunk plan for people.
fn in_lines(scheduler: Scheduler, plan: &Plan) -> Vec<String> {
    let settings = text::in_words(&text::of_plan(plan));
    let mut lines = vec![format!("{:#x}, {}, {scheduler} scheduler {settings}", plan.seed, plan.profile)];
    let faults: Vec<String> = plan.faults.firings().map(|firing| FiringText(firing).to_string()).collect();
    if !faults.is_empty() {
        lines.push(format!("faults: {}", faults.join("; ")));
    }
    lines.extend(plan.lives.iter().map(LifePlan::in_words));
    if !plan.last_steps.is_empty() {
        lines.push(format!("last life: {}", crate::step::in_words(&plan.last_steps)));
    }
    lines
}

/// The commit that is checked out.
fn commit() -> String {
    let asked = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    let said = asked.ok().filter(|output| output.status.success());
    said.map_or("unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
