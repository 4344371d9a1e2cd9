//! A crash as a picture: how far the marks of each core had come before it, and where the recovery took up.
//!
//! ```text
//! LSN │        ┌──── appended   ▒▒▒▒▒▒▒
//!     │     ┌──┘┌─── durable    ▒open ▒ ┌───
//!     │  ┌──┘┌──┘               ▒▒▒▒▒▒▒─┘
//!     └──────────────────────── crash ───────► time
//! ```

#![expect(clippy::cast_precision_loss, reason = "a picture is a thousand points wide")]

use plotters::chart::SeriesLabelPosition;
use plotters::coord::Shift;
use plotters::prelude::*;

use super::lanes::{Lanes, LifeBand, Marks};

const WIDTH: u32 = 960;
const PANEL_HEIGHT: u32 = 240;
const TITLE_HEIGHT: u32 = 44;

/// Records before the crash that are shown, of the core with the most.
const RECORDS: usize = 48;

const INK: RGBColor = RGBColor(40, 40, 48);
const GRID: RGBColor = RGBColor(232, 232, 238);
const CRASH: RGBColor = RGBColor(200, 30, 50);
const CLOSED: RGBColor = RGBColor(236, 236, 240);

/// What is drawn of a core, lowest first.
const SERIES: [(&str, RGBColor); 3] = [
    ("appended", RGBColor(230, 159, 0)),
    ("durable", RGBColor(86, 180, 233)),
    ("acknowledged", RGBColor(0, 114, 178)),
];

type Failure = Box<dyn std::error::Error>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The time that is shown. A recovery is always as wide, however long it took.
struct Window<'a> {
    from: u64,
    /// The end of the recovery.
    opened: u64,
    to: u64,
    /// The life that ends with the crash.
    before: &'a LifeBand,
}

impl<'a> Window<'a> {
    /// The first crash that ends a life in which something was written, power losses first.
    fn of(lanes: &'a Lanes) -> Option<Self> {
        let written = |life: &LifeBand| first_shown(lanes, life).is_some();
        let is_power = |life: &&LifeBand| life.end == "power loss" && written(life);
        let crashed = lanes.lives.iter().find(is_power);
        let before = crashed
            .or_else(|| lanes.lives.iter().find(|life| life.end == "process crash" && written(life)))?;
        let from = first_shown(lanes, before)?;
        let after = lanes.lives.iter().find(|life| life.from >= before.to && life.opened.is_some());
        let work = before.to - from;
        let opened = after.and_then(|life| life.opened).unwrap_or(before.to);
        Some(Self { from, opened, to: (opened + work / 2).min(lanes.end), before })
    }

    /// The width of the recovery: a round number, so that the times behind it are labelled with round ones too.
    fn gap(&self) -> f64 {
        let about = (self.before.to - self.from).max(1) as f64 / 1e6 / 4.0;
        let decade = 10_f64.powf(about.log10().floor());
        let step = [5.0, 2.0, 1.0].into_iter().find(|step| step * decade <= about);
        step.unwrap_or(1.0) * decade
    }

    /// Where `t` is drawn.
    fn place(&self, t: u64) -> f64 {
        let millis = |from: u64, to: u64| (to as f64 - from as f64) / 1e6;
        if t <= self.before.to {
            return millis(self.before.to, t);
        }
        let done = (t - self.before.to) as f64 / (self.opened - self.before.to).max(1) as f64;
        self.gap() * done.min(1.0) + millis(self.opened, t.max(self.opened))
    }

    /// What is written at a place: the time to the crash, or since the open.
    fn label(&self, place: f64) -> String {
        let digits = if self.gap() < 1.0 { 3 } else { 0 };
        if place <= 0.0 {
            format!("{place:.digits$}")
        } else if place < self.gap() {
            String::new()
        } else {
            format!("+{:.digits$}", place - self.gap())
        }
    }
}

/// When the first of the last records of `life` was appended.
fn first_shown(lanes: &Lanes, life: &LifeBand) -> Option<u64> {
    let of_core = |marks: &Marks| {
        let times =
            points(&marks.appended).filter(|(t, _)| (life.opened.unwrap_or(life.from)..life.to).contains(t));
        let times: Vec<u64> = times.map(|(t, _)| t).collect();
        times.len().checked_sub(RECORDS).map_or(times.first().copied(), |skip| times.get(skip).copied())
    };
    lanes.cores.iter().filter_map(of_core).max()
}

/// The points of a flat series that have a value.
fn points(series: &[Option<u64>]) -> impl Iterator<Item = (u64, u64)> + '_ {
    series.chunks_exact(2).filter_map(|pair| Some((pair[0]?, pair[1]?)))
}

