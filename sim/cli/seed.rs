//! A seed as people write it on a command line.

use crate::settings;

/// Reads a seed.
///
/// # Errors
///
/// A sentence for people.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    settings::parse(text).ok_or_else(|| {
        "a number is needed, 0x and a hexadecimal one, git: and at least 7 digits of a commit, or all 40"
            .to_owned()
    })
}
