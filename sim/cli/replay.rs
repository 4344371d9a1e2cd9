//! `cargo sim replay`: one seed, told in full.

use super::seed::Which;
use super::{Exit, broken};
use crate::report;
use crate::seeds::Recorded;

/// Run one seed, twice, and tell everything about it.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// Run it once only: the same seed is not compared with itself.
    #[arg(long)]
    once: bool,
}

/// Replays the seed; it fails as it did.
pub(crate) fn run(args: &Args) -> Exit {
    let case = match args.which.case() {
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