/// The crash of a run; none if nothing crashed.
///
/// # Errors
///
/// What cannot be drawn.
pub(crate) fn picture(lanes: &Lanes, title: &str) -> Result<Option<String>, Failure> {
    let Some(window) = Window::of(lanes) else { return Ok(None) };
    let mut text = String::new();
    {
        let cores = u32::try_from(lanes.cores.len())?;
        let root = SVGBackend::with_string(&mut text, (WIDTH, TITLE_HEIGHT + PANEL_HEIGHT * cores));
        let root = root.into_drawing_area();
        root.fill(&WHITE)?;
        let (head, body) = root.split_vertically(TITLE_HEIGHT);
        head.draw_text(title, &("sans-serif", 18).into_font().color(&INK), (16, 14))?;
        for (core, area) in body.split_evenly((lanes.cores.len(), 1)).iter().enumerate() {
            panel(area, &window, (core, &lanes.cores[core]))?;
        }
        root.present()?;
    }
    Ok(Some(text))
}

/// The marks of one core.
fn panel(area: &Area<'_>, window: &Window<'_>, (core, marks): (usize, &Marks)) -> Result<(), Failure> {
    let series = [&marks.appended, &marks.durable, &marks.acknowledged];
    let stairs: Vec<Vec<Vec<(f64, f64)>>> = series.iter().map(|series| stairs(series, window)).collect();
    let values = || stairs.iter().flatten().flatten().map(|(_, value)| *value);
    let (least, most) = (values().fold(f64::MAX, f64::min), values().fold(0.0, f64::max));
    let (least, most) = ((least.min(most) - 1.0).max(0.0), most + 1.0);
    let (from, to) = (window.place(window.from), window.place(window.to));
    let mut chart = ChartBuilder::on(area)
        .margin_right(16)
        .margin_bottom(6)
        .x_label_area_size(32)
        .y_label_area_size(56)
        .build_cartesian_2d(from..to, least..most)?;
    chart
        .configure_mesh()
        .axis_style(INK)
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .y_desc(format!("core {core}: LSN"))
        .x_desc("ms to the crash, and since the open")
        .y_label_formatter(&|value| format!("{value:.0}"))
        .x_label_formatter(&|place| window.label(*place))
        .x_labels(9)
        .y_labels(6)
        .draw()?;
    let dead = [(0.0, least), (window.gap(), most)];
    chart.draw_series([Rectangle::new(dead, CLOSED.filled())])?;
    chart.draw_series([PathElement::new([(0.0, least), (0.0, most)], CRASH.stroke_width(2))])?;
    let says = ("sans-serif", 14).into_font();
    chart.draw_series([
        Text::new(format!(" {}", window.before.end), (0.0, most), says.color(&CRASH)),
        Text::new(" recovery".to_owned(), (0.0, least + (most - least) * 0.08), says.color(&INK)),
    ])?;
    for ((name, colour), pieces) in SERIES.into_iter().zip(stairs) {
        for (number, piece) in pieces.into_iter().enumerate() {
            let line = chart.draw_series(LineSeries::new(piece, colour.stroke_width(2)))?;
            if number == 0 {
                let sample = move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2));
                line.label(name).legend(sample);
            }
        }
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE)
        .border_style(GRID)
        .label_font(("sans-serif", 14))
        .draw()?;
    Ok(())
}

/// A series as far as it is in the window, in pieces that no crash interrupts: each value holds until the next.
fn stairs(series: &[Option<u64>], window: &Window<'_>) -> Vec<Vec<(f64, f64)>> {
    let mut pieces: Vec<Vec<(f64, f64)>> = Vec::new();
    let mut last: Option<f64> = None;
    let begin = |pieces: &mut Vec<Vec<(f64, f64)>>, t, value| pieces.push(vec![(t, value)]);
    let mut drawn = false;
    for pair in series.chunks_exact(2) {
        let Some(t) = pair[0] else { continue };
        if t > window.to {
            break;
        }
        let (at, value) = (window.place(t), pair[1].map(|value| value as f64));
        if t < window.from {
            last = value;
            continue;
        }
        if let (false, Some(held)) = (drawn, last) {
            begin(&mut pieces, window.place(window.from), held);
        }
        drawn = true;
        match (last, value, pieces.last_mut()) {
            (Some(held), Some(value), Some(piece)) => piece.extend([(at, held), (at, value)]),
            (Some(held), None, Some(piece)) => piece.push((at, held)),
            (_, Some(value), _) => begin(&mut pieces, at, value),
            (_, None, _) => {}
        }
        last = value;
    }
    if let (Some(held), Some(piece)) = (last, pieces.last_mut()) {
        piece.push((window.place(window.to), held));
    }
    pieces
}
