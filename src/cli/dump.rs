//! `highwater dump`.

use std::fmt::Write as _;

use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::console::Console;
use super::snapshot::{Marks, Snapshot};
use super::{Database, Exit, Outcome};
use crate::env::{Blocking, StdEnv};
use crate::verify::decode::record::Offset;

/// Print keys and values of an epoch.
///
/// The state is merged from its files; what the log has behind them is held in memory. Keys come core by core, in order.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    database: Database,
    /// The epoch: any that is kept, or that a retained checkpoint and the log lead to [default: the newest closed one].
    #[arg(long)]
    epoch: Option<u64>,
    /// Only this core.
    #[arg(long)]
    core: Option<u16>,
    /// Only keys that begin with this.
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,
    /// Keys and values in hexadecimal digits; otherwise as text, with escapes.
    #[arg(long)]
    hex: bool,
    /// One JSON object a line: first the epoch with offsets and watermarks, then the keys.
    #[arg(long)]
    json: bool,
    /// Stop after so many keys.
    #[arg(long, value_name = "KEYS")]
    limit: Option<u64>,
}

pub(super) fn run(args: &Args, console: &mut Console) -> Outcome {
    let bar = console.bar_beside_results("reading");
    let dumped = StdEnv.block_on(dump(args, console, &bar));
    bar.finish_and_clear();
    dumped
}

/// Bytes for people and JSON.
pub(super) fn shown(bytes: &[u8], hex: bool) -> String {
    if hex {
        return bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if text.chars().all(|c| !c.is_control() && c != '\\') => text.to_owned(),
        _ => bytes.escape_ascii().to_string(),
    }
}

fn offset(offset: &Offset) -> Value {
    match offset {
        Offset::Number(number) => json!(number),
        Offset::Opaque(bytes) => json!(shown(bytes, true)),
    }
}

/// What a core's marks say, as JSON.
pub(super) fn marks(core: u16, marks: &Marks) -> Value {
    let offsets = marks.offsets.iter().map(|(name, at)| (name.clone(), offset(at))).collect();
    json!({ "core": core, "watermark": marks.watermark, "offsets": Value::Object(offsets) })
}

async fn dump(args: &Args, console: &mut Console, bar: &ProgressBar) -> Outcome {
    let snapshot = Snapshot::shown(&args.database.path, bar).await?;
    let epoch = snapshot.epoch(args.epoch).await?;
    let mut left = args.limit.unwrap_or(u64::MAX);
    if args.json {
        console.json_line(&json!({ "epoch": epoch, "manifest": snapshot.number }))?;
    } else {
        console.line(format!("# epoch {epoch}"))?;
    }
    let cores = 0..snapshot.cores_at(epoch);
    for core in cores.filter(|core| args.core.is_none_or(|wanted| wanted == *core)) {
        if console.is_closed() {
            break;
        }
        let mut state = snapshot.state(core, epoch).await?;
        let of_core = marks(core, &state.marks);
        if args.json {
            console.json_line(&of_core)?;
        } else {
            console.line(format!(
                "# core {core}: offsets {}, watermark {}",
                of_core["offsets"], of_core["watermark"]
            ))?;
        }
        while left > 0 && !console.is_closed() {
            let Some((key, value)) = state.next().await? else { break };
            if !key.starts_with(args.prefix.as_bytes()) {
                continue;
            }
            left -= 1;
            let (key, value) = (shown(&key, args.hex), shown(&value, args.hex));
            if args.json {
                console.json_line(&json!({ "core": core, "key": key, "value": value }))?;
            } else {
                console.line(format!("{key}\t{value}"))?;
            }
        }
    }
    Ok(Exit::Fine)
}
