//! A seed as people write it on a command line.

use crate::host::Scheduler;
use crate::profile::Profile;
use crate::seeds::{self, Case};
use crate::settings;

// The one run that a command is about. Not a doc comment: clap would tell it as what the command does.
#[derive(clap::Args)]
pub(crate) struct Which {
    /// A seed, or the name of a file in seeds/ (with or without .toml), or a path to one.
    seed: String,
    /// The kind of plans [default: that of the file, else forward].
    #[arg(long, value_enum)]
    profile: Option<Profile>,
    /// What runs a story [default: that of the file, else built-in].
    #[arg(long, value_enum)]
    scheduler: Option<Scheduler>,
}

impl Which {
    /// What is to be run.
    ///
    /// # Errors
    ///
    /// A sentence for people.
    pub(crate) fn case(&self) -> Result<Case, String> {
        seeds::case(&self.seed, self.profile, self.scheduler)
    }

    /// The seed or file as it was written.
    pub(crate) fn name(&self) -> &str {
        &self.seed
    }
}

/// Reads a seed.
///
/// # Errors
///
/// A sentence for people.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    settings::parse(text).ok_or_else(|| {
        "a number is needed, 0x and a hexadecimal one, git: and at least 7 digits of a commit, or all 40"
            .to_owned()
    })
}
