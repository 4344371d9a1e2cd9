//! A run as one HTML file: what is told in words is in the document itself, the timeline is drawn by `page.js` from
//! the data of [`Lanes`].

use highwater::sim::{FileFate, SectorFate};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::doc::{Doc, Life, Open, Returned, Trail};
use super::lanes::Lanes;
use super::promise::Broken;
use super::record::{Crash, Told};
use super::sectors::{self, FATES};
use super::text::time;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Files that are drawn beside the broken promise.
const FATAL_FILES_MAX: usize = 6;
/// Files that are drawn of one crash, and events that are told of one life.
const FILES_MAX: usize = 60;
const SAID_MAX: usize = 200;

/// See the module.
pub(crate) fn page(doc: &Doc, lanes: &Lanes) -> String {
    let title = format!("{:#x}: {}", doc.seed, verdict(doc));
    // No end tag can hide in it.
    let data = serde_json::to_string(lanes).unwrap_or_else(|error| panic!("the lanes as JSON: {error}"));
    let data = data.replace('<', "\\u003c");
    let crashes: usize = doc.lives.iter().map(|life| life.crashes.len()).sum();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "Seed " code { (format!("{:#x}", doc.seed)) } }
                    p.facts {
                        span { (doc.profile) ", " (doc.scheduler) " scheduler" }
                        span { (doc.lives.len()) " lives" }
                        span { (crashes) " crashes" }
                        span { (doc.faults.len()) " faults" }
                        span { (time(doc.end_ns)) " of virtual time" }
                        span { "digest " code { (format!("{:032x}", doc.digest)) } ", " (doc.events) " events" }
                    }
                }
                @match &doc.broken {
                    Some(broken) => (promise(doc, broken)),
                    None => section.kept { h2 { "Every promise was kept" } },
                }
                (timeline())
                h2 { "Life after life" }
                @for life in &doc.lives { (one_life(doc, life)) }
                h2 { "What the seed decided" }
                pre { (doc.plan) "\n" (doc.tally) }
                h2 { "The last events of the trace" }
                pre { @for line in &doc.last_lines { (line) "\n" } }
                script type="application/json" id="data" { (PreEscaped(data)) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

fn verdict(doc: &Doc) -> String {
    match &doc.broken {
        Some(broken) => format!("broken: {}", broken.invariant.unwrap_or("an assertion")),
        None => "every promise kept".to_owned(),
    }
}

fn promise(doc: &Doc, broken: &Broken) -> Markup {
    html! {
        section.broken {
            h2 {
                span.badge { (broken.invariant.unwrap_or("!")) }
                "First broken promise: " (broken.promise)
            }
            p.message { (broken.message) }
            p.facts {
                @for (what, value) in &broken.about { span.chip { (what) " " b { (value) } } }
                span { "at " (time(broken.at_ns)) ", " (broken.step) }
                button type="button" data-zoom=(broken.at_ns) { "show on the timeline" }
            }
            div.columns {
                @if !broken.location.is_empty() {
                    div {
                        h3 { "Where it was noticed" }
                        p { code { (broken.location) } }
                        ol.frames { @for frame in &broken.frames { li { code { (frame) } } } }
                    }
                }
                @if !doc.trails.is_empty() {
                    div {
                        h3 { "How the epochs that it names came about" }
                        @for trail in &doc.trails { (one_trail(trail)) }
                    }
                }
                @if let Some((life, crash)) = doc.fatal_crash() {
                    div.wide {
                        h3 { "The crash before it" }
                        p {
                            a href=(format!("#crash-{}", life.number)) {
                                (what(crash)) " at the end of life " (life.number)
                            }
                        }
                        (summary(crash))
                        table.files { @for file in doc.fatal_files().take(FATAL_FILES_MAX) { (one_file(file, true)) } }
                    }
                }
            }
        }
    }
}

fn one_trail(trail: &Trail) -> Markup {
    html! {
        table.trail {
            caption {
                "epoch " b { (trail.epoch) } ": "
                @match trail.acknowledged_ns {
                    Some(ns) => { "acknowledged at " (time(ns)) }
                    None => "never acknowledged",
                }
            }
            tr { th { "core" } th { "LSN" } th { "ended" } th { "durable" } }
            @for (core, ended) in trail.cores.iter().enumerate() {
                tr {
                    td { (core) }
                    @match ended {
                        Some((ended_ns, lsn, durable_ns)) => {
                            td { (lsn) }
                            td { (time(*ended_ns)) }
                            td { (durable_ns.map_or_else(|| "never".to_owned(), time)) }
                        }
                        None => td colspan="3" { "not ended" },
                    }
                }
            }
        }
    }
}

fn what(crash: &Crash) -> &'static str {
    if crash.aftermath.power { "power loss" } else { "process crash" }
}

