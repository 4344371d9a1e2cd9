//! What the environment says about a run of the harness.
//!
//! | variable | meaning |
//! |--|--|
//! | `HIGHWATER_SEED` | run this one seed (decimal, or hexadecimal after `0x`) and tell everything about it |
//! | `HIGHWATER_SEEDS` | how many fresh seeds a sweep runs |
//! | `HIGHWATER_SEED_BASE` | where they begin |

use std::env;

/// Where sweeps begin unless told otherwise.
const BASE_DEFAULT: u64 = 0x5eed_0000;

/// The one seed that was asked for.
pub(crate) fn one_seed() -> Option<u64> {
    number("HIGHWATER_SEED")
}

/// How many seeds a sweep runs that would run `default` of them.
pub(crate) fn seeds(default: u64) -> u64 {
    number("HIGHWATER_SEEDS").unwrap_or(default)
}

/// The first number of the sweeps.
pub(crate) fn base() -> u64 {
    number("HIGHWATER_SEED_BASE").unwrap_or(BASE_DEFAULT)
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(
        parse(&text)
            .unwrap_or_else(|| panic!("{name}={text}: a number, or 0x and a hexadecimal one, is needed")),
    )
}

/// A seed as people write it.
pub(crate) fn parse(text: &str) -> Option<u64> {
    match text.trim().strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(&digits.replace('_', ""), 16).ok(),
        None => text.trim().parse().ok(),
    }
}
