//! Seeds on record: one file in `seeds/` per bug that a seed found. seeds/README.md says what is in one.

use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use toml::{Table, Value};

use crate::host::Scheduler;
use crate::profile::Profile;
use crate::recipe::Recipe;
use crate::settings;

/// What a fresh file says in the place of its story, until somebody tells it.
pub(crate) const UNTOLD: &str = "To be told: what went wrong, and what stops it now.";

/// A seed that once failed.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    /// The file's name.
    pub(crate) file: String,
    /// The seed.
    pub(crate) seed: u64,
    /// The kind of plans.
    pub(crate) profile: Profile,
    /// What ran it.
    pub(crate) scheduler: Scheduler,
    /// Where it failed last.
    pub(crate) commit: String,
    /// What went wrong.
    pub(crate) story: String,
    /// How it failed: see [`crate::shrink::signature`].
    pub(crate) signature: Option<String>,
    /// The least that failed like it, if it was shrunk.
    pub(crate) plan: Option<Table>,
}

/// What a command line names.
pub(crate) struct Case {
    /// The file, if it named one.
    pub(crate) recorded: Option<Recorded>,
    /// The kind of plans.
    pub(crate) profile: Profile,
    /// What runs it.
    pub(crate) scheduler: Scheduler,
    /// What to run: the shrunk plan of a file if there is one.
    pub(crate) recipe: Recipe,
}

/// What `name`, a seed or a file, and the options of a command line mean together.
///
/// # Errors
///
/// A sentence for people.
pub(crate) fn case(
    name: &str,
    profile: Option<Profile>,
    scheduler: Option<Scheduler>,
) -> Result<Case, String> {
    let recorded = match settings::parse(name) {
        Some(_) => None,
        None => Some(named(name)?),
    };
    let of_file = recorded.as_ref();
    let is_file = profile.is_none() && scheduler.is_none();
    let profile = profile.or(of_file.map(|file| file.profile)).unwrap_or(Profile::Forward);
    let scheduler = scheduler.or(of_file.map(|file| file.scheduler)).unwrap_or(Scheduler::BuiltIn);
    let seed = settings::parse(name).or(of_file.map(|file| file.seed)).unwrap_or_default();
    let recipe = match of_file.filter(|_| is_file).map(Recorded::shrunk) {
        Some(shrunk) => shrunk?,
        None => None,
    };
    let recipe = recipe.unwrap_or_else(|| Recipe::of(profile, scheduler, seed));
    Ok(Case { recorded, profile, scheduler, recipe })
}

impl Recorded {
    /// What its seed draws now.
    pub(crate) fn drawn(&self) -> Recipe {
        Recipe::of(self.profile, self.scheduler, self.seed)
    }

    /// The shrunk plan, if there is one.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn shrunk(&self) -> Result<Option<Recipe>, String> {
        let read = |table: &Table| Recipe::read(self.profile, self.scheduler, self.seed, table.clone());
        let read = self.plan.as_ref().map(read).transpose();
        read.map_err(|why| format!("seeds/{}: {why}", self.file))
    }

    /// Writes the file; the story of a file that is there stays.
    ///
    /// # Errors
    ///
    /// A sentence for people.
    #[expect(clippy::disallowed_methods, reason = "the files of this repository are not the engine's")]
    pub(crate) fn write(mut self) -> Result<PathBuf, String> {
        let path = folder().join(&self.file);
        if let Ok(before) = read(&path) {
            self.story = before.story;
        }
        fs::write(&path, self.text()).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }

    fn text(&self) -> String {
        let Self { seed, profile, scheduler, commit, story, signature, plan, .. } = self;
        let mut lines = vec![format!("seed = \"{seed:#x}\""), format!("profile = \"{profile}\"")];
        if profile.exploration().is_none() {
            lines.push(format!("scheduler = \"{scheduler}\""));
        }
        lines.push(format!("commit = \"{commit}\""));
        let word = |(key, word): (&str, &String)| format!("{key} = {}", Value::String(word.clone()));
        lines.extend(signature.as_ref().map(|signature| word(("signature", signature))));
        lines.push(word(("story", story)));
        if let Some(plan) = plan {
            let whole = Table::from_iter([("plan".to_owned(), Value::Table(plan.clone()))]);
            lines.push(format!("\n{}", whole.to_string().trim_end()));
        }
        lines.join("\n") + "\n"
    }
}

/// Where the files are.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds")
}

/// Every seed on record, by file name, or what is wrong with its file.
pub(crate) fn all() -> Vec<(String, Result<Recorded, String>)> {
    let mut files = files(&folder());
    files.sort();
    let read = |file: String| {
        let recorded = read(&folder().join(&file));
        (file, recorded)
    };
    files.into_iter().map(read).collect()
}

/// The seed on record with this name, or in this file.
///
/// # Errors
///
/// A sentence for people.
pub(crate) fn named(name: &str) -> Result<Recorded, String> {
    let names = [PathBuf::from(name), folder().join(name), folder().join(format!("{name}.toml"))];
    let path = names.iter().find(|path| path.is_file());
    read(path.ok_or_else(|| format!("{name}: no seed, and no file of seeds/"))?)
}

#[expect(clippy::disallowed_methods, reason = "the files of this repository are not the engine's")]
fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    let names = names.map(|name| name.unwrap_or_else(|error| panic!("{}: {error}", folder.display())));
    names.filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "toml")).collect()
}

#[expect(clippy::disallowed_methods, reason = "the files of this repository are not the engine's")]
fn read(path: &Path) -> Result<Recorded, String> {
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    parse(&file, &text).map_err(|why| format!("seeds/{file}: {why}"))
}

fn parse(file: &str, text: &str) -> Result<Recorded, String> {
    let table: Table = text.parse().map_err(|error| format!("{error}"))?;
    let word = |key: &str| match table.get(key) {
        Some(Value::String(word)) if !word.trim().is_empty() => Ok(word.as_str()),
        Some(_) => Err(format!("{key} has to be a string with something in it")),
        None => Err(format!("no {key}")),
    };
    let seed = match table.get("seed") {
        Some(Value::Integer(seed)) => u64::try_from(*seed).ok(),
        Some(Value::String(seed)) => settings::parse(seed),
        _ => None,
    };
    let profile = Profile::from_str(word("profile")?, false).map_err(|_| "no such profile")?;
    let scheduler = match profile.exploration() {
        None => Scheduler::from_str(word("scheduler")?, false).map_err(|_| "no such scheduler")?,
        Some(_) => Scheduler::BuiltIn,
    };
    let known = ["seed", "profile", "scheduler", "commit", "signature", "story", "plan"];
    if let Some(stranger) = table.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(format!("what is {stranger}?"));
    }
    let plan = match table.get("plan") {
        None => None,
        Some(Value::Table(plan)) => Some(plan.clone()),
        Some(_) => return Err("the plan is no table".to_owned()),
    };
    let signature = if table.contains_key("signature") { Some(word("signature")?.to_owned()) } else { None };
    Ok(Recorded {
        file: file.to_owned(),
        seed: seed.ok_or("the seed is no number")?,
        profile,
        scheduler,
        commit: word("commit")?.to_owned(),
        story: word("story")?.to_owned(),
        signature,
        plan,
    })
}
