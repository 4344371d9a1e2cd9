//! `highwater log`.

use serde_json::{Value, json};

use super::console::Console;
use super::dump::shown;
use super::{Database, Exit, Outcome};
use crate::env::{Blocking, StdEnv};
use crate::logs_in;
use crate::vfs::StdVfs;
use crate::wal::{MergedRecord, WalRecord, merged};

const READ_AHEAD_BYTES: usize = 1 << 20;

/// Print the changes in the logs, in the order of epochs.
///
/// They begin behind the oldest retained checkpoint; what has no end of its epoch behind it is of the open one, which a recovery
/// gives up. All logs are read once before the first line.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    database: Database,
    /// From this epoch on.
    #[arg(long, value_name = "EPOCH", default_value_t = 0, hide_default_value = true)]
    from: u64,
    /// Up to the end of this epoch.
    #[arg(long, value_name = "EPOCH")]
    through: Option<u64>,
    /// Only this core.
    #[arg(long)]
    core: Option<u16>,
    /// Only changes of keys that begin with this.
    #[arg(long)]
    prefix: Option<String>,
    /// Keys and values in hexadecimal digits; otherwise as text, with escapes.
    #[arg(long)]
    hex: bool,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    /// Stop after so many.
    #[arg(long, value_name = "CHANGES")]
    limit: Option<usize>,
}

impl Args {
    fn wants(&self, change: &MergedRecord<'_>) -> bool {
        let epoch = change.epoch.0;
        let of_key =
            |key: &[u8]| self.prefix.as_ref().is_none_or(|prefix| key.starts_with(prefix.as_bytes()));
        self.from <= epoch
            && self.through.is_none_or(|through| epoch <= through)
            && self.core.is_none_or(|core| core == change.core.0)
            && match change.record {
                WalRecord::Put { key, .. } | WalRecord::Delete { key } => of_key(key),
                WalRecord::Clear | WalRecord::EpochEnd { .. } => self.prefix.is_none(),
            }
    }
}

pub(super) fn run(args: &Args, console: &mut Console) -> Outcome {
    StdEnv.block_on(log(args, console))
}

async fn log(args: &Args, console: &mut Console) -> Outcome {
    let logs = logs_in(&StdVfs, &args.database.path).await?;
    let mut changes = merged(&StdVfs, logs, READ_AHEAD_BYTES).await?;
    let mut left = args.limit.unwrap_or(usize::MAX);
    while left > 0
        && let Some(change) = changes.next().await?
    {
        if !args.wants(&change) {
            continue;
        }
        left -= 1;
        if args.json {
            console.json_line(&object(&change, args.hex))?;
        } else {
            console.line(line(&change, args.hex))?;
        }
    }
    Ok(Exit::Fine)
}

fn line(change: &MergedRecord<'_>, hex: bool) -> String {
    let what = match change.record {
        WalRecord::Put { key, value } => format!("put\t{}\t{}", shown(key, hex), shown(value, hex)),
        WalRecord::Delete { key } => format!("delete\t{}", shown(key, hex)),
        WalRecord::Clear => "clear".to_owned(),
        WalRecord::EpochEnd { .. } => "end".to_owned(),
    };
    format!("epoch {}\tcore {}\tlsn {}\t{what}", change.epoch, change.core, change.lsn)
}

fn object(change: &MergedRecord<'_>, hex: bool) -> Value {
    let MergedRecord { token, epoch, core, lsn, record } = change;
    let mut object = json!({ "epoch": epoch.0, "core": core.0, "lsn": lsn.0, "token": token.0 });
    match *record {
        WalRecord::Put { key, value } => {
            object["put"] = json!({ "key": shown(key, hex), "value": shown(value, hex) });
        }
        WalRecord::Delete { key } => object["delete"] = json!({ "key": shown(key, hex) }),
        WalRecord::Clear => object["clear"] = json!(true),
        WalRecord::EpochEnd { .. } => object["end"] = json!(true),
    }
    object
}
