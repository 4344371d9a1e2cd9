//! A run for a terminal: the broken promise first, then life after life.

use std::fmt::{self, Write as _};

use highwater::sim::Aftermath;

use super::doc::{Doc, Life, Open, Returned, Trail};
use super::record::Crash;
use super::sectors;

/// What the engine said of one life or open, at most.
const SAID_MAX: usize = 24;
/// Faults that are listed of one life.
const FAULTS_MAX: usize = 12;
/// Files that are listed of one crash.
const FILES_MAX: usize = 24;

/// A time as people read it.
pub(crate) fn time(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{}.{:03} µs", ns / 1_000, ns % 1_000),
        1_000_000..10_000_000_000 => format!("{}.{:03} ms", ns / 1_000_000, ns / 1_000 % 1_000),
        _ => format!("{}.{:03} s", ns / 1_000_000_000, ns / 1_000_000 % 1_000),
    }
}

/// See the module.
pub(crate) fn text(doc: &Doc) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut text, doc);
    text
}

fn write(out: &mut String, doc: &Doc) -> fmt::Result {
    writeln!(
        out,
        "seed {:#x} of {} on the {} scheduler, {} of virtual time",
        doc.seed,
        doc.profile,
        doc.scheduler,
        time(doc.end_ns)
    )?;
    writeln!(out, "digest={:032x} events={}", doc.digest, doc.events)?;
    broken(out, doc)?;
    writeln!(out, "\n{}", doc.plan)?;
    writeln!(out, "{}\nfaults injected: {:?}", doc.tally, doc.fault_counts())?;
    for life in &doc.lives {
        one_life(out, doc, life)?;
    }
    writeln!(out, "\nthe last events:")?;
    doc.last_lines.iter().try_for_each(|line| writeln!(out, "  {line}"))
}

fn broken(out: &mut String, doc: &Doc) -> fmt::Result {
    let Some(broken) = &doc.broken else {
        return writeln!(out, "every promise was kept");
    };
    writeln!(out, "\nBROKEN {}: {}", broken.invariant.unwrap_or("assertion"), broken.promise)?;
    writeln!(out, "  {}", broken.message)?;
    let about: Vec<_> = broken.about.iter().map(|(what, value)| format!("{what} {value}")).collect();
    writeln!(out, "  at {}, {}; {}", time(broken.at_ns), broken.step, about.join(", "))?;
    if !broken.location.is_empty() {
        writeln!(out, "  noticed at {}", broken.location)?;
    }
    for frame in &broken.frames {
        writeln!(out, "    {frame}")?;
    }
    for trail in &doc.trails {
        one_trail(out, trail)?;
    }
    if let Some((life, crash)) = doc.fatal_crash() {
        let lost = crash.aftermath.files.iter().filter(|file| !sectors::counts(file).is_empty()).count();
        let what = if crash.aftermath.power { "power loss" } else { "process crash" };
        writeln!(
            out,
            "  the crash before it: a {what} that ended life {}, {lost} files unsynced",
            life.number
        )?;
    }
    Ok(())
}

fn one_trail(out: &mut String, trail: &Trail) -> fmt::Result {
    let told = trail
        .acknowledged_ns
        .map_or("never acknowledged".to_owned(), |ns| format!("acknowledged at {}", time(ns)));
    writeln!(out, "  epoch {}: {told}", trail.epoch)?;
    for (core, ended) in trail.cores.iter().enumerate() {
        match ended {
            Some((ended_ns, lsn, durable_ns)) => {
                let durable =
                    durable_ns.map_or("never durable".to_owned(), |ns| format!("durable at {}", time(ns)));
                writeln!(out, "    core {core} ended it at {} with LSN {lsn}: {durable}", time(*ended_ns))?;
            }
            None => writeln!(out, "    core {core} has not ended it")?,
        }
    }
    Ok(())
}

