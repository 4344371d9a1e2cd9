//! `cargo sim explain`: what happened in one run, as text, as a page or as a picture.

use std::fs;
use std::path::PathBuf;

use super::seed::Which;
use super::{Exit, broken};
use crate::explain;

/// Run one seed and tell what happened: every promise, fault, crash and recovery.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
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
    let case = match args.which.case() {
        Ok(case) => case,
        Err(why) => return broken(why),
    };
    let explained = explain::run(case.profile, case.recipe);
    let written = match (&args.html, &args.svg) {
        (Some(path), _) => Some((path, explained.page())),
        (None, Some(path)) => match explained.picture(&format!("cargo sim explain {}", args.which.name())) {
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
