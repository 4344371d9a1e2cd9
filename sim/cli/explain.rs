//! `cargo sim explain`: what happened in one run, as text, as a page or as a picture.

use std::fs;
use std::path::PathBuf;

use super::{Exit, broken};
use crate::host::Scheduler;
use crate::profile::Profile;
use crate::{explain, seeds};

/// Run one seed and tell what happened: every promise, fault, crash and recovery.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A seed, or the name of a file in seeds/ (with or without .toml), or a path to one.
    seed: String,
    /// The kind of plans [default: that of the file, else forward].
    #[arg(long, value_enum)]
    profile: Option<Profile>,
    /// What runs the story [default: that of the file, else built-in].
    #[arg(long, value_enum)]
    scheduler: Option<Scheduler>,
    /// Write a page to this file, instead of the text to standard output.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Draw the first power loss, or else the first crash, into this SVG file.
    #[arg(long, value_name = "FILE", conflicts_with = "html")]
    svg: Option<PathBuf>,
}

/// Explains the seed; it fails as it did.
#[expect(clippy::disallowed_methods, reason = "a page is for people, not of a simulation")]
pub(crate) fn run(args: &Args) -> Exit {
    let case = match seeds::case(&args.seed, args.profile, args.scheduler) {
        Ok(case) => case,
        Err(why) => return broken(why),
    };
    let explained = explain::run(case.profile, case.recipe);
    let written = match (&args.html, &args.svg) {
        (Some(path), _) => Some((path, explained.page())),
        (None, Some(path)) => match explained.picture(&format!("cargo sim explain {}", args.seed)) {
            Ok(Some(picture)) => Some((path, picture)),
            Ok(None) => return broken("nothing crashed in this run"),
            Err(why) => return broken(why),
        },
        (None, None) => None,
    };
    match written {
        None => print!("{}", explained.text()),
        Some((path, content)) => {
            if let Err(error) = fs::write(path, content) {
                return broken(format!("{}: {error}", path.display()));
            }
            println!("{}", path.display());
        }
    }
    if explained.passed() { Exit::Clean } else { Exit::Failed }
}
