//! What the environment says about a run of the harness.
//!
//! | variable | meaning |
//! |--|--|
//! | `HIGHWATER_SEED` | run this one seed (decimal, or hexadecimal after `0x`) and tell everything about it |
//! | `HIGHWATER_SEEDS` | how many fresh seeds a sweep runs |
//! | `HIGHWATER_SEED_BASE` | where they begin |

use std::env;

use crate::Test;

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

/// A seed as people write it: a number, `0x` and a hexadecimal one, or a commit, as `git:` and 7 of its digits or more, or
/// as all 40. Of a commit the first 16 digits count.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let hexadecimal = |digits: &str| u64::from_str_radix(digits, 16).ok();
    if let Some(digits) = text.strip_prefix("0x") {
        return hexadecimal(&digits.replace('_', ""));
    }
    let commit = text.strip_prefix("git:").filter(|digits| (7..=40).contains(&digits.len()));
    let commit = commit.or_else(|| Some(text).filter(|text| text.len() == 40));
    match commit.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        Some(digits) => hexadecimal(&digits[..digits.len().min(16)]),
        None => text.parse().ok(),
    }
}

pub(crate) const TESTS: &[Test] = tests![a_seed_is_a_number_or_a_commit];

fn a_seed_is_a_number_or_a_commit() {
    let commit = "d8e1ca4f00112233445566778899aabbccddeeff";
    assert_eq!(parse("24301"), Some(24_301));
    assert_eq!(parse(" 0x5eed_0000 "), Some(0x5eed_0000));
    assert_eq!(parse(commit), Some(0xd8e1_ca4f_0011_2233));
    assert_eq!(parse("git:d8e1ca4"), Some(0x0d8e_1ca4));
    assert_eq!(parse(&format!("git:{commit}")), parse(commit));
    for bad in ["", "seed", "d8e1ca4", "git:d8e1", "git:d8e1ca4z", "0x", "-1"] {
        assert_eq!(parse(bad), None, "{bad:?}");
    }
}