fn one_life(out: &mut String, doc: &Doc, life: &Life) -> fmt::Result {
    let (from, to) = (time(life.from_ns), time(life.to_ns));
    writeln!(out, "\n== life {}, {from} to {to}: {}", life.number, life.plan)?;
    for open in &life.opens {
        one_open(out, open)?;
    }
    said(out, &life.said)?;
    let faults = doc.faults.iter().filter(|fault| (life.from_ns..=life.to_ns).contains(&fault.at.0));
    let faults: Vec<_> = faults.collect();
    for fault in faults.iter().take(FAULTS_MAX) {
        let (class, call, path, bytes) = (fault.class, fault.operation, fault.path.display(), &fault.bytes);
        writeln!(out, "  {:>14} fault {class:?} {call} {path} {bytes:?}", time(fault.at.0))?;
    }
    if faults.len() > FAULTS_MAX {
        writeln!(out, "  {:>14} and {} more faults", "", faults.len() - FAULTS_MAX)?;
    }
    if let Some(over) = &life.over {
        writeln!(out, "  {:>14} over: {over}", time(life.to_ns))?;
    }
    life.crashes.iter().try_for_each(|(at_ns, crash)| one_crash(out, *at_ns, crash))
}

fn one_open(out: &mut String, open: &Open) -> fmt::Result {
    said(out, &open.said)?;
    match &open.result {
        Some(Returned::Opened(opened)) => {
            writeln!(out, "  {:>14} {}", time(open.at_ns), opened.report)?;
            opened.allowed.iter().try_for_each(|(floor, ceiling)| {
                writeln!(out, "  {:>14} allowed were epochs {floor} to {ceiling}", "")
            })
        }
        Some(Returned::Refused(error)) => writeln!(out, "  {:>14} open refused: {error}", time(open.at_ns)),
        None => writeln!(out, "  {:>14} the open did not return", ""),
    }
}

fn said(out: &mut String, said: &[(u64, super::record::Told)]) -> fmt::Result {
    for (at_ns, told) in said.iter().take(SAID_MAX) {
        writeln!(out, "  {:>14} {told}", time(*at_ns))?;
    }
    if said.len() > SAID_MAX {
        writeln!(out, "  {:>14} and {} more events", "", said.len() - SAID_MAX)?;
    }
    Ok(())
}

fn one_crash(out: &mut String, at_ns: u64, crash: &Crash) -> fmt::Result {
    let what = if crash.aftermath.power { "POWER LOSS" } else { "PROCESS CRASH" };
    writeln!(out, "  {:>14} {what}", time(at_ns))?;
    for call in &crash.in_flight {
        let (path, bytes) = (&call.path, &call.bytes);
        writeln!(out, "    in flight since {}: {} {path} {bytes:?}", time(call.from.0), call.operation)?;
    }
    names_and_files(out, &crash.aftermath)
}

/// What a crash left, without the crash.
pub(crate) fn image(aftermath: &Aftermath) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = names_and_files(&mut text, aftermath);
    text
}

fn names_and_files(out: &mut String, aftermath: &Aftermath) -> fmt::Result {
    for fate in &aftermath.names {
        writeln!(out, "    name {}", sectors::name(fate))?;
    }
    for file in aftermath.files.iter().take(FILES_MAX) {
        let counts: Vec<_> = sectors::counts(file)
            .into_iter()
            .map(|(fate, count)| format!("{count} {}", sectors::describe(fate).1))
            .collect();
        let gone = if file.path_after.is_none() { ", and no name leads to it" } else { "" };
        let (path, before, after) = (file.path.display(), file.len_before, file.len_after);
        writeln!(out, "    file {path}: {before} -> {after} bytes, {}{gone}", counts.join(", "))?;
        out.push_str(&sectors::letters(file));
    }
    if aftermath.files.len() > FILES_MAX {
        writeln!(out, "    and {} more files", aftermath.files.len() - FILES_MAX)?;
    }
    Ok(())
}
