//! `cargo sim campaign`: every profile in turn, for hours.
//!
//! What was done is kept in a file, so that a second call goes on with the next seeds. It is written after every round,
//! whole, and replaced by a rename: a campaign that is killed repeats one round at most. The first failure ends it; it is
//! shrunk and recorded in seeds/, and its seed is the next one until it passes. What another build of the harness has
//! done counts, and is told apart: only this one's says something about this engine.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::progress::Progress;
use super::{Exit, broken, seed, shrink};
use crate::host::Scheduler;
use crate::job::{self, Budget, Job, Totals};
use crate::profile::Profile;
use crate::recipe::Recipe;
use crate::report::{self, SeenBy};
use crate::seeds::Recorded;
use crate::{DAMAGE_MUST_HIT, Test, settings};

/// See [`Test`].
pub(crate) const TESTS: &[Test] = tests![a_lane_misses_what_this_build_has_not_seen];

/// How long one profile has all cores before it is the next one's turn.
const ROUND: Duration = Duration::from_secs(60);

/// How long a failure is shrunk.
const SHRINK_MAX: Duration = Duration::from_secs(300);

/// Run every profile in turn, for hours; a second call goes on where the first stopped.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Stop after so many hours; 0.5 is half of one.
    #[arg(long)]
    hours: Option<f64>,
    /// Stop after so many seeds of this call.
    #[arg(long)]
    seeds: Option<u64>,
    /// Stop after so many crash states of this call.
    #[arg(long)]
    states: Option<u64>,
    /// These profiles only; may be given more than once.
    #[arg(long, value_enum)]
    profile: Vec<Profile>,
    /// Where the campaign keeps what it has done.
    #[arg(long, default_value = "target/sim/campaign.toml")]
    state: PathBuf,
    /// The first seed of a campaign that has done nothing yet; madsim's seeds begin far behind it.
    #[arg(long, value_parser = seed::parse, default_value_t = settings::base())]
    base: u64,
}

/// What a campaign has done.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// The digest of the harness that ran last, engine and all.
    #[serde(default)]
    build: String,
    /// By profile, and for stories the scheduler.
    done: BTreeMap<String, Done>,
}

/// What one profile has done.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Done {
    /// The next seed, hexadecimal.
    next: String,
    /// Seeds run.
    seeds: u64,
    /// Crash states recovered.
    states: u64,
    /// Those of fan-outs that differ in what a program can read, within their seed.
    #[serde(default)]
    distinct: u64,
    /// Seconds of one core.
    core_seconds: u64,
    /// Seeds and crash states of the build that ran last.
    #[serde(default)]
    by_build: [u64; 2],
    /// Of the same build, here and below. The engine's events, and how often each was seen.
    #[serde(default)]
    marks: BTreeMap<String, u64>,
    /// Cells of the coverage, and how often each was reached.
    #[serde(default)]
    coverage: BTreeMap<String, u64>,
    /// Outcomes on disks that break their word, and how often there was each.
    #[serde(default)]
    outcomes: BTreeMap<String, u64>,
}

/// Runs the campaign.
pub(crate) fn run(args: &Args) -> Exit {
    if args.hours.is_none() && args.seeds.is_none() && args.states.is_none() {
        println!("a campaign needs an end: --hours, --seeds or --states");
        return Exit::Usage;
    }
    let mut state = match State::read(&args.state).and_then(State::of_this_build) {
        Ok(state) => state,
        Err(why) => return broken(why),
    };
    match rounds(args, &mut state) {
        Err(why) => broken(why),
        Ok(Some((job, total))) => {
            report::totals(&job, &total);
            record(&job, &total)
        }
        Ok(None) => state.told(args),
    }
}

/// Shrinks the failure of a job and records it.
fn record(job: &Job, total: &Totals) -> Exit {
    let Some(failed) = total.failures.first() else { return Exit::Failed };
    let recipe = Recipe::of(job.profile, job.scheduler, failed.seed);
    match shrink::shrunk(&recipe, job.profile, SHRINK_MAX).map(Recorded::write) {
        None => {
            println!("it passes when it is run again (I12)");
            return Exit::Nondeterminism;
        }
        Some(Ok(path)) => println!("recorded in {}", path.display()),
        Some(Err(why)) => return broken(why),
    }
    Exit::Failed
}

