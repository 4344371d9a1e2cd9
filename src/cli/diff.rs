//! `highwater diff`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::console::Console;
use super::dump::{marks, shown};
use super::snapshot::{CoreState, Marks, Snapshot};
use super::{Database, Exit, Outcome};
use crate::env::{Blocking, StdEnv};

/// Compare two epochs: by key group, and the first keys that differ.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    database: Database,
    /// The earlier epoch.
    from: u64,
    /// The later epoch.
    to: u64,
    /// How many keys to list.
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    keys: usize,
    /// Keys in hexadecimal digits.
    #[arg(long)]
    hex: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// What became of keys.
#[derive(Clone, Copy, Default)]
struct Counts {
    added: u64,
    removed: u64,
    changed: u64,
}

struct Difference {
    groups: BTreeMap<u16, Counts>,
    keys: Vec<(u16, u16, &'static str, String)>,
    same: u64,
    /// Of each core whose marks differ: before and after.
    marks: Vec<(Value, Value)>,
}

pub(super) fn run(args: &Args, console: &mut Console) -> Outcome {
    let bar = console.bar("reading");
    let found = StdEnv.block_on(compare(args, &bar));
    bar.finish_and_clear();
    let found = found?;
    let Difference { groups, keys, same, marks } = found;
    if args.json {
        let group = |(group, counts): (&u16, &Counts)| {
            let Counts { added, removed, changed } = *counts;
            json!({ "key_group": group, "added": added, "removed": removed, "changed": changed })
        };
        let key = |(core, group, what, key): &(u16, u16, &str, String)| json!({ "core": core, "key_group": group, "what": what, "key": key });
        console.json(&json!({
            "from": args.from,
            "to": args.to,
            "same": same,
            "groups": groups.iter().map(group).collect::<Vec<_>>(),
            "keys": keys.iter().map(key).collect::<Vec<_>>(),
            "marks": marks.iter().map(|(from, to)| json!({ "from": from, "to": to })).collect::<Vec<_>>(),
        }))?;
        return Ok(Exit::Fine);
    }
    let total = groups.values().fold(Counts::default(), |sum, counts| Counts {
        added: sum.added + counts.added,
        removed: sum.removed + counts.removed,
        changed: sum.changed + counts.changed,
    });
    let Counts { added, removed, changed } = total;
    console.line(format!(
        "epoch {} to {}: {added} keys added, {removed} removed, {changed} changed, {same} the same",
        args.from, args.to
    ))?;
    for (from, to) in &marks {
        console.line(format!(
            "core {}: offsets {} to {}, watermark {} to {}",
            from["core"], from["offsets"], to["offsets"], from["watermark"], to["watermark"]
        ))?;
    }
    let rows: Vec<Vec<String>> = groups
        .iter()
        .map(|(group, counts)| [u64::from(*group), counts.added, counts.removed, counts.changed])
        .map(|row| row.iter().map(ToString::to_string).collect())
        .collect();
    console.table(&["key group", "added", "removed", "changed"], &rows)?;
    for (core, group, what, key) in keys {
        console.line(format!("core {core}, key group {group}: {what} {key}"))?;
    }
    Ok(Exit::Fine)
}

async fn compare(args: &Args, bar: &ProgressBar) -> Outcome<Difference> {
    let snapshot = Snapshot::shown(&args.database.path, bar).await?;
    let (from, to) = (snapshot.epoch(Some(args.from)).await?, snapshot.epoch(Some(args.to)).await?);
    let mut found = Difference { groups: BTreeMap::new(), keys: Vec::new(), same: 0, marks: Vec::new() };
    let (of_from, of_to) = (snapshot.cores_at(from), snapshot.cores_at(to));
    if of_from == of_to {
        // A key has the core that it had.
        for core in 0..of_from {
            compare_cores(args, &snapshot, (from, core..core + 1), (to, core..core + 1), &mut found).await?;
        }
    } else {
        compare_cores(args, &snapshot, (from, 0..of_from), (to, 0..of_to), &mut found).await?;
    }
    Ok(found)
}

/// Compares what these cores hold at these epochs.
async fn compare_cores(
    args: &Args,
    snapshot: &Snapshot,
    from: (u64, Range<u16>),
    to: (u64, Range<u16>),
    found: &mut Difference,
) -> Outcome<()> {
    let (mut before, mut after) = (Side::of(snapshot, from).await?, Side::of(snapshot, to).await?);
    for core in before.cores().chain(after.cores()).collect::<BTreeSet<u16>>() {
        let (of_before, of_after) = (before.marks(core), after.marks(core));
        if of_before != of_after {
            found.marks.push((marks(core, &of_before), marks(core, &of_after)));
        }
    }
    let (mut a, mut b) = (before.next().await?, after.next().await?);
    loop {
        let (what, core, key) = match (&a, &b) {
            (None, None) => return Ok(()),
            (Some((_, key, old)), Some((core, other, new))) if key == other => {
                (if old == new { None } else { Some("changed") }, *core, key.clone())
            }
            (Some((core, key, _)), Some((_, other, _))) if key < other => {
                (Some("removed"), *core, key.clone())
            }
            (Some((core, key, _)), None) => (Some("removed"), *core, key.clone()),
            (_, Some((core, key, _))) => (Some("added"), *core, key.clone()),
        };
        found.add(args, core, snapshot.ident.group_of(&key), what, &key);
        if a.as_ref().is_some_and(|(_, of_a, _)| *of_a == key) {
            a = before.next().await?;
        }
        if b.as_ref().is_some_and(|(_, of_b, _)| *of_b == key) {
            b = after.next().await?;
        }
    }
}

/// A key, its core in front, its value behind.
type Entry = (u16, Vec<u8>, Vec<u8>);

/// Some cores at the end of an epoch, key after key.
struct Side {
    /// Each with its next entry.
    cores: Vec<(Option<Entry>, u16, CoreState)>,
}

impl Side {
    async fn of(snapshot: &Snapshot, (epoch, range): (u64, Range<u16>)) -> Outcome<Self> {
        let mut cores = Vec::new();
        for core in range {
            let mut state = snapshot.state(core, epoch).await?;
            let first = state.next().await?.map(|(key, value)| (core, key, value));
            cores.push((first, core, state));
        }
        Ok(Self { cores })
    }

