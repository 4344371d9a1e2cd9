//! The report as a picture: a panel of bars for each table, on logarithmic scales.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::human;
use crate::peer::Result;
use crate::run::{Run, Table};
use crate::stats;
use crate::workload::{self, Better, Column, Group};

const PANEL_WIDTH: i32 = 620;
const LABEL_WIDTH: i32 = 160;
const FIGURE_WIDTH: i32 = 60;
const ROW_HEIGHT: i32 = 18;
const TITLE_HEIGHT: i32 = 46;
const COLUMNS: usize = 2;

// The library draws letters a fifth smaller than it is told.
const TITLE_SIZE: i32 = 18;
const TEXT_SIZE: i32 = 14;

const INK: RGBColor = RGBColor(40, 40, 48);
const GRID: RGBColor = RGBColor(226, 226, 232);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn colour(group: Group) -> RGBColor {
    match group {
        Group::Highwater => RGBColor(0, 114, 178),
        Group::Baseline => RGBColor(120, 120, 130),
        Group::Raw => RGBColor(180, 180, 188),
        Group::Peer => RGBColor(230, 159, 0),
        Group::Reference => RGBColor(246, 216, 150),
    }
}

/// One bar.
struct Bar {
    label: String,
    group: Group,
    figure: f64,
}

/// Writes the picture of `run` to `path`.
pub(crate) fn write(run: &Run, path: &Path) -> Result<()> {
    let panels: Vec<(&Table, Vec<Bar>)> =
        run.tables.iter().map(|table| (table, bars(table))).filter(|(_, bars)| !bars.is_empty()).collect();
    let heights: Vec<i32> = panels
        .chunks(COLUMNS)
        .map(|row| row.iter().map(|(_, bars)| height(bars.len())).max().unwrap_or_default())
        .collect();
    let size = ((PANEL_WIDTH * COLUMNS as i32) as u32, (heights.iter().sum::<i32>() + ROW_HEIGHT) as u32);
    let root = SVGBackend::new(path, size).into_drawing_area();
    root.fill(&WHITE)?;
    let mut top = 0;
    for (row, height) in panels.chunks(COLUMNS).zip(&heights) {
        for (at, (table, bars)) in row.iter().enumerate() {
            panel(&root, (at as i32 * PANEL_WIDTH, top), table, bars)?;
        }
        top += height;
    }
    legend(&root, top)?;
    root.present()?;
    Ok(())
}

fn height(bars: usize) -> i32 {
    TITLE_HEIGHT + bars as i32 * ROW_HEIGHT + ROW_HEIGHT
}

fn rated(table: &Table) -> Option<Column> {
    workload::of(&table.workload).map(|workload| workload.rated())
}

/// The medians of the rated column, the best first.
fn bars(table: &Table) -> Vec<Bar> {
    let Some(column) = rated(table) else { return Vec::new() };
    let bar = |row: &crate::run::RowFigures| {
        let figure = stats::median(&row.figures(column.name)).filter(|figure| *figure > 0.0)?;
        Some(Bar { label: row.row.name.clone(), group: row.row.group, figure })
    };
    let mut bars: Vec<Bar> = table.rows.iter().filter_map(bar).collect();
    bars.sort_by(|one, other| match column.better {
        Better::Lower => one.figure.total_cmp(&other.figure),
        Better::Higher => other.figure.total_cmp(&one.figure),
    });
    bars
}

fn style(size: i32, colour: RGBColor, across: HPos) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&colour).pos(Pos::new(across, VPos::Center))
}

fn panel(root: &Area<'_>, (left, top): (i32, i32), table: &Table, bars: &[Bar]) -> Result<()> {
    let Some(workload) = workload::of(&table.workload) else { return Ok(()) };
    let column = workload.rated();
    let better = if column.better == Better::Lower { "lower" } else { "higher" };
    let title = format!("{}: {}", workload.id, workload.title);
    root.draw(&Text::new(title, (left + 12, top + 16), style(TITLE_SIZE, INK, HPos::Left)))?;
    let said = format!("{}, {better} is better", column.name);
    root.draw(&Text::new(said, (left + 12, top + 34), style(TEXT_SIZE, INK, HPos::Left)))?;

    let least = bars.iter().map(|bar| bar.figure).fold(f64::INFINITY, f64::min);
    let greatest = bars.iter().map(|bar| bar.figure).fold(0.0, f64::max);
    // The shortest bar is to be seen, too.
    let (from, to) = ((least / 2.0).log10(), greatest.log10().max((least * 2.0).log10()));
    let room = f64::from(PANEL_WIDTH - LABEL_WIDTH - FIGURE_WIDTH - 24);
    let start = left + LABEL_WIDTH;
    let across = |figure: f64| start + ((figure.log10() - from) / (to - from) * room) as i32;

    let (first, last) = (top + TITLE_HEIGHT, top + TITLE_HEIGHT + bars.len() as i32 * ROW_HEIGHT);
    for decade in from.ceil() as i32..=to.floor() as i32 {
        let x = across(10_f64.powi(decade));
        root.draw(&PathElement::new(vec![(x, first), (x, last)], GRID))?;
    }
    for (at, bar) in bars.iter().enumerate() {
        let middle = first + at as i32 * ROW_HEIGHT + ROW_HEIGHT / 2;
        let end = across(bar.figure);
        root.draw(&Text::new(bar.label.clone(), (start - 6, middle), style(TEXT_SIZE, INK, HPos::Right)))?;
        let shape = [(start, middle - 6), (end, middle + 6)];
        root.draw(&Rectangle::new(shape, colour(bar.group).filled()))?;
        root.draw(&Text::new(human(bar.figure), (end + 4, middle), style(TEXT_SIZE, INK, HPos::Left)))?;
    }
    Ok(())
}

fn legend(root: &Area<'_>, top: i32) -> Result<()> {
    let entries = [
        (Group::Highwater, "highwater"),
        (Group::Baseline, "baseline"),
        (Group::Raw, "raw, for information"),
        (Group::Peer, "peer"),
        (Group::Reference, "does not do the same work"),
    ];
    for (at, (group, said)) in entries.into_iter().enumerate() {
        let left = 12 + at as i32 * 170;
        root.draw(&Rectangle::new([(left, top + 2), (left + 12, top + 14)], colour(group).filled()))?;
        root.draw(&Text::new(said, (left + 18, top + 8), style(TEXT_SIZE, INK, HPos::Left)))?;
    }
    Ok(())
}