fn one_file(file: &FileFate, power: bool) -> Markup {
    html! {
        tr {
            td {
                code { (file.path.display()) }
                @if file.path.as_os_str().is_empty() { "file " (file.number) ", without a name" }
                @if file.path_after.is_none() { " " span.badge { "unreachable" } }
                br;
                small {
                    (file.len_before) " bytes"
                    @if file.len_durable != file.len_before { ", " (file.len_durable) " durable" }
                    @if power && file.len_after != file.len_before { ", now " (file.len_after) }
                }
            }
            td {
                (PreEscaped(sectors::picture(file)))
                p.facts { @for (fate, count) in sectors::counts(file) { (fate_chip(fate, count)) } }
            }
        }
    }
}

/// What a crash left, in numbers.
fn summary(crash: &Crash) -> Markup {
    let mut total = std::collections::BTreeMap::new();
    for (fate, count) in crash.aftermath.files.iter().flat_map(sectors::counts) {
        *total.entry(fate).or_insert(0) += count;
    }
    let undone = crash.aftermath.names.iter().filter(|name| !name.kept).count();
    html! {
        p.facts {
            @for (fate, count) in total { (fate_chip(fate, count)) }
            @if undone > 0 { span.chip { (undone) " changes of names undone" } }
            @if !crash.in_flight.is_empty() { span.chip { (crash.in_flight.len()) " calls in flight" } }
        }
    }
}

fn fate_chip(fate: SectorFate, count: u64) -> Markup {
    let (_, colour, meaning) = sectors::describe(fate);
    html! { span.chip title=(meaning) { i class=(format!("swatch f-{colour}")) {} (count) " " (colour) } }
}

/// The place of the timeline; the script fills it.
fn timeline() -> Markup {
    html! {
        h2 { "Timeline" }
        div.tools {
            button type="button" id="in" title="zoom in (+)" { "+" }
            button type="button" id="out" title="zoom out (-)" { "−" }
            button type="button" id="all" title="the whole run (0)" { "all" }
            label { input type="checkbox" id="true-time"; " true time (else pauses are short)" }
            span.legend id="legend" {}
            span.hint { "wheel zooms · drag moves · click pins the list" }
        }
        div.filters id="filters" {}
        div id="timeline" {}
        div id="tip" hidden {}
        details open {
            summary id="list-title" { "Events in view" }
            div id="list" {}
        }
        noscript { p { "The timeline needs the page's own script. Everything below does not." } }
    }
}

fn one_life(doc: &Doc, life: &Life) -> Markup {
    let fatal = doc.fatal_crash().is_some_and(|(of, _)| of.number == life.number);
    let last = doc.broken.is_some() && doc.lives.last().is_some_and(|last| last.number == life.number);
    let faults = doc.faults.iter().filter(|fault| (life.from_ns..=life.to_ns).contains(&fault.at.0)).count();
    html! {
        details.life open[fatal || last] id=(format!("life-{}", life.number)) {
            summary {
                b { "Life " (life.number) }
                span { (time(life.from_ns)) " – " (time(life.to_ns)) }
                span.result { (result(life)) }
                span { (faults) " faults" }
                span.over { (life.over.as_deref().unwrap_or("ended with the run")) }
                @for (_, crash) in &life.crashes { span.badge { (what(crash)) } }
            }
            p.plan { (life.plan) }
            @for open in &life.opens { (one_open(doc, open)) }
            (said("What the engine said afterwards", &life.said))
            @for (at_ns, crash) in &life.crashes { (one_crash(life, *at_ns, crash, fatal)) }
        }
    }
}

fn result(life: &Life) -> String {
    match life.opens.first().map(|open| &open.result) {
        Some(Some(Returned::Opened(opened))) => opened.short.clone(),
        Some(Some(Returned::Refused(_))) => "open refused".to_owned(),
        Some(None) | None => "crashed while it opened".to_owned(),
    }
}

