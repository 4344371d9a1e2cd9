//! `highwater inspect`.

use serde_json::{Value, json};

use super::console::Console;
use super::snapshot::Snapshot;
use super::{Database, Exit, Outcome};
use crate::env::{Blocking, StdEnv};
use crate::verify::decode::manifest::{Checkpoint, Kept, Life, SinkEntry};
use crate::verify::decode::segment::FRAMES;
use crate::verify::log::{Log, segment_path};
use crate::verify::source::Sequential;

/// Show what a database consists of: identity, newest manifest, retained epochs, files, segments, frames.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    database: Database,
    /// Also list every frame of the logs, or of one segment with --segment.
    #[arg(long)]
    frames: bool,
    /// Only this core's logs.
    #[arg(long)]
    core: Option<u16>,
    /// Only this segment's frames.
    #[arg(long, requires = "frames")]
    segment: Option<u64>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, console: &mut Console) -> Outcome {
    let found = StdEnv.block_on(inspect(args))?;
    if args.json {
        console.json(&found)?;
    } else {
        show(&found, console)?;
    }
    Ok(Exit::Fine)
}

async fn inspect(args: &Args) -> Outcome<Value> {
    let snapshot = Snapshot::open(&args.database.path).await?;
    let Snapshot { ident, manifest, number, .. } = &snapshot;
    let (mut segments, mut frames) = (Vec::new(), Vec::new());
    for core in (0..snapshot.cores()).filter(|core| args.core.is_none_or(|wanted| wanted == *core)) {
        let log = snapshot.log(core).await?;
        segments.extend(segments_of(core, &log));
        if args.frames {
            frames.extend(frames_of(&snapshot, (core, &log), args.segment).await?);
        }
    }
    let author = ["create", "open", "checkpoint", "retire", "restore", "rescale", "pin"];
    let hex = |number: u128| format!("{number:032x}");
    Ok(json!({
        "database": hex(ident.database),
        "timeline": hex(ident.timeline),
        "created_ms": ident.created_ms,
        "write_unit_bytes": ident.unit,
        "key_groups": ident.key_groups,
        "route": format!("{:?}", ident.route),
        "cores": manifest.cores,
        "manifest": number,
        "previous_manifest": manifest.previous.map(|(number, _)| number),
        "manifests": snapshot.directory.numbers("m").await?,
        "author": author.get(usize::from(manifest.author)).copied().unwrap_or("unknown"),
        "token": manifest.token,
        "recovered_epoch": manifest.recovered_epoch,
        "log_floors": manifest.floors,
        "lives": manifest.lives.iter().map(life).collect::<Vec<_>>(),
        "decided": manifest.decided.as_ref().map(decided),
        "kept": manifest.kept.iter().map(kept).collect::<Vec<_>>(),
        "checkpoints": manifest.checkpoints.iter().map(checkpoint).collect::<Vec<_>>(),
        "segments": segments,
        "frames": frames,
    }))
}

fn life(life: &Life) -> Value {
    let cores = life.cores.iter().map(|core| {
        json!({
            "first_segment": core.first_segment,
            "first_lsn": core.first_lsn,
            "carried_through": core.carried_through,
            "ceiling": core.ceiling,
        })
    });
    let cores: Vec<Value> = cores.collect();
    json!({ "token": life.token, "recovered_epoch": life.recovered_epoch, "cores": cores })
}

fn checkpoint(checkpoint: &Checkpoint) -> Value {
    let files = checkpoint.files.iter().map(|file| {
        json!({
            "path": file.path(),
            "kind": if file.is_base { "base" } else { "delta" },
            "core": file.core,
            "from_epoch": file.from_epoch,
            "through_epoch": file.through_epoch,
            "bytes": file.bytes,
            "puts": file.puts,
            "deletes": file.deletes,
        })
    });
    let cuts = checkpoint.cuts.iter();
    let cuts = cuts.map(|cut| json!({ "token": cut.token, "segment": cut.segment, "lsn": cut.lsn }));
    let (files, cuts): (Vec<Value>, Vec<Value>) = (files.collect(), cuts.collect());
    json!({
        "epoch": checkpoint.epoch,
        "token": checkpoint.token,
        "files": files,
        "cuts": cuts,
        "watermarks": checkpoint.watermarks,
        "sinks": checkpoint.sinks.iter().map(sink).collect::<Vec<_>>(),
    })
}

/// What is decided without a checkpoint that says so.
fn decided((epoch, sinks): &(u64, Vec<SinkEntry>)) -> Value {
    json!({ "epoch": epoch, "sinks": sinks.iter().map(sink).collect::<Vec<_>>() })
}

/// A kept epoch, as a checkpoint.
fn kept(kept: &Kept) -> Value {
    let mut shown = checkpoint(&kept.checkpoint);
    shown["pins"] = json!(kept.pins);
    shown["away"] = json!(kept.away);
    shown
}

