//! What people and programs see: lines, tables, JSON, progress.

use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::Outcome;
use crate::error::ErrorCode;

/// The output of one command.
pub(crate) struct Console {
    out: BufWriter<Stdout>,
    shows_progress: bool,
    /// Whoever read the output has seen enough.
    is_closed: bool,
}

impl Console {
    pub(super) fn new(quiet: bool) -> Self {
        let shows_progress = !quiet && io::stderr().is_terminal();
        Self { out: BufWriter::new(io::stdout()), shows_progress, is_closed: false }
    }

    /// Whether nobody reads the output any more: what a command finds still decides how it ends, and what it prints is dropped.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Prints, as long as somebody reads.
    fn print(&mut self, print: impl FnOnce(&mut BufWriter<Stdout>) -> io::Result<()>) -> io::Result<()> {
        if self.is_closed {
            return Ok(());
        }
        match print(&mut self.out) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(())
            }
            printed => printed,
        }
    }

    /// One line.
    pub(super) fn line(&mut self, line: impl AsRef<str>) -> Outcome<()> {
        Ok(self.print(|out| writeln!(out, "{}", line.as_ref()))?)
    }

    /// A document of its own.
    pub(super) fn json(&mut self, value: &Value) -> Outcome<()> {
        Ok(self.print(|out| writeln!(out, "{value:#}"))?)
    }

    /// One line of many.
    pub(super) fn json_line(&mut self, value: &Value) -> Outcome<()> {
        Ok(self.print(|out| writeln!(out, "{value}"))?)
    }

    /// Columns under their names; nothing without rows.
    pub(super) fn table(&mut self, names: &[&str], rows: &[Vec<String>]) -> Outcome<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([names[column].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..names.len()).map(width).collect();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        for row in std::iter::once(&names).chain(rows) {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let _ = write!(line, "{cell:<width$}  ");
            }
            self.line(line.trim_end())?;
        }
        Ok(())
    }

    /// The same beside results that come while it counts: hidden where these go to the terminal too.
    pub(super) fn bar_beside_results(&self, what: &'static str) -> ProgressBar {
        if io::stdout().is_terminal() { ProgressBar::hidden() } else { self.bar(what) }
    }

    /// A bar that counts bytes; hidden where nobody looks.
    pub(super) fn bar(&self, what: &'static str) -> ProgressBar {
        if !self.shows_progress {
            return ProgressBar::hidden();
        }
        // Nobody knows how much there is before it was read once.
        let template = match what {
            "verifying" => "{msg} {bar:30} {bytes} of {total_bytes}, {bytes_per_sec}",
            _ => "{msg} {bytes}, {bytes_per_sec}",
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::new(0).with_style(style).with_message(what)
    }

    /// Tells what went wrong.
    pub(super) fn complain(&mut self, code: Option<ErrorCode>, what: &str) {
        // What was found before comes first; if nobody reads either of them, nobody is told.
        let _ = self.print(Write::flush);
        let code = code.map_or_else(String::new, |code| format!("[{code}]"));
        let _ = writeln!(io::stderr(), "error{code}: {what}");
    }

    pub(super) fn end(&mut self) -> Outcome<()> {
        Ok(self.print(Write::flush)?)
    }
}

impl Write for Console {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.print(|out| out.write_all(bytes)).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.print(Write::flush)
    }
}