fn one_open(doc: &Doc, open: &Open) -> Markup {
    let decisions: Vec<&Told> = Life::decisions(open).collect();
    html! {
        div.open {
            h3 { "Open, " (time(open.at_ns)) }
            @match &open.result {
                Some(Returned::Opened(opened)) => p {
                    (opened.report) "."
                    @if let Some((floor, ceiling)) = opened.allowed {
                        " Allowed were epochs " b { (floor) } " to " b { (ceiling) } "."
                    }
                },
                Some(Returned::Refused(error)) => p.message { (error) },
                None => p { "It did not return." },
            }
            @if decisions.iter().any(|told| told.number("end").unwrap_or(0) > 0) {
                table.decisions {
                    tr {
                        th { "core" } th { "kept in place, carried, discarded (LSN)" } th { "before the life" }
                        th { "proven" } th { "keep" } th { "cut" } th { "end" }
                    }
                    @for told in &decisions { (decision(told)) }
                }
            }
            (said("What it read and decided", &open.said))
            @if doc.broken.is_none() && open.said.is_empty() { p { "Nothing to decide." } }
        }
    }
}

/// One core's decision, as a bar: kept in place, carried, discarded.
fn decision(told: &Told) -> Markup {
    let number = |name| told.number(name).unwrap_or(0);
    let (base, keep, cut, end) = (number("carried_before"), number("keep"), number("cut"), number("end"));
    let span = (end - base.min(end)).max(1);
    let x = |lsn: u64| (lsn.clamp(base, end.max(base)) - base) * 400 / span;
    let bars = [("kept", base, keep), ("carried", keep, cut), ("discarded", cut, end)];
    html! {
        tr {
            td { (number("core")) }
            td {
                svg.decision width="400" height="14" {
                    rect.ground x="0" y="4" width="400" height="6" {}
                    @for (class, from, to) in bars {
                        @if to > from {
                            rect class=(class) x=(x(from)) y="1" width=((x(to) - x(from)).max(2)) height="12" {
                                title { (class) ": LSN " (from + 1) " to " (to) }
                            }
                        }
                    }
                }
            }
            @for name in ["carried_before", "proven", "keep", "cut", "end"] { td.number { (number(name)) } }
        }
    }
}

fn said(title: &str, said: &[(u64, Told)]) -> Markup {
    html! {
        @if !said.is_empty() {
            details.said {
                summary { (title) ": " (said.len()) " events" }
                table {
                    @for (at_ns, told) in said.iter().take(SAID_MAX) {
                        tr {
                            td.number { (time(*at_ns)) }
                            td { (told.target) ": " b { (told.message) } }
                            td { @for (name, value) in &told.fields { span.field { (name) "=" (value) } " " } }
                        }
                    }
                }
                @if said.len() > SAID_MAX { p { "and " (said.len() - SAID_MAX) " more" } }
            }
        }
    }
}

fn one_crash(life: &Life, at_ns: u64, crash: &Crash, open: bool) -> Markup {
    let after = &crash.aftermath;
    html! {
        details.crash open[open] id=(format!("crash-{}", life.number)) {
            summary { b { "The " (what(crash)) ", " (time(at_ns)) } (summary(crash)) }
            p.legend {
                @for (_, _, colour, meaning) in FATES {
                    span { i class=(format!("swatch f-{colour}")) {} b { (colour) } " " (meaning) }
                }
            }
            @if !crash.in_flight.is_empty() {
                h4 { "Calls in flight" }
                ul { @for call in &crash.in_flight {
                    li {
                        code { (call.operation) " " (call.path) } " bytes " (call.bytes.start) " to " (call.bytes.end)
                        ", since " (time(call.from.0))
                    }
                } }
            }
            @if !after.names.is_empty() || !after.vanished.is_empty() || !after.came_back.is_empty() {
                h4 { "Names" }
                ul.names {
                    @for fate in &after.names { li.undone[!fate.kept] { (sectors::name(fate)) } }
                    @for path in &after.vanished { li.undone { (path.display()) " vanished" } }
                    @for path in &after.came_back { li.undone { (path.display()) " came back" } }
                }
            }
            @if !after.files.is_empty() {
                h4 { "Files, sector by sector" }
                table.files { @for file in after.files.iter().take(FILES_MAX) { (one_file(file, after.power)) } }
                @if after.files.len() > FILES_MAX { p { "and " (after.files.len() - FILES_MAX) " more files" } }
            }
            @if after.files.is_empty() && after.names.is_empty() { p { "Everything was durable." } }
        }
    }
}