    fn cores(&self) -> impl Iterator<Item = u16> {
        self.cores.iter().map(|(_, core, _)| *core)
    }

    fn marks(&self, core: u16) -> Marks {
        let of_core = self.cores.iter().find(|(_, of, _)| *of == core);
        of_core.map_or_else(Marks::default, |(.., state)| state.marks.clone())
    }

    async fn next(&mut self) -> Outcome<Option<Entry>> {
        let with_one = self.cores.iter_mut().filter(|(entry, ..)| entry.is_some());
        let least = with_one.min_by(|(a, ..), (b, ..)| key_of(a.as_ref()).cmp(&key_of(b.as_ref())));
        let Some((entry, core, state)) = least else { return Ok(None) };
        let following = state.next().await?.map(|(key, value)| (*core, key, value));
        Ok(std::mem::replace(entry, following))
    }
}

fn key_of(entry: Option<&Entry>) -> Option<&[u8]> {
    entry.map(|(_, key, _)| key.as_slice())
}

impl Difference {
    fn add(&mut self, args: &Args, core: u16, group: u16, what: Option<&'static str>, key: &[u8]) {
        let Some(what) = what else {
            self.same += 1;
            return;
        };
        let counts = self.groups.entry(group).or_default();
        match what {
            "added" => counts.added += 1,
            "removed" => counts.removed += 1,
            _ => counts.changed += 1,
        }
        if self.keys.len() < args.keys {
            self.keys.push((core, group, what, shown(key, args.hex)));
        }
    }
}