/// Round after round, until the budget is used up, or the job that failed.
fn rounds(args: &Args, state: &mut State) -> Result<Option<(Job, Totals)>, String> {
    let hours = args.hours.map_or(Ok(Duration::MAX), |hours| Duration::try_from_secs_f64(hours * 3600.0));
    let time = hours.map_err(|error| format!("--hours: {error}"))?;
    let (begun, mut seeds, mut states) = (job::now(), 0, 0);
    for (profile, scheduler) in lanes(&args.profile).into_iter().cycle() {
        let left = Budget {
            seeds: args.seeds.unwrap_or(u64::MAX).saturating_sub(seeds),
            states: args.states.unwrap_or(u64::MAX).saturating_sub(states),
            time: time.saturating_sub(begun.elapsed()),
        };
        if left.seeds == 0 || left.states == 0 || left.time.is_zero() {
            break;
        }
        let name = name(profile, scheduler);
        let done = state.done.entry(name.clone()).or_default();
        let base = settings::parse(&done.next).unwrap_or_else(|| scheduler.base(args.base));
        let budget = Budget { time: left.time.min(ROUND), ..left };
        let bar = Progress::new(&name, budget);
        let job = Job { profile, scheduler, base, budget, failures_max: 1 };
        let total = job::run(&job, &|total| bar.show(total));
        drop(bar);
        (seeds, states) = (seeds + total.seeds, states + total.states());
        done.add(base, &total);
        // A seed that failed is met again by the next call, until it is fixed.
        if let Some(failure) = total.failures.first() {
            done.next = format!("{:#x}", failure.seed);
        }
        state.write(&args.state)?;
        if !total.failures.is_empty() {
            return Ok(Some((job, total)));
        }
    }
    Ok(None)
}

/// What is run in turn.
fn lanes(only: &[Profile]) -> Vec<(Profile, Scheduler)> {
    let all = [
        (Profile::Forward, Scheduler::Madsim),
        (Profile::FanOutEngine, Scheduler::BuiltIn),
        (Profile::Forward, Scheduler::BuiltIn),
        (Profile::Damage, Scheduler::BuiltIn),
        (Profile::Remote, Scheduler::BuiltIn),
        (Profile::FanOutLog, Scheduler::BuiltIn),
        (Profile::FanOutRescale, Scheduler::BuiltIn),
        (Profile::FanOutRemote, Scheduler::BuiltIn),
    ];
    all.into_iter().filter(|(profile, _)| only.is_empty() || only.contains(profile)).collect()
}

fn name(profile: Profile, scheduler: Scheduler) -> String {
    match profile.exploration() {
        None => format!("{profile}-{scheduler}"),
        Some(_) => profile.to_string(),
    }
}

impl State {
    #[expect(clippy::disallowed_methods, reason = "the file of a campaign is not the engine's")]
    fn read(path: &Path) -> Result<Self, String> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// With nothing done by this build yet, if another one ran last.
    #[expect(clippy::disallowed_methods, reason = "this program's own file")]
    fn of_this_build(self) -> Result<Self, String> {
        let program = env::current_exe().and_then(fs::read);
        let program = program.map_err(|error| format!("the harness: {error}"))?;
        Ok(self.of_build(format!("{:016x}", xxh3_64(&program))))
    }

    /// What another build has seen says nothing about this one.
    fn of_build(mut self, build: String) -> Self {
        if build != self.build {
            self.build = build;
            for done in self.done.values_mut() {
                done.by_build = [0; 2];
                done.marks.clear();
                done.coverage.clear();
                done.outcomes.clear();
            }
        }
        self
    }

