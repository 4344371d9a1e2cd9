//! `cargo sim replay`: one seed, told in full.

use super::{Exit, broken};
use crate::host::Scheduler;
use crate::profile::Profile;
use crate::report;
use crate::seeds::{self, Recorded};

/// Run one seed, twice, and tell everything about it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A seed, or the name of a file in seeds/ (with or without .toml), or a path to one.
    seed: String,
    /// The kind of plans [default: that of the file, else forward].
    #[arg(long, value_enum)]
    profile: Option<Profile>,
    /// What runs a story [default: that of the file, else built-in].
    #[arg(long, value_enum)]
    scheduler: Option<Scheduler>,
    /// Run it once only: the same seed is not compared with itself.
    #[arg(long)]
    once: bool,
}

/// Replays the seed; it fails as it did.
pub(crate) fn run(args: &Args) -> Exit {
    let case = match seeds::case(&args.seed, args.profile, args.scheduler) {
        Ok(case) => case,
        Err(why) => return broken(why),
    };
    if let Some(Recorded { story, commit, plan, .. }) = &case.recorded {
        let what = if plan.is_some() { "This is its shrunk plan." } else { "This is its seed." };
        println!("{}\nIt failed at commit {commit}. {what}", story.trim());
    }
    let ran = case.recipe.run();
    report::one(case.profile, case.scheduler, &ran);
    if !args.once && case.recipe.run().identity() != ran.identity() {
        let seed = ran.seed;
        println!("the same seed did something else the second time (I12): cargo sim determinism {seed:#x}");
        return Exit::Nondeterminism;
    }
    if ran.why.is_some() { Exit::Failed } else { Exit::Clean }
}
