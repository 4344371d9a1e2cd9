//! A file of a newer format, told from damage: in every format the magic, the header's length and the place of its crc are
//! the same (docs/format.md, "Versions").

use super::decode::bytes::{crc, u32_at};
use super::report::{DamageKind, Finding};
use super::source::Source;

/// The greatest format that `decode` reads.
const FORMAT: u32 = 1;

/// What a kind of file begins with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    what: &'static str,
    magic: &'static [u8; 8],
    /// Where the crc of all bytes before it stands.
    crc_at: usize,
}

pub(crate) const IDENT: Header = Header { what: "IDENT", magic: b"HWIDENT\0", crc_at: 92 };
pub(crate) const MANIFEST: Header = Header { what: "a manifest", magic: b"HWMANIF\0", crc_at: 44 };
pub(crate) const SEGMENT: Header = Header { what: "a segment", magic: b"HWALSEG\0", crc_at: 124 };
pub(crate) const STATE_FILE: Header = Header { what: "a checkpoint file", magic: b"HWSTATE\0", crc_at: 92 };

impl Header {
    /// Looks at `front`, the first bytes of the file `source`.
    ///
    /// # Errors
    ///
    /// [`DamageKind::Newer`] when a newer program wrote it. What is damaged is fine here.
    pub(crate) fn check<F>(self, source: &Source<F>, front: &[u8]) -> Result<(), Finding> {
        match self.newer(front) {
            None => Ok(()),
            Some(format) => {
                let what = format!(
                    "{} of format {format}; this build reads formats up to {FORMAT}: use a newer build",
                    self.what
                );
                Err(Finding::new(DamageKind::Newer, &source.path, what))
            }
        }
    }

    fn newer(self, front: &[u8]) -> Option<u32> {
        let covered = front.get(..self.crc_at)?;
        let intact = covered.starts_with(self.magic) && u32_at(front, self.crc_at).ok()? == crc(0, covered);
        u32_at(covered, 8).ok().filter(|format| intact && *format > FORMAT)
    }
}