    #[expect(clippy::disallowed_methods, reason = "the file of a campaign is not the engine's")]
    fn write(&self, path: &Path) -> Result<(), String> {
        let text = toml::to_string(self).map_err(|error| error.to_string())?;
        let next = path.with_extension("tmp");
        let folder = path.parent().unwrap_or(Path::new("."));
        let written = fs::create_dir_all(folder)
            .and_then(|()| fs::write(&next, text))
            .and_then(|()| fs::rename(&next, path));
        written.map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Tells what all calls together have done.
    fn told(&self, args: &Args) -> Exit {
        println!("campaign of {}:", args.state.display());
        for (name, Done { next, seeds, states, distinct, core_seconds, by_build, .. }) in &self.done {
            let others = [seeds - by_build[0], states - by_build[1]];
            let told = if others == [0; 2] {
                String::new()
            } else {
                format!(" ({} and {} by other builds)", others[0], others[1])
            };
            let distinct = if *distinct == 0 { String::new() } else { format!(" ({distinct} distinct)") };
            println!(
                "  {name:<18} {seeds:>9} seeds {states:>11} crash states{distinct} {core_seconds:>7} core seconds{told}, \
                 next {next}"
            );
        }
        let missed = self.missed();
        for (name, missed) in &missed {
            println!("{name}: {} seeds of this build never saw: {missed:?}", self.done[name].by_build[0]);
        }
        if missed.is_empty() { Exit::Clean } else { Exit::Missed }
    }

    /// What this build had to see and did not, lane by lane.
    fn missed(&self) -> Vec<(String, Vec<String>)> {
        let of_lane = |(profile, scheduler)| {
            let name = name(profile, scheduler);
            let done = self.done.get(&name)?;
            let seen = SeenBy {
                seeds: done.by_build[0],
                is_hit: &|mark| done.marks.contains_key(mark),
                outcomes: &done.outcomes,
                reached: &done.coverage,
            };
            let missed = report::missing(profile, &seen);
            (!missed.is_empty()).then_some((name, missed))
        };
        lanes(&[]).into_iter().filter_map(of_lane).collect()
    }
}

impl Done {
    fn add(&mut self, base: u64, total: &Totals) {
        self.next = format!("{:#x}", base.wrapping_add(total.seeds));
        self.seeds += total.seeds;
        self.states += total.states();
        self.distinct += total.explored.distinct;
        self.by_build[0] += total.seeds;
        self.by_build[1] += total.states();
        self.core_seconds += total.busy.as_secs();
        for (mark, count) in total.marks.counts() {
            *self.marks.entry(mark.to_owned()).or_default() += count;
        }
        for (cell, count) in total.coverage.named() {
            *self.coverage.entry(cell).or_default() += count;
        }
        for (outcome, count) in report::outcomes(&total.tally) {
            *self.outcomes.entry(outcome).or_default() += count;
        }
    }
}

/// Every lane has its own list, and what another build has seen is not this one's.
fn a_lane_misses_what_this_build_has_not_seen() {
    let lanes = ["forward-madsim", "damage-built-in", "remote-built-in", "fan-out-log"];
    let done = || Done { seeds: 600, by_build: [600, 0], ..Done::default() };
    let mut state = State {
        build: "this".to_owned(),
        done: lanes.iter().map(|name| ((*name).to_owned(), done())).collect(),
    };
    let names = |state: &State| state.missed().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(&state), ["forward-madsim", "damage-built-in", "remote-built-in"]);

    let damage = state.done.get_mut("damage-built-in").expect("made above");
    damage.marks = DAMAGE_MUST_HIT.iter().map(|mark| ((*mark).to_owned(), 1)).collect();
    let outcomes = ["exact", "typed error", "unproven tail lost"].map(|name| (name.to_owned(), 1));
    damage.outcomes = outcomes.into_iter().collect();
    let missed = state.missed().into_iter().find(|(name, _)| name == "damage-built-in");
    assert_eq!(missed.expect("one outcome").1, ["verify names damage"]);

    let mut state = state.of_build("another".to_owned());
    assert_eq!(names(&state), [""; 0], "this build has run nothing yet");
    state.done.get_mut("damage-built-in").expect("made above").by_build = [600, 0];
    let missed = state.missed().remove(0).1;
    assert!(missed.len() > DAMAGE_MUST_HIT.len(), "the other build's do not count: {missed:?}");
}