/// What was decided with the checkpoint, or before and was not known to be published.
fn sink(entry: &SinkEntry) -> Value {
    let handle = entry.handle.as_ref().map(|handle| handle.escape_ascii().to_string());
    let standing = if entry.lost { "lost" } else { "decided" };
    json!({
        "sink": entry.name,
        "epoch": entry.epoch,
        "core": entry.core,
        "standing": handle.as_ref().map(|_| standing),
        "handle": handle,
    })
}

fn segments_of(core: u16, log: &Log) -> Vec<Value> {
    let state = |number: u64, started: bool| {
        if log.route.legs.iter().any(|leg| leg.segment == number) {
            "counts"
        } else if started {
            "left over"
        } else {
            "prepared"
        }
    };
    let fronts = log.fronts.iter();
    let rows = fronts.map(|(number, front)| {
        json!({
            "core": core,
            "segment": number,
            "token": front.header.token,
            "bytes": front.header.bytes,
            "follows": front.start.map(|start| start.predecessor).filter(|before| *before > 0),
            "state": state(*number, front.start.is_some()),
        })
    });
    rows.collect()
}

/// The frames of a core's segments that count, as far as they can be followed.
async fn frames_of(
    snapshot: &Snapshot,
    (core, log): (u16, &Log),
    segment: Option<u64>,
) -> Outcome<Vec<Value>> {
    let mut rows = Vec::new();
    let legs = log.route.legs.iter().filter(|leg| segment.is_none_or(|wanted| wanted == leg.segment));
    for leg in legs {
        let Some(front) = log.fronts.get(&leg.segment) else { continue };
        let source = snapshot.directory.open(segment_path(core, leg.segment)).await?;
        let mut file = Sequential::from(source, FRAMES);
        while file.at() + 64 <= front.header.bytes {
            let at = file.at();
            let Some(frame) = front.header.frame(at, file.peek(64).await?) else { break };
            file.take(64).await?;
            let payload = file.take(frame.payload_bytes).await?;
            let kind = ["?", "start", "records", "seal", "close"];
            rows.push(json!({
                "core": core,
                "segment": leg.segment,
                "offset": at,
                "kind": kind.get(usize::from(frame.kind)).copied().unwrap_or("?"),
                "bytes": frame.payload_bytes + 64,
                "first_lsn": frame.first_lsn,
                "records": frame.records,
                "durable_through": frame.durable_through,
                "closed_through": frame.closed_through,
                "sound": front.header.holds(&frame, &payload),
            }));
            file.skip_to(frame.after(front.header.unit).min(front.header.bytes)).await?;
        }
    }
    Ok(rows)
}

fn show(found: &Value, console: &mut Console) -> Outcome<()> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        value => value.to_string(),
    };
    let names = ["database", "timeline", "created_ms", "write_unit_bytes", "key_groups", "route", "cores"];
    for name in names.iter().chain(&["manifest", "author", "token", "recovered_epoch", "log_floors"]) {
        console.line(format!("{name:<18}{}", text(&found[*name])))?;
    }
    let rows = |list: &Value, columns: &[&str]| -> Vec<Vec<String>> {
        let rows = list.as_array().into_iter().flatten();
        rows.map(|row| columns.iter().map(|column| text(&row[*column])).collect()).collect()
    };
    console.line("")?;
    let (kept, retained) = (found["kept"].as_array(), found["checkpoints"].as_array());
    for checkpoint in kept.into_iter().flatten().chain(retained.into_iter().flatten()) {
        let files = &checkpoint["files"];
        let count = files.as_array().map_or(0, Vec::len);
        let bytes = files.as_array().into_iter().flatten().filter_map(|file| file["bytes"].as_u64());
        // A forged manifest may state any length.
        let bytes = bytes.fold(0, u64::saturating_add);
        console.line(format!(
            "{} epoch {}, token {}: {count} files, {bytes} bytes{}",
            if checkpoint["pins"].is_null() { "retained" } else { "kept" },
            checkpoint["epoch"],
            checkpoint["token"],
            if checkpoint["away"] == true { ", in the object store" } else { "" },
        ))?;
        for pin in checkpoint["pins"].as_array().into_iter().flatten() {
            console.line(format!("pin {pin}"))?;
        }
        let columns = ["core", "kind", "from_epoch", "through_epoch", "puts", "deletes", "bytes", "path"];
        console.table(&columns, &rows(files, &columns))?;
        if checkpoint["sinks"].as_array().is_some_and(|sinks| !sinks.is_empty()) {
            console.line("")?;
            let columns = ["sink", "epoch", "core", "standing", "handle"];
            console.table(&columns, &rows(&checkpoint["sinks"], &columns))?;
        }
        console.line("")?;
    }
    let columns = ["core", "segment", "token", "bytes", "follows", "state"];
    console.table(&columns, &rows(&found["segments"], &columns))?;
    let columns = [
        "core",
        "segment",
        "offset",
        "kind",
        "bytes",
        "first_lsn",
        "records",
        "durable_through",
        "closed_through",
        "sound",
    ];
    console.table(&columns, &rows(&found["frames"], &columns))
}
