//! `cargo sim seeds`: the seeds on record.

use super::Exit;
use crate::seeds::{self, Recorded, UNTOLD};

/// Look after the seeds on record.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Every file of seeds/ is complete, and none of them fails any more.
    Check,
    /// One line per file.
    List,
}

/// Runs the command.
pub(crate) fn run(command: &Command) -> Exit {
    let mut exit = Exit::Clean;
    for (file, recorded) in seeds::all() {
        let said = recorded.and_then(|recorded| match command {
            Command::List => Ok(line(&recorded)),
            Command::Check => check(&recorded).map(|()| format!("{file}: passes")),
        });
        match said {
            Ok(line) => println!("{line}"),
            Err(why) => {
                println!("{why}");
                exit = Exit::Failed;
            }
        }
    }
    exit
}

fn line(recorded: &Recorded) -> String {
    let Recorded { file, seed, profile, story, .. } = recorded;
    let story = story.split_whitespace().collect::<Vec<_>>().join(" ");
    let brief = story.split(['.', ':', ';']).next().unwrap_or_default();
    format!("{:<44} {profile:<15} {seed:#x}: {brief}", file.trim_end_matches(".toml"))
}

fn check(recorded: &Recorded) -> Result<(), String> {
    let file = &recorded.file;
    if recorded.story.trim() == UNTOLD {
        return Err(format!("seeds/{file}: nobody has told its story yet"));
    }
    if recorded.plan.is_some() != recorded.signature.is_some() {
        return Err(format!("seeds/{file}: a plan and its signature belong together"));
    }
    for recipe in recorded.shrunk()?.into_iter().chain([recorded.drawn()]) {
        if let Some(why) = recipe.run().why {
            return Err(format!("seeds/{file}: {why}"));
        }
    }
    Ok(())
}
