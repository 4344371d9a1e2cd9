//! The names in a log's directory: a number of twenty digits for a segment, a temporary one on its way there and back.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::ids::{Nonce, SegmentNo};
use crate::vfs::{Vfs, retry};

/// Digits of a number in a name: those of the greatest u64.
const NAME_DIGITS: usize = 20;

/// The final path of a segment.
pub(crate) fn segment_path(dir: &Path, number: SegmentNo) -> PathBuf {
    let mut digits = [b'0'; NAME_DIGITS];
    let mut rest = number.0;
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(rest % 10).expect("a digit");
        rest /= 10;
    }
    // With room for the whole: a log is read by many of these.
    let mut path = PathBuf::with_capacity(dir.as_os_str().len() + 1 + NAME_DIGITS);
    path.push(dir);
    path.push(str::from_utf8(&digits).expect("digits are ASCII"));
    path
}

/// The path of a segment that is being made, or being unmade.
pub(crate) fn temp_path(dir: &Path, number: SegmentNo, identity: Nonce) -> PathBuf {
    dir.join(format!("{:020}.{identity}.tmp", number.0))
}

/// The number in a final name; `None` for every other name.
fn parse_name(name: &str) -> Option<SegmentNo> {
    let digits = name.len() == NAME_DIGITS && name.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| name.parse().ok().map(SegmentNo)).flatten()
}

/// Whether `name` is one that [`prepare`](super::prepare()) and [`recycle`](super::recycle) use on the way.
fn is_temp_name(name: &str) -> bool {
    let Some((number, rest)) = name.split_once('.') else { return false };
    let Some(nonce) = rest.strip_suffix(".tmp") else { return false };
    parse_name(number).is_some()
        && nonce.len() == 32
        && nonce.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The numbers of all segments in `dir`, ascending.
pub(crate) async fn list<V: Vfs>(vfs: &V, dir: &Path) -> Result<Vec<SegmentNo>> {
    Ok(list_all(vfs, dir).await?.segments)
}

/// What a directory of segments holds, by name.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// The numbers of all segments, ascending.
    pub(crate) segments: Vec<SegmentNo>,
    /// What interrupted preparations left behind.
    pub(crate) temps: Vec<String>,
}

/// Segments and temporary names of `dir`.
pub(crate) async fn list_all<V: Vfs>(vfs: &V, dir: &Path) -> Result<Listing> {
    let entries = retry(|| vfs.list(dir)).await.map_err(|e| Error::io("listing segments", dir, e))?;
    let mut listing = Listing::default();
    for entry in entries {
        if let Some(number) = parse_name(&entry.name) {
            listing.segments.push(number);
        } else if is_temp_name(&entry.name) {
            listing.temps.push(entry.name);
        }
    }
    Ok(listing)
}

/// Removes what interrupted preparations left behind.
pub(crate) async fn remove_temps<V: Vfs>(vfs: &V, dir: &Path, temps: &[String]) -> Result<()> {
    for name in temps {
        let path = dir.join(name);
        retry(|| vfs.remove(&path)).await.map_err(|e| Error::io("removing a temporary segment", &path, e))?;
    }
    Ok(())
}
