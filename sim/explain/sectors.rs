//! What a crash left of a file, sector by sector: as a row of letters, and as a picture.

use std::fmt::Write as _;
use std::ops::Range;

use highwater::sim::{FileFate, NameFate, SectorFate};

/// Every fate: its letter, the name of its colour, and what it means.
pub(crate) const FATES: [(SectorFate, char, &str, &str); 10] = [
    (SectorFate::Durable, '.', "durable", "durable before, nothing pending"),
    (SectorFate::New, 'N', "new", "unsynced, and kept"),
    (SectorFate::Between, 'm', "between", "a version between old and new"),
    (SectorFate::Old, 'o', "old", "unsynced, and lost: the old bytes"),
    (SectorFate::Torn, 't', "torn", "the front half new, the rest old"),
    (SectorFate::Garbage, '?', "garbage", "neither old nor new"),
    (SectorFate::Stale, 's', "stale", "bytes of another file, or of nobody"),
    (SectorFate::Ghost, 'g', "ghost", "lost by a failed sync, readable until now"),
    (SectorFate::Cut, 'c', "cut", "behind the new end of the file"),
    (SectorFate::Unsynced, 'u', "unsynced", "in the page cache, still unsynced"),
];

/// Sectors in a row of letters.
const ROW: u64 = 64;
/// Rows of letters that are shown of one file.
const ROWS_MAX: usize = 16;
/// Cells of a picture in a row, and rows at most: a larger file has several sectors in a cell.
const CELLS: u64 = 128;
const CELL_ROWS_MAX: u64 = 8;
/// Width and height of a cell.
const CELL: u64 = 9;

/// The letter, colour and meaning of a fate.
pub(crate) fn describe(fate: SectorFate) -> (char, &'static str, &'static str) {
    let known = FATES.iter().find(|(known, ..)| *known == fate);
    known.map_or(('!', "garbage", "of a kind that is not known here"), |(_, letter, colour, meaning)| {
        (*letter, *colour, *meaning)
    })
}

/// A name's change in words.
pub(crate) fn name(fate: &NameFate) -> String {
    let path = |path: &Option<std::path::PathBuf>| {
        path.as_ref().map_or_else(String::new, |path| path.display().to_string())
    };
    let (from, to) = (path(&fate.from), path(&fate.to));
    match (&fate.from, &fate.to, fate.kept) {
        (Some(_), Some(_), true) => format!("{from} → {to}: renamed"),
        (Some(_), Some(_), false) => format!("{from} → {to}: the rename is undone"),
        (None, _, true) => format!("{to}: made, and there"),
        (None, _, false) => format!("{to}: made, and gone"),
        (Some(_), None, true) => format!("{from}: removed, and gone"),
        (Some(_), None, false) => format!("{from}: removed, and back"),
    }
}

/// How many sectors have each fate, without the durable ones.
pub(crate) fn counts(file: &FileFate) -> Vec<(SectorFate, u64)> {
    FATES
        .iter()
        .filter(|(fate, ..)| *fate != SectorFate::Durable)
        .map(|(fate, ..)| {
            let runs = file.sectors.iter().filter(|(_, of)| of == fate);
            (*fate, runs.map(|(run, _)| run.end - run.start).sum())
        })
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// The rows of letters of a file; rows in which nothing happened are left out.
pub(crate) fn letters(file: &FileFate) -> String {
    let letters: Vec<char> =
        file.sectors.iter().flat_map(|(run, fate)| (run.start..run.end).map(|_| describe(*fate).0)).collect();
    let mut text = String::new();
    let mut shown = 0;
    for (row, cells) in letters.chunks(usize::try_from(ROW).unwrap_or(1)).enumerate() {
        if cells.iter().all(|letter| *letter == '.') {
            continue;
        }
        shown += 1;
        if shown > ROWS_MAX {
            text.push_str("        …\n");
            break;
        }
        let cells: String = cells.iter().collect();
        // Writing to a string does not fail.
        let _ = writeln!(text, "    {:>8} {cells}", row as u64 * ROW * 512);
    }
    text
}

/// The picture of a file: one cell per sector, or per few of a large file, which then has the worst of their fates.
pub(crate) fn picture(file: &FileFate) -> String {
    let count = file.sectors.last().map_or(0, |(run, _)| run.end);
    let per_cell = count.div_ceil(CELLS * CELL_ROWS_MAX).max(1);
    let cells = count.div_ceil(per_cell);
    let (width, height) = (CELLS.min(cells.max(1)) * CELL, cells.div_ceil(CELLS).max(1) * (CELL + 2));
    let size = format!("width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\"");
    let mut svg = format!("<svg class=\"sectors\" {size} role=\"img\">");
    for (run, fate) in cell_runs(file, per_cell) {
        let (_, colour, meaning) = describe(fate);
        let mut at = run.start;
        while at < run.end {
            let end = run.end.min((at / CELLS + 1) * CELLS);
            let (x, y) = (at % CELLS * CELL, at / CELLS * (CELL + 2));
            let (first, last) = (run.start * per_cell * 512, run.end * per_cell * 512);
            let _ = write!(
                svg,
                "<rect class=\"f-{colour}\" x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{CELL}\"><title>bytes {first} to \
                 {last}: {meaning}</title></rect>",
                (end - at) * CELL - 1
            );
            at = end;
        }
    }
    svg.push_str("</svg>");
    svg
}

/// Runs of cells; single cells where something happened, so that their number can be seen.
fn cell_runs(file: &FileFate, per_cell: u64) -> Vec<(Range<u64>, SectorFate)> {
    let mut cells: Vec<SectorFate> = Vec::new();
    for (run, fate) in &file.sectors {
        for sector in run.clone() {
            let cell = usize::try_from(sector / per_cell).unwrap_or(usize::MAX);
            match cells.get_mut(cell) {
                Some(worst) => *worst = (*worst).max(*fate),
                None => cells.push(*fate),
            }
        }
    }
    let mut runs: Vec<(Range<u64>, SectorFate)> = Vec::new();
    for (cell, fate) in (0..).zip(cells) {
        match runs.last_mut() {
            Some((range, SectorFate::Durable)) if fate == SectorFate::Durable => range.end = cell + 1,
            _ => runs.push((cell..cell + 1, fate)),
        }
    }
    runs
}
