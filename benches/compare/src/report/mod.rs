//! What a run is made into.

pub(crate) mod machine;
pub(crate) mod markdown;
pub(crate) mod svg;
pub(crate) mod versions;

/// A figure for people: three or four digits.
pub(crate) fn human(figure: f64) -> String {
    match figure.abs() {
        size if size >= 1e9 => format!("{:.2} G", figure / 1e9),
        size if size >= 1e6 => format!("{:.2} M", figure / 1e6),
        size if size >= 1e4 => format!("{:.1} k", figure / 1e3),
        size if size >= 100.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        size if size >= 0.1 || size == 0.0 => format!("{figure:.2}"),
        _ => format!("{figure:.4}"),
    }
}

#[cfg(test)]
mod tests;
